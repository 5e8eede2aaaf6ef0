//! A whole fleet as processes: etcd, coordinators, workers, S3, with a network between any two that a test can break.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use warifu_test_etcd::{EtcdCluster, free_ports};

use super::clock;
use super::{Dev, DevSettings, Finished, Network, Process, Proxy, command, eventually, scratch, text};

/// How long a start may take.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How much of each process's log is shown.
const LAST_WORDS_BYTES: usize = 4_096;

/// How a fleet is made.
pub(crate) struct FleetSettings<'a> {
    /// Coordinators.
    pub(crate) coordinators: usize,
    /// Members of etcd.
    pub(crate) etcd_members: usize,
    /// More options of etcd.
    pub(crate) etcd_options: &'a [&'a str],
    /// The section `[leases]`, and others that the test has nothing to say of; empty: the defaults.
    pub(crate) leases: &'a str,
    /// Coordinators reach S3 past its network: what a test does to that meets workers alone.
    pub(crate) s3_past_network: bool,
}

impl Default for FleetSettings<'_> {
    fn default() -> Self {
        Self { coordinators: 3, etcd_members: 3, etcd_options: &[], leases: "", s3_past_network: false }
    }
}

/// A fleet of the test.
pub(crate) struct Fleet {
    s3: Dev,
    /// Between workers and S3.
    pub(crate) s3_network: Proxy,
    /// The state of all coordinators.
    pub(crate) etcd: EtcdCluster,
    coordinators: Vec<Coordinator>,
    workers: Vec<Worker>,
    worker_http_port: Option<u16>,
    directory: tempfile::TempDir,
}

struct Coordinator {
    port: u16,
    http_port: u16,
    /// Between this coordinator and everybody who talks to it but the test.
    network: Proxy,
    /// Between this coordinator and each member of etcd.
    etcd_network: Vec<Proxy>,
    process: Option<Process>,
    paused: bool,
}

struct Worker {
    id: String,
    process: Option<Process>,
}

impl Fleet {
    /// Starts everything but workers, and waits until a coordinator leads.
    pub(crate) fn start(settings: &FleetSettings<'_>) -> Self {
        let s3 = Dev::start(&DevSettings { workers: 0, ..DevSettings::default() });
        let s3_network = Proxy::start(port_of(s3.place("s3Endpoint")));
        let etcd = EtcdCluster::start_with(settings.etcd_members, settings.etcd_options);
        let directory = scratch();
        let mut fleet = Self {
            s3,
            s3_network,
            etcd,
            coordinators: Vec::new(),
            workers: Vec::new(),
            worker_http_port: None,
            directory,
        };
        for index in 0..settings.coordinators {
            fleet.add_coordinator(index, settings);
        }
        for index in 0..settings.coordinators {
            fleet.start_coordinator(index);
        }
        fleet.wait_for_leader();
        fleet
    }

