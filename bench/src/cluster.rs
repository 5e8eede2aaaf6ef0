//! The run with `noop` as a cluster: a coordinator whose state is in etcd, two workers, the source in an S3 server, each a process.

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::fleet::{Fleet, has_etcd};
use crate::limit::{self, BATCH};
use crate::s3::{OUTPUT, S3};
use crate::s3_server;
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};
use crate::whole::WINDOW;

/// Measures it at each S3 server that there is.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    if !has_etcd() {
        println!("cluster: skipped, etcd is not installed");
        return Ok(());
    }
    let file = Kind::Ordinary.file(settings)?;
    for server in s3_server::Kind::all(settings) {
        let measured = Measured::take(settings, &S3::start(settings, &server)?, &file)?;
        measured.add_times(&server, &file, table);
        if matches!(server, s3_server::Kind::Embedded) {
            measured.add_costs(&file, table);
        }
    }
    Ok(())
}

/// What was measured in each round, in seconds unless said otherwise.
#[derive(Default)]
struct Measured {
    limits: Vec<f64>,
    gets: Vec<f64>,
    runs: Vec<f64>,
    echoes: Vec<f64>,
    /// Writes to etcd in all.
    writes: Vec<f64>,
    /// In MiB, after the first run: before results are written, which a worker holds for a while.
    workers_mib: Vec<f64>,
    coordinator_mib: f64,
}

impl Measured {
    fn take(settings: &Settings, s3: &S3, file: &DataFile) -> anyhow::Result<Self> {
        let fleet = Fleet::start(settings, s3, s3.endpoint())?;
        let mut measured = Self::default();
        for round in 0..settings.repeat {
            let key = format!("cluster-{round}.csv");
            s3.put(file, &key)?;
            measured.limits.push(limit::ship(file, WINDOW, &settings.directory)?);
            measured.gets.push(s3.get_ranges(file, &key)?);
            let before = fleet.etcd_writes()?;
            measured.runs.push(fleet.run(settings, file, &key, BATCH, ("noop", ""))?);
            measured.writes.push(fleet.etcd_writes()? - before);
            if round == 0 {
                measured.workers_mib = fleet.worker_peaks_mib()?;
                measured.coordinator_mib = fleet.coordinator_peak_mib()?;
            }
            let (key, prefix) = (format!("echo-{round}.csv"), format!("echo-{round}/"));
            s3.put(file, &key)?;
            let writer = format!(
                "resultWriter: {{bucket: {OUTPUT}, prefix: {prefix}, writerConfig: {{transformation: ITEMS, compression: GZIP}}}}\n"
            );
            measured.echoes.push(fleet.run(settings, file, &key, BATCH, ("echo", &writer))?);
            s3.ensure_gzip_lines(OUTPUT, &prefix, file.rows)?;
        }
        Ok(measured)
    }

    fn add_times(&self, server: &s3_server::Kind, file: &DataFile, table: &mut Table) {
        let per_batch =
            |seconds: &[f64]| Summary::of(seconds.to_vec()).map(|seconds| seconds * 1e6 / batches(file));
        let (limit, gets) = (per_batch(&self.limits), per_batch(&self.gets));
        let slower =
            if gets.median > limit.median { ("ranged GETs", gets) } else { ("limit program", limit) };
        let mut add = |what: String, seconds: &[f64], wanted| {
            table.add(Row {
                what,
                unit: "µs for 25 records",
                value: per_batch(seconds),
                limit: Some((format!("the slower: {}", slower.0), slower.1)),
                wanted: Some(wanted),
            });
        };
        let server = server.name();
        add(
            format!("`noop` as a cluster: coordinator over etcd, 2 workers, {server}"),
            &self.runs,
            Wanted::AtMost(1.3, 1.05),
        );
        add(
            format!("`echo` as a cluster, with gzip results of every item, {server}"),
            &self.echoes,
            Wanted::AtMost(3.0, 2.0),
        );
    }

    fn add_costs(self, file: &DataFile, table: &mut Table) {
        table.add(Row {
            what:
                "writes of the first to etcd for 1,000 batches, those that keep etcd's leases alive included"
                    .to_owned(),
            unit: "writes",
            value: Summary::of(self.writes).map(|writes| writes * 1e3 / batches(file)),
            limit: Some(("one for each".to_owned(), Summary::of(vec![1e3]))),
            wanted: Some(Wanted::AtMost(0.05, 0.005)),
        });
        let one_mib = || Some(("one MiB".to_owned(), Summary::of(vec![1.0])));
        table.add(Row {
            what: "most memory of a worker there, 8 slots".to_owned(),
            unit: "MiB",
            value: Summary::of(self.workers_mib),
            limit: one_mib(),
            wanted: Some(Wanted::AtMost(64.0, 30.0)),
        });
        table.add(Row {
            what: "most memory of the coordinator there".to_owned(),
            unit: "MiB",
            value: Summary::of(vec![self.coordinator_mib]),
            limit: None,
            wanted: None,
        });
    }
}

fn batches(file: &DataFile) -> f64 {
    file.rows as f64 / BATCH as f64
}
