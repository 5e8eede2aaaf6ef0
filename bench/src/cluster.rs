//! The run with `noop` as a cluster: a coordinator whose state is in etcd, two workers, the source in an S3 server, each a process.

use crate::Settings;
use crate::data::Kind;
use crate::fleet::{Fleet, has_etcd};
use crate::limit::{self, BATCH};
use crate::s3::S3;
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};
use crate::whole::WINDOW;

/// Measures it, and what its processes hold and write meanwhile.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    if !has_etcd() {
        println!("cluster: skipped, etcd is not installed");
        return Ok(());
    }
    let file = Kind::Ordinary.file(settings)?;
    let s3 = S3::start(settings)?;
    let fleet = Fleet::start(settings, &s3, s3.endpoint())?;
    let (mut limits, mut gets, mut runs, mut writes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut echoes, mut memory) = (Vec::new(), (Vec::new(), 0.0));
    let batches = file.rows as f64 / BATCH as f64;
    for round in 0..settings.repeat {
        let key = format!("cluster-{round}.csv");
        s3.put(&file, &key)?;
        limits.push(limit::ship(&file, WINDOW, &settings.directory)?);
        gets.push(s3.get_ranges(&file, &key)?);
        let before = fleet.etcd_writes()?;
        runs.push(fleet.run(settings, &file, &key, BATCH, ("noop", ""))?);
        writes.push((fleet.etcd_writes()? - before) / batches);
        if round == 0 {
            // Before results are written, which a worker holds for a while.
            memory = (fleet.worker_peaks_mib()?, fleet.coordinator_peak_mib()?);
        }
        let (key, prefix) = (format!("echo-{round}.csv"), format!("echo-{round}/"));
        s3.put(&file, &key)?;
        let writer = format!(
            "resultWriter: {{bucket: output, prefix: {prefix}, writerConfig: {{transformation: ITEMS, compression: GZIP}}}}\n"
        );
        echoes.push(fleet.run(settings, &file, &key, BATCH, ("echo", &writer))?);
        s3.ensure_gzip_lines("output", &prefix, file.rows)?;
    }
    let per_batch = |seconds: Vec<f64>| Summary::of(seconds).map(|seconds| seconds * 1e6 / batches);
    let (limit, gets) = (per_batch(limits), per_batch(gets));
    let slower = if gets.median > limit.median { ("ranged GETs", gets) } else { ("limit program", limit) };
    table.add(Row {
        what: "`noop` as a cluster: coordinator over etcd, 2 workers, S3".to_owned(),
        unit: "µs for 25 records",
        value: per_batch(runs),
        limit: Some((format!("the slower: {}", slower.0), slower.1)),
        wanted: Some(Wanted::AtMost(1.3, 1.05)),
    });
    table.add(Row {
        what: "`echo` as a cluster, with gzip results of every item".to_owned(),
        unit: "µs for 25 records",
        value: per_batch(echoes),
        limit: Some((format!("the slower: {}", slower.0), slower.1)),
        wanted: Some(Wanted::AtMost(3.0, 2.0)),
    });
    table.add(Row {
        what: "writes of the first to etcd for 1,000 batches, those that keep etcd's leases alive included"
            .to_owned(),
        unit: "writes",
        value: Summary::of(writes).map(|writes| writes * 1e3),
        limit: Some(("one for each".to_owned(), Summary::of(vec![1e3]))),
        wanted: Some(Wanted::AtMost(0.05, 0.005)),
    });
    let one_mib = || Some(("one MiB".to_owned(), Summary::of(vec![1.0])));
    table.add(Row {
        what: "most memory of a worker there, 8 slots".to_owned(),
        unit: "MiB",
        value: Summary::of(memory.0),
        limit: one_mib(),
        wanted: Some(Wanted::AtMost(64.0, 30.0)),
    });
    table.add(Row {
        what: "most memory of the coordinator there".to_owned(),
        unit: "MiB",
        value: Summary::of(vec![memory.1]),
        limit: None,
        wanted: None,
    });
    Ok(())
}
