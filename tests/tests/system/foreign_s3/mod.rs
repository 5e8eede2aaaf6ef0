//! Whole jobs on S3 servers that are not ours: coordinator and worker as processes, whose keys a program gives out.

mod servers;
mod short_keys;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use warifu_test_etcd::free_ports;

use crate::harness::{Process, Table, command, eventually, gzip, read_results, scratch, skipped, soak, text};
use servers::{ForeignS3, aws_config};
use short_keys::Gate;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// Rows of about 1,500 bytes each: three shards of the default size.
const ROWS: usize = 12_000;
const NOTE_LINES: usize = 60;

/// The output of one item alone takes more parts than one: parts have at least 5 MiB.
const LARGE_NOTE_LINES: usize = 240_000;

/// Objects of a listing: more than one page, and in the long variant many.
fn listed_objects() -> usize {
    if soak() { 100_000 } else { 1_003 }
}

/// Coordinator and worker, and what their clients need.
struct Cluster {
    /// Where its clients find S3.
    s3_endpoint: String,
    directory: tempfile::TempDir,
    aws_config: String,
    endpoint: String,
    processes: Vec<Process>,
}

impl Cluster {
    fn start(s3: &ForeignS3) -> Self {
        Self::start_at(&s3.endpoint, aws_config)
    }

    /// With S3 at `s3_endpoint`, and keys as `aws_config` writes down where to get them.
    fn start_at(s3_endpoint: &str, aws_config: impl FnOnce(&Path) -> String) -> Self {
        let directory = scratch();
        let aws_config = aws_config(directory.path());
        let [port, http_port] = free_ports(2)[..] else { unreachable!("two were asked for") };
        let endpoint = format!("http://127.0.0.1:{port}");
        let section = format!(
            "[s3]\nendpoint_url = \"{s3_endpoint}\"\nregion = \"us-east-1\"\nforce_path_style = true\nsystem_bucket = \"output\"\n\
             multipart_threshold_bytes = 5242880\nmultipart_part_bytes = 5242880\n"
        );
        let coordinator = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\nhttp_listen = \"127.0.0.1:{http_port}\"\n\
             [store]\ntype = \"sqlite\"\npath = \"state.db\"\n{section}"
        );
        let worker = format!("[coordinator]\nendpoints = [\"{endpoint}\"]\n[worker]\nslots = 4\n{section}");
        std::fs::write(directory.path().join("coordinator.toml"), coordinator).unwrap();
        std::fs::write(directory.path().join("worker.toml"), worker).unwrap();
        let s3_endpoint = s3_endpoint.to_owned();
        let mut cluster = Self { s3_endpoint, directory, aws_config, endpoint, processes: Vec::new() };
        for (name, ready) in [("coordinator", "cluster"), ("worker", "workers")] {
            let mut process = cluster.command(&format!("warifu-{name}"));
            process.args(["--config", &format!("{name}.toml")]);
            cluster.processes.push(Process::start(process));
            eventually(name, READY_WITHIN, || {
                let started = cluster.processes.last_mut().expect("it was just started");
                assert!(started.is_running(), "{name} ended:\n{}", started.stderr());
                let answer = Process::start(cluster.client(&[ready, "-o", "json"])).finish();
                (answer.status == 0 && (ready == "cluster" || answer.stdout.contains("workers/")))
                    .then_some(())
            });
        }
        cluster
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.current_dir(self.directory.path()).env("AWS_CONFIG_FILE", &self.aws_config);
        command
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("warifu");
        command.args(arguments).env("WARIFU_ENDPOINT", &self.endpoint);
        command.env("AWS_ENDPOINT_URL", &self.s3_endpoint).env("AWS_REGION", "us-east-1");
        command
    }

    /// Runs a job to its success, and returns the run.
    #[track_caller]
    fn run(&self, id: &str, reader: &str) -> Value {
        self.run_at(id, reader, None)
    }

    /// The same, with no more than so many items in a second.
    #[track_caller]
    fn run_at(&self, id: &str, reader: &str, max_items_per_second: Option<u32>) -> Value {
        let rate =
            max_items_per_second.map_or_else(String::new, |rate| format!("maxItemsPerSecond: {rate}\n"));
        let job = format!(
            "itemReader: {{bucket: input, {reader}}}\n\
             itemBatcher: {{maxItemsPerBatch: 200}}\nitemProcessor: {{handler: echo}}\n\
             resultWriter: {{bucket: output, prefix: r/}}\n{rate}"
        );
        std::fs::write(self.directory.path().join("job.yaml"), job).unwrap();
        Process::start(self.client(&["submit", "-f", "job.yaml", "--id", id])).finish().expect(0);
        let waited = Process::start(self.client(&["wait", id, "--timeout", "240s", "-o", "json"]));
        let waited = waited.finish_within(Duration::from_secs(300));
        if waited.status != 0 {
            let logs: Vec<String> = self.processes.iter().map(Process::stderr).collect();
            panic!("{id} did not succeed:\n{}\n{}\n{}", waited.stdout, waited.stderr, logs.join("\n---\n"));
        }
        waited.json()
    }

    /// A run's results, as its client reads them.
    fn download(&self, id: &str) -> PathBuf {
        let directory = self.directory.path().join(format!("results-{id}"));
        Process::start(self.client(&["results", id, "--download", text(&directory)])).finish().expect(0);
        directory
    }

    fn stop(self) {
        for process in self.processes.into_iter().rev() {
            process.signal(Signal::SIGTERM);
            process.finish_within(STOPPED_WITHIN).expect(0);
        }
    }
}

