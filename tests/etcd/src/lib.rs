//! Real etcd processes for tests: clusters on loopback whose members can be killed, paused, started again and filled.
//!
//! Owns the processes and their directories: both go with the [`EtcdCluster`]. Deliberately speaks to etcd through its JSON
//! gateway alone, so that a test judges by other means than the code that it tests.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

mod certificates;
mod http;
mod ports;

pub use certificates::Certificates;
pub use ports::free_ports;

/// A start, or a cluster's first election, may take so long on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Starts that are tried: another process may take a port before etcd does.
const STARTS: usize = 5;

/// Members of one cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Member>,
    directory: tempfile::TempDir,
    options: Vec<String>,
}

#[derive(Debug)]
struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl EtcdCluster {
    /// Starts one member that also serves `https` at the port that is returned, to clients with a certificate of `certificates`.
    ///
    /// # Panics
    /// If etcd is not installed, or does not serve.
    pub fn start_with_tls(certificates: &Certificates) -> (Self, u16) {
        let [plain, encrypted] = free_ports(2)[..] else { unreachable!("two were asked for") };
        let urls = format!("http://127.0.0.1:{plain},https://127.0.0.1:{encrypted}");
        let path = |path: &'static str| certificates.path(path);
        let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
        let options = [
            ["--listen-client-urls", &urls],
            ["--advertise-client-urls", &urls],
            ["--trusted-ca-file", &ca],
            ["--cert-file", &cert],
            ["--key-file", &key],
        ];
        let options: Vec<&str> = options.into_iter().flatten().chain(["--client-cert-auth"]).collect();
        let mut cluster = Self::new(1, &options);
        cluster.members[0].client_port = plain;
        cluster.spawn(0);
        assert!(cluster.wait_until_ready(), "etcd with TLS does not start");
        (cluster, encrypted)
    }

    /// From now on etcd asks for a password: `user` may read and write keys below `prefix`, and nothing else.
    ///
    /// # Panics
    /// If etcd refuses.
    pub fn enable_authentication(&self, user: &str, password: &str, prefix: &str) {
        let call = |method: &str, body: Value| {
            assert!(self.call(0, &format!("auth/{method}"), &body).is_some(), "etcd refuses auth/{method}");
        };
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix is not empty") += 1;
        let keys = json!({
            "permType": "READWRITE",
            "key": BASE64.encode(prefix),
            "range_end": BASE64.encode(end),
        });
        call("user/add", json!({"name": "root", "password": password}));
        call("user/grant", json!({"user": "root", "role": "root"}));
        call("role/add", json!({"name": "below"}));
        call("role/grant", json!({"name": "below", "perm": keys}));
        call("user/add", json!({"name": user, "password": password}));
        call("user/grant", json!({"user": user, "role": "below"}));
        call("enable", json!({}));
    }

    /// Starts `count` members and waits until they have a leader.
    ///
    /// # Panics
    /// If etcd is not installed, or does not serve.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// Like [`EtcdCluster::start`], with more of etcd's options.
    ///
    /// # Panics
    /// If etcd is not installed, or does not serve.
    pub fn start_with(count: usize, options: &[&str]) -> Self {
        for _ in 0..STARTS {
            if let Some(cluster) = Self::try_start(count, options) {
                return cluster;
            }
        }
        panic!("etcd ended at each of {STARTS} starts");
    }

    fn try_start(count: usize, options: &[&str]) -> Option<Self> {
        let mut cluster = Self::new(count, options);
        for index in 0..count {
            cluster.spawn(index);
        }
        cluster.wait_until_ready().then_some(cluster)
    }

    fn new(count: usize, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for etcd's data");
        let ports = free_ports(2 * count);
        let member = |(index, ports): (usize, &[u16])| Member {
            name: format!("m{index}"),
            client_port: ports[0],
            peer_port: ports[1],
            process: None,
        };
        let members = ports.chunks(2).enumerate().map(member).collect();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { members, directory, options }
    }

    fn spawn(&mut self, index: usize) {
        let peers: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port))
            .collect();
        let data = self.directory.path().join(&self.members[index].name);
        let log = std::fs::File::options().create(true).append(true).open(data.with_extension("log"));
        let log = log.expect("a file for etcd's log");
        let member = &mut self.members[index];
        let client = format!("http://127.0.0.1:{}", member.client_port);
        let peer = format!("http://127.0.0.1:{}", member.peer_port);
        let mut etcd = Command::new("etcd");
        etcd.args(["--name", &member.name]).arg("--data-dir").arg(&data);
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &peers.join(","), "--initial-cluster-token", "warifu-test"]);
        etcd.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = etcd.spawn().unwrap_or_else(|error| {
            panic!("cannot start etcd ({error}); install it (Debian: apt-get install etcd-server)")
        });
        member.process = Some(process);
    }

    /// Whether all members that were started serve; not if one of them has ended.
    fn wait_until_ready(&mut self) -> bool {
        let give_up_at = Instant::now() + READY_WITHIN;
        while Instant::now() < give_up_at {
            let ended = |member: &mut Member| {
                let process = member.process.as_mut();
                process.is_some_and(|process| process.try_wait().is_ok_and(|status| status.is_some()))
            };
            if self.members.iter_mut().any(ended) {
                return false;
            }
            let started = self.members.iter().filter(|member| member.process.is_some());
            if started.map(|member| member.client_port).all(serves) {
                return true;
            }
            std::thread::park_timeout(PAUSE);
        }
        false
    }

    /// `http://127.0.0.1:PORT` of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client_port)).collect()
    }

    /// Ports at which the members serve clients.
    pub fn client_ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.client_port).collect()
    }

    /// The directory of the members' data and logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The member that leads etcd, asked of those that run.
    pub fn leader(&self) -> Option<usize> {
        let statuses: Vec<(usize, Value)> = (0..self.members.len())
            .filter_map(|index| Some((index, self.call(index, "maintenance/status", &json!({}))?)))
            .collect();
        let leads = |(_, status): &&(usize, Value)| status["leader"] == status["header"]["member_id"];
        statuses.iter().find(leads).map(|(index, _)| *index)
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            // An error means that it has ended.
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// Starts a member that was killed on the data that it left, and waits until it serves, if its cluster can.
    pub fn restart(&mut self, index: usize) {
        self.spawn(index);
        let running = self.members.iter().filter(|member| member.process.is_some()).count();
        let is_quorum = running * 2 > self.members.len();
        assert!(!is_quorum || self.wait_until_ready(), "etcd member {index} does not come back");
    }

    /// SIGSTOP.
    pub fn pause(&self, index: usize) {
        self.signal(index, Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.signal(index, Signal::SIGCONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().expect("the member runs");
        let id = Pid::from_raw(process.id().try_into().expect("process ids are positive"));
        kill(id, signal).expect("the member runs");
    }

    /// Bytes of each member's database, as far as members answer.
    pub fn database_sizes(&self) -> Vec<u64> {
        let size = |index| {
            let status = self.call(index, "maintenance/status", &json!({}))?;
            status["dbSize"].as_str()?.parse().ok()
        };
        (0..self.members.len()).filter_map(size).collect()
    }

    /// Does what an operator does when etcd is out of space: compacts, defragments each member, disarms the alarm.
    ///
    /// # Panics
    /// If a member does not answer.
    pub fn make_space(&self) {
        let call = |index: usize, method: &str, body: Value| {
            self.call(index, method, &body).unwrap_or_else(|| panic!("etcd member {index} answers {method}"))
        };
        // A member that lags would meet its quota, and raise the alarm again, after all is done.
        self.wait_until_all_have_applied();
        let status = call(0, "maintenance/status", json!({}));
        let revision = &status["header"]["revision"];
        // An error, and so no answer, means that it is compacted already.
        _ = self.call(0, "kv/compaction", &json!({"revision": revision, "physical": true}));
        for index in 0..self.members.len() {
            call(index, "maintenance/defragment", json!({}));
        }
        let alarms = call(0, "maintenance/alarm", json!({"action": "GET"}));
        for alarm in alarms["alarms"].as_array().into_iter().flatten() {
            let disarm =
                json!({"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"]});
            call(0, "maintenance/alarm", disarm);
        }
    }

    fn wait_until_all_have_applied(&self) {
        let index = |member: usize, name: &str| -> Option<u64> {
            self.call(member, "maintenance/status", &json!({}))?[name].as_str()?.parse().ok()
        };
        let members = 0..self.members.len();
        let newest = members.clone().filter_map(|member| index(member, "raftIndex")).max();
        let give_up_at = Instant::now() + READY_WITHIN;
        while members.clone().any(|member| index(member, "raftAppliedIndex") < newest) {
            assert!(Instant::now() < give_up_at, "a member of etcd stays behind");
            std::thread::park_timeout(PAUSE);
        }
    }

    /// The alarms that members have raised, as etcd tells them.
    pub fn alarms(&self) -> String {
        let told = |member| self.call(member, "maintenance/alarm", &json!({"action": "GET"}));
        (0..self.members.len())
            .find_map(told)
            .map_or_else(|| "nobody answers".to_owned(), |told| told.to_string())
    }

    /// Puts a value.
    ///
    /// Returns whether etcd took it.
    pub fn put(&self, index: usize, key: &str, value: &[u8]) -> bool {
        let body = json!({"key": BASE64.encode(key), "value": BASE64.encode(value)});
        self.call(index, "kv/put", &body).is_some()
    }

    /// The answer of one member's JSON gateway; `None` if there is none, or it is an error.
    fn call(&self, index: usize, method: &str, body: &Value) -> Option<Value> {
        let member = &self.members[index];
        member.process.as_ref()?;
        http::post(member.client_port, &format!("/v3/{method}"), body)
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            self.kill(index);
        }
    }
}

/// Whether a member takes part in a cluster with a leader.
fn serves(port: u16) -> bool {
    let status = http::post(port, "/v3/maintenance/status", &json!({}));
    status.is_some_and(|status| status["leader"].as_str().is_some_and(|leader| leader != "0"))
        && http::get(port, "/health").is_some_and(|health| health["health"] == "true")
}
