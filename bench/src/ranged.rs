//! What a run reads from an S3 server, beside the bare ranged GETs of the same object from the same server.
//!
//! A run scans each shard, cuts its batches, and calls a handler that does nothing; batches are as large as they get, so that what
//! is left is reading. Both servers share the CPUs with the run; over a line as between two machines, the line is the limit. Bytes
//! are counted on a way of their own, where nobody looks at the time.

use crate::Settings;
use crate::counted::CountedWay;
use crate::data::{DataFile, Kind};
use crate::fleet::{Fleet, has_etcd};
use crate::s3::S3;
use crate::s3_server;
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Items of a batch: the bound on its bytes cuts it before.
const BATCH: usize = 10_000;

/// Bytes a second of the line: an ordinary network between machines.
const LINE: f64 = 125e6;

/// Measures both, at each S3 server that there is.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    if !has_etcd() {
        println!("ranged: skipped, etcd is not installed");
        return Ok(());
    }
    let file = Kind::Ordinary.file(settings)?;
    for server in s3_server::Kind::all(settings) {
        let s3 = S3::start(settings, &server)?;
        if matches!(server, s3_server::Kind::Embedded) {
            table.add(fetched(settings, &s3, &file)?);
            let line = CountedWay::paced(s3.endpoint(), LINE)?;
            table.add(speeds(settings, &s3, &file, (line.url(), "the embedded S3 over a line of 1 Gbit/s"))?);
        }
        table.add(speeds(settings, &s3, &file, (s3.endpoint(), server.name()))?);
    }
    Ok(())
}

/// How fast a run and bare GETs get through an object of the server, which is called `name` and reached at `endpoint`.
fn speeds(
    settings: &Settings,
    s3: &S3,
    file: &DataFile,
    (endpoint, name): (&str, &str),
) -> anyhow::Result<Row> {
    let (client, fleet) = (s3.client_at(endpoint), Fleet::start(settings, s3, endpoint)?);
    let (mut gets, mut runs) = (Vec::new(), Vec::new());
    for round in 0..settings.repeat {
        // Under a new name, lest a worker has some of it.
        let key = format!("ranged-{round}.csv");
        s3.put(file, &key)?;
        gets.push(s3.get_ranges_by(&client, file, &key)?);
        runs.push(fleet.run(settings, file, &key, BATCH, ("noop", ""))?);
    }
    let speed = |seconds: f64| file.bytes as f64 / seconds / 1e6;
    Ok(Row {
        what: format!("a run with large batches from {name}, 2 workers, from its creation to its end"),
        unit: "MB/s",
        value: Summary::of(runs).map(speed),
        limit: Some(("ranged GETs, 2 at once".to_owned(), Summary::of(gets).map(speed))),
        wanted: Some(Wanted::AtLeast(0.7, 0.9)),
    })
}

/// What a run fetches; which server answers makes no difference to it.
fn fetched(settings: &Settings, s3: &S3, file: &DataFile) -> anyhow::Result<Row> {
    let way = CountedWay::to(s3.endpoint())?;
    let fleet = Fleet::start(settings, s3, way.url())?;
    let mut fetched = Vec::new();
    for round in 0..settings.repeat {
        let key = format!("counted-{round}.csv");
        s3.put(file, &key)?;
        let before = way.answered();
        fleet.run(settings, file, &key, BATCH, ("noop", ""))?;
        fetched.push((way.answered() - before) as f64 / 1e6);
    }
    Ok(Row {
        what: "bytes that a run fetched from S3, heads of answers included".to_owned(),
        unit: "MB",
        value: Summary::of(fetched),
        limit: Some(("the object".to_owned(), Summary::of(vec![file.bytes as f64 / 1e6]))),
        wanted: Some(Wanted::AtMost(1.05, 1.05)),
    })
}