/// A file with line ends, commas and quotes in its fields, and one record of several MiB.
fn csv() -> String {
    let note = |row: usize, lines: usize| {
        let lines: Vec<String> = (0..lines).map(|line| format!("line {line}, \"\"{row}\"\"")).collect();
        lines.join("\n")
    };
    let lines = |row| if row == ROWS / 2 { LARGE_NOTE_LINES } else { NOTE_LINES };
    let rows = (0..ROWS).map(|row| format!("U{row:07},{row},\"{}\"\n", note(row, lines(row))));
    ["user_id,post_count,note\n".to_owned()].into_iter().chain(rows).collect()
}

/// A job over several shards, its results, and what died writers left; then one over an old version, and one over a listing.
fn carries_whole_jobs(s3: &ForeignS3) {
    let started = Instant::now();
    let (cluster, client) = (Cluster::start(s3), s3.client());
    let file = cluster.directory.path().join("users.csv");
    std::fs::write(&file, csv()).unwrap();
    client.put("input", "users.csv", std::fs::read(&file).unwrap());
    client.begin_upload("output", "r/whole/SUCCEEDED_left-behind.jsonl");
    client.begin_upload("output", "r/other/SUCCEEDED_of-another-run.jsonl");

    cluster.run("whole", "key: users.csv, readerConfig: {inputType: CSV}");
    let results = read_results(&cluster.download("whole"));
    results.expect_echoed(&Table::read(&file, b',').items());
    let listed = client.list("output", "r/whole/");
    let named = results.manifest["ResultFiles"]["SUCCEEDED"].as_array().unwrap();
    assert_eq!(listed.len(), named.len() + 1, "{listed:?}");
    let in_parts = client.etags("output", "r/whole/").iter().filter(|etag| etag.contains('-')).count();
    assert!(in_parts >= 1, "the large output was not written in parts");
    assert_eq!(client.unfinished_uploads("output"), ["r/other/SUCCEEDED_of-another-run.jsonl"]);

    client.keep_versions("input");
    let old = client.put("input", "small.csv", "user_id,note\n1,old\n").expect("versions have ids");
    client.put("input", "small.csv", "user_id,note\n1,new\n2,new\n");
    cluster.run("version", &format!("key: small.csv, versionId: {old:?}, readerConfig: {{inputType: CSV}}"));
    let results = read_results(&cluster.download("version"));
    results.expect_echoed(&[serde_json::json!({"user_id": "1", "note": "old"})]);

    let objects = listed_objects();
    for number in 0..objects {
        client.put("input", &format!("listed/{number:06}"), "12");
    }
    cluster.run("listing", "prefix: listed/");
    let results = read_results(&cluster.download("listing"));
    let keys: Vec<&str> =
        results.succeeded.values().map(|line| line["output"]["Key"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..objects).map(|number| format!("listed/{number:06}")).collect();
    assert_eq!(keys, expected);
    Process::start(cluster.client(&["delete", "listing"])).finish().expect(0);
    assert!(client.list("output", "warifu/").is_empty(), "what was staged is gone with the run");
    cluster.stop();
    println!("{} objects of results, {in_parts} in parts, in {:?}", listed.len(), started.elapsed());
}

#[test]
fn seaweedfs_carries_whole_jobs() {
    match ForeignS3::seaweedfs() {
        Ok(s3) => carries_whole_jobs(&s3),
        Err(reason) => skipped("SeaweedFS", &reason),
    }
}

#[test]
fn moto_carries_whole_jobs() {
    match ForeignS3::moto() {
        Ok(s3) => carries_whole_jobs(&s3),
        Err(reason) => skipped("moto", &reason),
    }
}

/// Keys are good for so long.
const KEYS_LAST_SECONDS: u32 = 3;

/// With the rows of the file, three times as long as keys last and longer.
const ROWS_PER_SECOND: u32 = 1_000;

#[test]
fn keys_that_expire_while_a_run_lasts_cost_it_nothing() {
    let s3 = match ForeignS3::moto() {
        Ok(s3) => s3,
        Err(reason) => return skipped("moto", &reason),
    };
    let port = s3.endpoint.rsplit(':').next().expect("it ends in a port").parse().unwrap();
    let gate = Gate::start(port);
    let cluster =
        Cluster::start_at(&gate.url(), |directory| short_keys::aws_config(directory, KEYS_LAST_SECONDS));
    let file = cluster.directory.path().join("users.csv");
    std::fs::write(&file, csv()).unwrap();
    let client = s3.client();
    client.put("input", "users.csv", std::fs::read(&file).unwrap());
    client.put("input", "users.csv.gz", gzip(&std::fs::read(&file).unwrap()));
    for (id, key) in [("direct", "users.csv"), ("staged", "users.csv.gz")] {
        let before = gate.refused();
        let reader = format!("key: {key}, readerConfig: {{inputType: CSV}}");
        cluster.run_at(id, &reader, Some(ROWS_PER_SECOND));
        read_results(&cluster.download(id)).expect_echoed(&Table::read(&file, b',').items());
        assert!(gate.refused() - before >= 2, "the keys of {id} never expired");
    }
    cluster.stop();
}
