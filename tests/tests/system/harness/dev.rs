//! A `warifu dev` process, and the commands that are sent to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Finished, Process, S3, eventually, scratch, text, warifu_in};

/// How long a start may take.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the HTTP endpoint may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long an end may take: workers have ten seconds to drain.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// How a development server is started.
pub(crate) struct DevSettings<'a> {
    /// Workers.
    pub(crate) workers: u32,
    /// Slots of each.
    pub(crate) slots: u32,
    /// Bytes of a shard.
    pub(crate) shard_size: u64,
    /// The text of worker.toml.
    pub(crate) worker_config: &'a str,
}

impl Default for DevSettings<'_> {
    fn default() -> Self {
        Self { workers: 2, slots: 8, shard_size: 8 << 20, worker_config: "" }
    }
}

/// A development server of the test.
pub(crate) struct Dev {
    process: Process,
    directory: tempfile::TempDir,
    places: Value,
}

impl Dev {
    /// Starts one on free ports and waits until it serves.
    pub(crate) fn start(settings: &DevSettings<'_>) -> Self {
        let directory = scratch();
        let config = directory.path().join("worker.toml");
        std::fs::write(&config, settings.worker_config).unwrap();
        let data = directory.path().join("data");
        Self::start_in(directory, &data, &config, settings)
    }

    /// Starts one on the data directory of another process that has ended.
    pub(crate) fn start_on(data: &Path, worker_config: &Path) -> Self {
        Self::start_in(scratch(), data, worker_config, &DevSettings::default())
    }

    fn start_in(
        directory: tempfile::TempDir,
        data: &Path,
        config: &Path,
        settings: &DevSettings<'_>,
    ) -> Self {
        let (workers, slots, shard_size) =
            (settings.workers.to_string(), settings.slots.to_string(), settings.shard_size.to_string());
        let arguments = [
            ["--port-base", "0"],
            ["--data-dir", text(data)],
            ["--worker-config", text(config)],
            ["--workers", &workers],
            ["--slots", &slots],
            ["--shard-size", &shard_size],
        ];
        let arguments = ["dev"].into_iter().chain(arguments.into_iter().flatten());
        let mut process = Process::start(warifu_in(directory.path(), arguments));
        let places = eventually("`warifu dev` writes ports.json", READY_WITHIN, || {
            assert!(process.is_running(), "`warifu dev` ended:\n{}", process.stderr());
            serde_json::from_slice(&std::fs::read(data.join("ports.json")).ok()?).ok()
        });
        Self { process, directory, places }
    }

    /// A directory of the test's own.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One of the places that it told: `endpoint`, `httpEndpoint`, `s3Endpoint`.
    pub(crate) fn place(&self, name: &str) -> &str {
        self.places[name].as_str().unwrap()
    }

    /// `HOST:PORT` of its gRPC.
    pub(crate) fn grpc_address(&self) -> &str {
        self.place("endpoint").trim_start_matches("http://")
    }

    /// Access key and secret key of its S3.
    pub(crate) fn s3_keys(&self) -> (&str, &str) {
        (self.place("accessKey"), self.place("secretKey"))
    }

    /// A client of its S3 that is not ours.
    pub(crate) fn s3(&self) -> S3 {
        let (access_key, secret_key) = self.s3_keys();
        S3::connect(self.place("s3Endpoint"), access_key, secret_key)
    }

    /// A client's command line.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = warifu_in(self.directory.path(), arguments);
        command.env("WARIFU_ENDPOINT", self.place("endpoint"));
        command.env("AWS_ENDPOINT_URL", self.place("s3Endpoint"));
        command.env("AWS_ACCESS_KEY_ID", self.place("accessKey"));
        command.env("AWS_SECRET_ACCESS_KEY", self.place("secretKey"));
        command.env("AWS_REGION", self.place("region"));
        command
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    /// The answer of its HTTP endpoint, head and body.
    pub(crate) fn http_get(&self, path: &str) -> String {
        let address = self.place("httpEndpoint").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Runs a client command to its end.
    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Finished {
        Process::start(self.command(arguments)).finish()
    }

    /// Runs a client command with `-o json`, expects `status`, and returns what it printed.
    #[track_caller]
    pub(crate) fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, status: i32) -> Value {
        self.run(arguments.into_iter().chain(["-o", "json"])).expect(status).json()
    }

    /// Writes a file beside the data directory.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Submits a job under `id` and waits for the run's end, which must be `status`; returns the run.
    #[track_caller]
    pub(crate) fn submit_and_wait(&self, id: &str, job: &str, status: i32) -> Value {
        self.submit(id, job);
        self.wait(id, status)
    }

    /// Waits for the end of `id`, which must be `status`; returns the run.
    #[track_caller]
    pub(crate) fn wait(&self, id: &str, status: i32) -> Value {
        let waited = self.run(["wait", id, "--timeout", "60s", "-o", "json"]);
        if waited.status == 4 {
            let (run, workers) = (self.run(["get", id, "-o", "json"]), self.run(["workers"]));
            panic!("{id} does not end:\n{}\n{}\n{}", run.stdout, workers.stdout, self.process.stderr());
        }
        waited.expect(status).json()
    }

    /// Submits a job under `id`.
    #[track_caller]
    pub(crate) fn submit(&self, id: &str, job: &str) {
        let file = self.write(&format!("{id}.yaml"), job);
        self.run(["submit", "-f", text(&file), "--id", id, "-q"]).expect(0);
    }

    /// Downloads the results of `id` into a directory of their own.
    #[track_caller]
    pub(crate) fn download(&self, id: &str) -> PathBuf {
        let directory = scratch_in(self.directory.path());
        self.run(["results", id, "--download", text(&directory)]).expect(0);
        directory
    }

    /// SIGTERM; it must end by itself with status 0.
    #[track_caller]
    pub(crate) fn stop(self) {
        drop(self.end_keeping_files());
    }

    /// SIGTERM, as [`stop`](Self::stop); returns the directory so that its files stay.
    #[track_caller]
    pub(crate) fn end_keeping_files(self) -> tempfile::TempDir {
        self.process.signal(Signal::SIGTERM);
        self.process.finish_within(STOPPED_WITHIN).expect(0);
        self.directory
    }
}

fn scratch_in(directory: &Path) -> PathBuf {
    tempfile::Builder::new().prefix("results-").tempdir_in(directory).unwrap().keep()
}
