//! Coordinator and workers as processes of their own: a run end to end, a worker killed on the way, and a clean end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use warifu_test_etcd::free_ports;

use crate::harness::{
    Dev, DevSettings, Process, Sink, command, eventually, read_results, scratch, text, users_csv,
};

const READY_WITHIN: Duration = Duration::from_secs(30);
/// A dead worker is noticed within its session's time; the rest of the run takes a moment.
const ENDED_WITHIN: Duration = Duration::from_secs(90);

/// What every process needs to reach the S3 of the test.
pub(crate) struct Cluster {
    pub(crate) s3: Dev,
    directory: tempfile::TempDir,
    pub(crate) coordinator: Process,
    pub(crate) endpoint: String,
}

impl Cluster {
    fn start() -> Self {
        Self::start_with("[leases]\nttl_seconds = 5\n")
    }

    /// One coordinator with SQLite, with these sections more in its configuration.
    pub(crate) fn start_with(sections: &str) -> Self {
        let s3 = Dev::start(&DevSettings { workers: 0, ..DevSettings::default() });
        let directory = scratch();
        let [port, http_port] = free_ports(2)[..] else { unreachable!("two were asked for") };
        let endpoint = format!("http://127.0.0.1:{port}");
        let config = format!(
            "[server]\nlisten = \"{}\"\nhttp_listen = \"127.0.0.1:{}\"\n\
             [store]\ntype = \"sqlite\"\npath = \"{}\"\n\
             {sections}{}",
            endpoint.trim_start_matches("http://"),
            http_port,
            text(&directory.path().join("state.db")),
            s3_section(&s3)
        );
        std::fs::write(directory.path().join("coordinator.toml"), config).unwrap();
        let coordinator = Process::start(Self::process(&s3, directory.path(), "coordinator"));
        let cluster = Self { s3, directory, coordinator, endpoint };
        eventually("the coordinator leads", READY_WITHIN, || {
            let finished = Process::start(cluster.client(&["cluster"])).finish();
            (finished.status == 0).then_some(())
        });
        cluster
    }

    fn process(s3: &Dev, directory: &Path, name: &str) -> Command {
        let mut process = command(&format!("warifu-{name}"));
        process.current_dir(directory).args(["--config", &format!("{name}.toml")]);
        process.env("AWS_ACCESS_KEY_ID", s3.s3_keys().0).env("AWS_SECRET_ACCESS_KEY", s3.s3_keys().1);
        process
    }

    /// Starts a worker with these handlers.
    fn worker(&self, id: &str, handlers: &str) -> Process {
        let config = format!(
            "[coordinator]\nendpoints = [\"{}\"]\n[worker]\nslots = 4\ndrain_timeout = \"20s\"\n{}{handlers}",
            self.endpoint,
            s3_section(&self.s3)
        );
        std::fs::write(self.directory.path().join("worker.toml"), config).unwrap();
        let mut process = Self::process(&self.s3, self.directory.path(), "worker");
        process.args(["--id", id]);
        let started = Process::start(process);
        eventually("the worker is there", READY_WITHIN, || {
            let workers = self.json(&["workers"], 0);
            let name = Value::from(format!("workers/{id}"));
            workers["workers"].as_array().unwrap().iter().any(|worker| worker["name"] == name).then_some(())
        });
        started
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.s3.command(arguments.iter().copied());
        command.env("WARIFU_ENDPOINT", &self.endpoint);
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], status: i32) {
        Process::start(self.client(arguments)).finish().expect(status);
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str], status: i32) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        Process::start(self.client(&arguments)).finish().expect(status).json()
    }

    #[track_caller]
    pub(crate) fn submit(&self, id: &str, job: &str) {
        let file = self.directory.path().join("job.yaml");
        std::fs::write(&file, job).unwrap();
        self.run(&["submit", "-f", text(&file), "--id", id], 0);
    }

    /// SIGTERM: the coordinator and the S3 beside it end with status 0.
    pub(crate) fn stop(self) {
        self.coordinator.signal(Signal::SIGTERM);
        self.coordinator.finish_within(Duration::from_secs(30)).expect(0);
        self.s3.stop();
    }
}

fn s3_section(s3: &Dev) -> String {
    format!(
        "[s3]\nendpoint_url = \"{}\"\nregion = \"us-east-1\"\nforce_path_style = true\nsystem_bucket = \"output\"\n",
        s3.place("s3Endpoint")
    )
}

const ROWS: u64 = 30_000;

