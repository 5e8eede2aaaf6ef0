//! A cluster as processes of this machine: etcd, a coordinator, and two workers; the S3 server is the measurement's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use warifu_test_etcd::{EtcdCluster, free_ports};

use crate::Settings;
use crate::data::DataFile;
use crate::programs;
use crate::running::Running;
use crate::s3::{BUCKET, OUTPUT, S3};

/// Workers of the cluster, and batches that each may run at once: the default.
const WORKERS: usize = 2;
const SLOTS: u32 = 8;

/// What etcd counts: every change that it had to agree on and to make durable, those that keep its own leases alive included.
const WRITES: &str = "etcd_server_proposals_committed_total";

/// The processes end with the value, workers first.
pub(crate) struct Fleet {
    workers: Vec<Running>,
    coordinator: Running,
    etcd: EtcdCluster,
    endpoint: String,
    directory: TempDir,
}

/// Whether etcd can be started here.
pub(crate) fn has_etcd() -> bool {
    let mut command = Command::new("etcd");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Fleet {
    /// Starts everything and waits until the coordinator knows all workers. They reach `s3` at `s3_endpoint`.
    pub(crate) fn start(settings: &Settings, s3: &S3, s3_endpoint: &str) -> anyhow::Result<Self> {
        let etcd = EtcdCluster::start(1);
        let directory = tempfile::tempdir_in(&settings.directory)?;
        let [port, http_port] = free_ports(2)[..] else { bail!("two ports were asked for") };
        let endpoint = format!("http://127.0.0.1:{port}");
        let s3_section = format!(
            "[s3]\nendpoint_url = \"{s3_endpoint}\"\nregion = \"us-east-1\"\nforce_path_style = true\n\
             system_bucket = \"{OUTPUT}\"\n"
        );
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\nhttp_listen = \"127.0.0.1:{http_port}\"\n\
             [store]\ntype = \"etcd\"\nendpoints = [\"http://127.0.0.1:{}\"]\n{s3_section}",
            etcd.client_ports()[0]
        );
        std::fs::write(directory.path().join("coordinator.toml"), config)?;
        let config =
            format!("[coordinator]\nendpoints = [\"{endpoint}\"]\n[worker]\nslots = {SLOTS}\n{s3_section}");
        std::fs::write(directory.path().join("worker.toml"), config)?;
        let start = |program: &str, config: &str, id: Option<&str>| {
            let mut command = programs::command(settings, program)?;
            command.args(["--config", config]).envs(s3.keys());
            command.args(id.iter().flat_map(|id| ["--id", id]));
            Running::start(command, directory.path(), id.unwrap_or(program))
        };
        let mut coordinator = start("warifu-coordinator", "coordinator.toml", None)?;
        let is_led = || ask(settings, &endpoint, &["cluster"]).ok();
        coordinator.wait_for(is_led).context("no coordinator leads")?;
        let ids = (1..=WORKERS).map(|number| format!("w{number}"));
        let workers = ids.map(|id| start("warifu-worker", "worker.toml", Some(&id)));
        let workers = workers.collect::<anyhow::Result<_>>()?;
        let all_are_known = || {
            let known = ask(settings, &endpoint, &["workers"]).ok()?;
            (known["workers"].as_array()?.len() == WORKERS).then_some(())
        };
        coordinator.wait_for(all_are_known).context("the coordinator does not know all workers")?;
        Ok(Self { workers, coordinator, etcd, endpoint, directory })
    }

    /// Seconds from the creation of a run to its end, in which every record must succeed. `more` is of the job's file.
    pub(crate) fn run(
        &self,
        settings: &Settings,
        file: &DataFile,
        key: &str,
        batch: usize,
        (handler, more): (&str, &str),
    ) -> anyhow::Result<f64> {
        let job = format!(
            "itemReader: {{bucket: {BUCKET}, key: {key}, readerConfig: {{inputType: CSV}}}}\n\
             itemBatcher: {{maxItemsPerBatch: {batch}}}\nitemProcessor: {{handler: {handler}}}\n{more}"
        );
        let (job_file, id) = (
            std::fs::canonicalize(self.directory.path())?.join("job.yaml"),
            format!("{handler}-{}", key.replace('.', "-")),
        );
        std::fs::write(&job_file, job)?;
        let job_file = job_file.to_str().context("the directory's name is no text")?;
        ask(settings, &self.endpoint, &["submit", "-f", job_file, "--id", &id])?;
        let run = ask(settings, &self.endpoint, &["wait", &id, "--timeout", "1h"])?;
        programs::ensure_all_succeeded(file, &run)?;
        Ok((programs::time(&run["stopTime"])? - programs::time(&run["createTime"])?) / 1e3)
    }

    /// What etcd has written so far.
    pub(crate) fn etcd_writes(&self) -> anyhow::Result<f64> {
        let metrics = get(self.etcd.client_ports()[0], "/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(WRITES)?.trim().parse().ok());
        value.with_context(|| format!("etcd does not tell {WRITES}"))
    }

    /// The most memory of the coordinator, in MiB.
    pub(crate) fn coordinator_peak_mib(&self) -> anyhow::Result<f64> {
        self.coordinator.peak_mib()
    }

    /// The same of each worker.
    pub(crate) fn worker_peaks_mib(&self) -> anyhow::Result<Vec<f64>> {
        self.workers.iter().map(Running::peak_mib).collect()
    }
}

/// What a client of the coordinator is told.
fn ask(settings: &Settings, endpoint: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = programs::command(settings, "warifu")?;
    command.env("WARIFU_ENDPOINT", endpoint).args(arguments).args(["-o", "json"]);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} says no JSON"))
}

/// The answer of a plain HTTP server of this machine.
fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