    fn add_coordinator(&mut self, index: usize, settings: &FleetSettings<'_>) {
        let ports = free_ports(2);
        let network = Proxy::start(ports[0]);
        let etcd_network: Vec<Proxy> = self.etcd.client_ports().into_iter().map(Proxy::start).collect();
        let endpoints: Vec<String> = etcd_network.iter().map(|proxy| format!("{:?}", proxy.url())).collect();
        let past_network = settings.s3_past_network.then(|| self.s3.place("s3Endpoint").to_owned());
        let s3_endpoint = past_network.unwrap_or_else(|| self.s3_network.url());
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{}\"\nhttp_listen = \"127.0.0.1:{}\"\nadvertise = \"{}\"\n\
             [store]\ntype = \"etcd\"\nendpoints = [{}]\n{}\n{}",
            ports[0],
            ports[1],
            network.url(),
            endpoints.join(", "),
            settings.leases,
            s3_section(&s3_endpoint),
        );
        std::fs::write(self.path(&format!("coordinator-{index}.toml")), config).unwrap();
        self.coordinators.push(Coordinator {
            port: ports[0],
            http_port: ports[1],
            network,
            etcd_network,
            process: None,
            paused: false,
        });
    }

    /// Starts a coordinator that does not run.
    pub(crate) fn start_coordinator(&mut self, index: usize) {
        let process = self.process("warifu-coordinator", &format!("coordinator-{index}.toml"));
        self.coordinators[index].process = Some(Process::start(process));
    }

    /// kill -9.
    pub(crate) fn kill_coordinator(&mut self, index: usize) {
        self.coordinators[index].process.take().unwrap().kill();
    }

    /// SIGTERM; it must end by itself with status 0.
    #[track_caller]
    pub(crate) fn stop_coordinator(&mut self, index: usize) -> Finished {
        let process = self.coordinators[index].process.take().unwrap();
        process.signal(Signal::SIGTERM);
        process.finish_within(READY_WITHIN).expect(0)
    }

    /// SIGSTOP.
    pub(crate) fn pause_coordinator(&mut self, index: usize) {
        self.coordinators[index].paused = true;
        self.coordinators[index].process.as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn resume_coordinator(&mut self, index: usize) {
        self.coordinators[index].paused = false;
        self.coordinators[index].process.as_ref().unwrap().signal(Signal::SIGCONT);
    }

    /// Any other signal.
    pub(crate) fn signal_coordinator(&self, index: usize, signal: Signal) {
        self.coordinators[index].process.as_ref().unwrap().signal(signal);
    }

    /// Where a coordinator serves gRPC.
    pub(crate) fn grpc_address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.coordinators[index].port)
    }

    /// Where a coordinator serves metrics.
    pub(crate) fn http_port(&self, index: usize) -> u16 {
        self.coordinators[index].http_port
    }

    /// The network between a coordinator and workers and other coordinators.
    pub(crate) fn set_network(&self, index: usize, network: Network) {
        self.coordinators[index].network.set(network);
    }

    /// The network between a coordinator and etcd.
    pub(crate) fn set_etcd_network(&self, index: usize, network: Network) {
        for proxy in &self.coordinators[index].etcd_network {
            proxy.set(network);
        }
    }

    /// How often the networks around a coordinator did something since they were set.
    pub(crate) fn touched(&self, index: usize) -> u64 {
        let coordinator = &self.coordinators[index];
        let proxies = coordinator.etcd_network.iter().chain([&coordinator.network]);
        proxies.map(Proxy::touched).sum()
    }

    /// The coordinator that leads, as one of those that run says.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.leader_and_term().map(|(leader, _)| leader)
    }

    /// The coordinator that leads, and its term, as one of those that run says.
    pub(crate) fn leader_and_term(&self) -> Option<(usize, u64)> {
        let cluster = Self::answer(self.client(&["cluster", "-o", "json"]))?;
        let endpoint = cluster["leader"]["endpoint"].as_str()?;
        let index = self.coordinators.iter().position(|coordinator| coordinator.network.url() == endpoint)?;
        Some((index, term_of(&cluster)?))
    }

    /// The term of the leader that this coordinator knows.
    pub(crate) fn term_seen_by(&self, index: usize) -> Option<u64> {
        term_of(&Self::answer(self.client_of(index, &["cluster", "-o", "json"]))?)
    }

    fn answer(command: Command) -> Option<Value> {
        let finished = Process::start(command).finish();
        (finished.status == 0).then(|| finished.json())
    }

    /// Waits until a coordinator that runs leads, and returns which.
    pub(crate) fn wait_for_leader(&self) -> usize {
        eventually("a coordinator leads", READY_WITHIN, || self.leader().filter(|&leader| self.runs(leader)))
    }

    fn runs(&self, index: usize) -> bool {
        self.coordinators[index].process.is_some() && !self.coordinators[index].paused
    }

    /// Coordinators.
    pub(crate) fn coordinators(&self) -> usize {
        self.coordinators.len()
    }

    /// Where the next worker that is started serves metrics.
    pub(crate) fn set_worker_http_port(&mut self, port: Option<u16>) {
        self.worker_http_port = port;
    }

    /// Starts a worker with these handlers, and waits until a coordinator knows it.
    pub(crate) fn start_worker(&mut self, id: &str, slots: u32, handlers: &str) {
        let endpoints: Vec<String> =
            self.coordinators.iter().map(|coordinator| format!("{:?}", coordinator.network.url())).collect();
        let state = self.path(&format!("state-{id}"));
        let http = self.worker_http_port.map(|port| format!("http_listen = \"127.0.0.1:{port}\"\n"));
        let http = http.unwrap_or_default();
        let config = format!(
            "[coordinator]\nendpoints = [{}]\n\
             [worker]\n{http}slots = {slots}\ndrain_timeout = \"20s\"\nstate_dir = \"{}\"\n{}{handlers}",
            endpoints.join(", "),
            text(&state),
            s3_section(&self.s3_network.url()),
        );
        std::fs::write(self.path(&format!("worker-{id}.toml")), config).unwrap();
        let index = self.workers.iter().position(|worker| worker.id == id).unwrap_or_else(|| {
            self.workers.push(Worker { id: id.to_owned(), process: None });
            self.workers.len() - 1
        });
        self.spawn_worker(index);
        eventually("the worker is there", READY_WITHIN, || self.knows_worker(id).then_some(()));
    }

    /// Starts a worker that was stopped or killed again.
    pub(crate) fn spawn_worker(&mut self, index: usize) {
        let id = self.workers[index].id.clone();
        let mut process = self.process("warifu-worker", &format!("worker-{id}.toml"));
        process.args(["--id", &id]);
        self.workers[index].process = Some(Process::start(process));
    }

    fn knows_worker(&self, id: &str) -> bool {
        let finished = Process::start(self.client(&["workers", "-o", "json"])).finish();
        let name = Value::from(format!("workers/{id}"));
        finished.status == 0
            && finished.json()["workers"].as_array().is_some_and(|all| all.iter().any(|w| w["name"] == name))
    }

    /// Workers, running or not.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// kill -9; returns the id that the process had.
    pub(crate) fn kill_worker(&mut self, index: usize) -> u32 {
        let process = self.workers[index].process.take().unwrap();
        let id = process.id();
        process.kill();
        id
    }

    /// Steps the wall clocks of all processes, each by another number of hours back or forth; by 0: makes them true again.
    pub(crate) fn step_clocks(&self, hours: i64) {
        let coordinators = (0..self.coordinators.len()).map(|index| format!("coordinator-{index}"));
        let workers = self.workers.iter().map(|worker| format!("worker-{}", worker.id));
        for (place, process) in (1..).zip(coordinators.chain(workers)) {
            let seconds = hours * 3_600 * place * if place % 2 == 0 { 1 } else { -1 };
            clock::step(&self.path(&format!("{process}.toml.clock")), seconds);
        }
    }

    /// The id of a worker's process.
    pub(crate) fn worker_id(&self, index: usize) -> u32 {
        self.workers[index].process.as_ref().unwrap().id()
    }

    /// SIGTERM; it must end by itself with status 0.
    #[track_caller]
    pub(crate) fn stop_worker(&mut self, index: usize) -> Finished {
        let process = self.workers[index].process.take().unwrap();
        process.signal(Signal::SIGTERM);
        process.finish_within(READY_WITHIN).expect(0)
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal_worker(&self, index: usize, signal: Signal) {
        self.workers[index].process.as_ref().unwrap().signal(signal);
    }

    /// What everything said last, for a failure that nobody understands yet.
    pub(crate) fn last_words(&self) -> String {
        let coordinators = self.coordinators.iter().map(|coordinator| coordinator.process.as_ref());
        let workers = self.workers.iter().map(|worker| worker.process.as_ref());
        let said = |process: Option<&Process>| {
            let said = process.map_or_else(|| "it does not run".to_owned(), Process::stderr);
            said[said.ceil_char_boundary(said.len().saturating_sub(LAST_WORDS_BYTES))..].to_owned()
        };
        let all: Vec<String> = coordinators.chain(workers).map(said).collect();
        format!("etcd's alarms: {}\n{}", self.etcd.alarms(), all.join("\n---\n"))
    }

    /// What a worker has said so far.
    pub(crate) fn worker_log(&self, index: usize) -> String {
        self.workers[index].process.as_ref().map_or_else(String::new, Process::stderr)
    }

    /// A command line of a client that talks to a coordinator that runs.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let index = (0..self.coordinators.len()).find(|&index| self.runs(index)).expect("a coordinator runs");
        self.client_of(index, arguments)
    }

    /// A command line of a client that talks to this coordinator.
    pub(crate) fn client_of(&self, index: usize, arguments: &[&str]) -> Command {
        let mut command = self.s3.command(arguments.iter().copied());
        command.env("WARIFU_ENDPOINT", format!("http://127.0.0.1:{}", self.coordinators[index].port));
        command
    }

    /// Runs a client's command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        Process::start(self.client(arguments)).finish()
    }

    /// Runs a client's command with `-o json`, expects `status`, and returns what it printed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str], status: i32) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        self.run(&arguments).expect(status).json()
    }

    /// Submits a job under `id`.
    #[track_caller]
    pub(crate) fn submit(&self, id: &str, job: &str) {
        let file = self.path(&format!("{id}.yaml"));
        std::fs::write(&file, job).unwrap();
        self.run(&["submit", "-f", text(&file), "--id", id]).expect(0);
    }

    /// A run's state, or `None` if nobody answers.
    pub(crate) fn get(&self, id: &str) -> Option<Value> {
        let finished = self.run(&["get", id, "-o", "json"]);
        (finished.status == 0).then(|| finished.json())
    }

    /// Waits until a run has succeeded, however many coordinators come and go meanwhile.
    #[track_caller]
    pub(crate) fn wait(&self, id: &str, deadline: Duration) -> Value {
        eventually(&format!("{id} ends"), deadline, || {
            let run = self.get(id)?;
            let state = run["state"].as_str().unwrap().to_owned();
            assert!(!["FAILED", "ABORTED"].contains(&state.as_str()), "{id}: {run}");
            (state == "SUCCEEDED").then_some(run)
        })
    }

    /// A client of its S3 that is not ours, past the network of the test.
    pub(crate) fn s3(&self) -> super::S3 {
        self.s3.s3()
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn process(&self, binary: &str, config: &str) -> Command {
        let mut process = command(binary);
        process.current_dir(self.directory.path()).args(["--config", config]);
        clock::give(&mut process, &self.path(&format!("{config}.clock")));
        process
            .env("AWS_ACCESS_KEY_ID", self.s3.s3_keys().0)
            .env("AWS_SECRET_ACCESS_KEY", self.s3.s3_keys().1);
        process
    }

    /// SIGTERM for everything that runs: all end with status 0.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        for index in 0..self.workers.len() {
            if self.workers[index].process.is_some() {
                self.stop_worker(index);
            }
        }
        for index in 0..self.coordinators.len() {
            if self.coordinators[index].process.is_some() {
                self.stop_coordinator(index);
            }
        }
        self.s3.stop();
    }
}

fn s3_section(endpoint: &str) -> String {
    format!(
        "[s3]\nendpoint_url = \"{endpoint}\"\nregion = \"us-east-1\"\nforce_path_style = true\nsystem_bucket = \"output\"\n"
    )
}

/// A 64-bit number is text in ProtoJSON.
fn term_of(cluster: &Value) -> Option<u64> {
    let term = &cluster["term"];
    term.as_u64().or_else(|| term.as_str()?.parse().ok())
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// A worker's handler that writes rows of `user_id` and `post_count` into a SQLite database.
pub(crate) fn sql_handler(database: &Path) -> String {
    format!(
        "[handlers.users]\ntype = \"sql\"\nurl = \"sqlite://{}\"\n\
         upsert = {{ table = \"users\", key = [\"user_id\"] }}\naudit = {{ table = \"audit_log\" }}\n\
         [handlers.users.columns]\nuser_id = {{ from = \"user_id\" }}\n\
         post_count = {{ from = \"post_count\", type = \"int8\" }}\n",
        text(database)
    )
}