#[test]
fn a_worker_that_is_killed_on_the_way_loses_and_repeats_nothing() {
    let cluster = Cluster::start();
    let sink = Sink::create(cluster.directory.path().join("users.db"));
    let handlers = sink.handler();
    let (first, second) = (cluster.worker("w1", &handlers), cluster.worker("w2", &handlers));
    cluster.s3.s3().put("input", "users.csv", users_csv(0..ROWS));
    let started = Instant::now();
    cluster.submit(
        "r",
        "itemReader: {bucket: input, key: users.csv, readerConfig: {inputType: CSV}}\n\
         itemBatcher: {maxItemsPerBatch: 20}\nitemProcessor: {handler: users}\nmaxConcurrency: 6\n\
         resultWriter: {bucket: output, prefix: r/}\n",
    );
    eventually("rows are written", READY_WITHIN, || (sink.effects() > ROWS / 10).then_some(()));
    first.kill();
    let killed_at = sink.effects();
    assert!(killed_at < ROWS, "the run was over before the worker was killed");
    let run = cluster.json(&["wait", "r", "--timeout", &format!("{}s", ENDED_WITHIN.as_secs())], 0);
    eprintln!("{ROWS} rows with a worker killed at {killed_at}: {:?}", started.elapsed());
    assert_eq!(run["itemCounts"]["succeeded"], ROWS);
    assert_eq!(run["batchCounts"]["failed"], 0);
    sink.expect_each_once(ROWS);
    let results = cluster.directory.path().join("results");
    cluster.run(&["results", "r", "--download", text(&results)], 0);
    assert_eq!(read_results(&results).succeeded.len() as u64, ROWS);
    second.signal(Signal::SIGTERM);
    second.finish_within(Duration::from_secs(30)).expect(0);
    cluster.stop();
}

#[test]
fn sigterm_lets_a_worker_finish_what_runs_and_the_next_one_go_on() {
    let cluster = Cluster::start();
    let log = cluster.directory.path().join("log");
    let handlers = format!(
        "[handlers.slow]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \
         'echo \"start $WARIFU_BATCH_NUMBER\" >>\"{0}\"; sleep 1; echo \"end $WARIFU_BATCH_NUMBER\" >>\"{0}\"; cat']\n",
        text(&log)
    );
    let lines = |what: &str| -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
    };
    let first = cluster.worker("w1", &handlers);
    let rows: String = (0..40).map(|row| format!("{row}\n")).collect();
    cluster.s3.s3().put("input", "in.csv", format!("id\n{rows}"));
    cluster.submit(
        "r",
        "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
         itemBatcher: {maxItemsPerBatch: 2}\nitemProcessor: {handler: slow}\n\
         resultWriter: {bucket: output, prefix: r/}\n",
    );
    eventually("batches run", READY_WITHIN, || (lines("start").len() >= 4).then_some(()));
    first.signal(Signal::SIGTERM);
    first.finish_within(Duration::from_secs(30)).expect(0);
    let (begun, ended) = (lines("start"), lines("end"));
    assert_eq!(begun.len(), ended.len(), "what was begun was finished: {begun:?}, {ended:?}");
    assert!(begun.len() < 20, "nothing is left for the next worker");
    let run = cluster.json(&["get", "r"], 0);
    assert_eq!(run["batchCounts"]["succeeded"], begun.len(), "what was finished is counted");
    let second = cluster.worker("w2", &handlers);
    let run = cluster.json(&["wait", "r", "--timeout", "60s"], 0);
    assert_eq!(run["itemCounts"]["succeeded"], 40);
    let mut all = lines("start");
    all.sort_by_key(|number| number.trim().parse::<u64>().unwrap());
    let expected: Vec<String> = (0..20).map(|number| format!(" {number}")).collect();
    assert_eq!(all, expected, "each batch ran once");
    second.signal(Signal::SIGTERM);
    second.finish_within(Duration::from_secs(30)).expect(0);
    cluster.stop();
}

#[test]
fn a_configuration_with_mistakes_names_them_all_and_starts_nothing() {
    let directory = scratch();
    let config = directory.path().join("coordinator.toml");
    std::fs::write(&config, "[server]\nlisten = \"0.0.0.0:7400\"\nport = 1\n[store]\ntype = \"files\"\n")
        .unwrap();
    let mut process = command("warifu-coordinator");
    process.args(["--config", text(&config)]);
    Process::start(process).finish().expect(2).says(&["server.listen", "port", "store.type"]);
    let config = directory.path().join("worker.toml");
    std::fs::write(&config, "[worker]\nslots = 0\n[handlers.x]\ntype = \"exec\"\n[nonsense]\n").unwrap();
    let mut process = command("warifu-worker");
    process.args(["--config", text(&config)]);
    Process::start(process).finish().expect(2).says(&["worker.slots", "handlers.x", "nonsense"]);
}
