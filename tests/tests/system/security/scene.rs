//! A coordinator with every option of security, workers with theirs, and everything that they log.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use warifu_test_etcd::{Certificates, EtcdCluster, free_ports};

use super::certificates::Authority;
use super::issuer::Issuer;
use crate::harness::{Dev, DevSettings, Finished, Process, command, eventually, scratch, text, warifu};

/// Each is awaited, and takes a moment.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// Whose token is which, and what its role is. The tokens are what no log may hold.
pub(super) const TOKENS: [(&str, &str, &str); 6] = [
    ("vera", "token-of-vera-5d1f0c", "viewer"),
    ("sam", "token-of-sam-91b77e", "submitter"),
    ("olga", "token-of-olga-2c44aa", "operator"),
    ("fleet-a", "token-of-fleet-a-70e1d3", "worker"),
    ("fleet-b", "token-of-fleet-b-8f3b19", "worker"),
    ("ghost", "token-of-ghost-000000", ""),
];

/// What the coordinator says to etcd.
const ETCD_PASSWORD: &str = "password-of-etcd-66a0c4";
/// All that it may touch there.
const ETCD_PREFIX: &str = "/warifu/v1/";

/// A coordinator that lets in whom it knows, over an etcd that does the same.
pub(super) struct Scene {
    pub(super) s3: Dev,
    _etcd: (EtcdCluster, Certificates),
    pub(super) issuer: Issuer,
    pub(super) directory: tempfile::TempDir,
    pub(super) authority: Authority,
    pub(super) coordinator: Process,
    pub(super) endpoint: String,
}

impl Scene {
    pub(super) fn start(sections: &str) -> Self {
        let s3 = Dev::start(&DevSettings { workers: 0, ..DevSettings::default() });
        let directory = scratch();
        let authority = Authority::create(directory.path(), "ca");
        for name in ["server", "client", "worker"] {
            authority.sign(name);
        }
        authority.sign_expired("expired");
        let etcd_certificates = Certificates::create();
        let (etcd, etcd_port) = EtcdCluster::start_with_tls(&etcd_certificates);
        etcd.enable_authentication("warifu", ETCD_PASSWORD, ETCD_PREFIX);
        std::fs::write(directory.path().join("etcd.password"), ETCD_PASSWORD).unwrap();
        let issuer = Issuer::create(&directory.path().join("jwks.json"));
        let [port, http_port] = free_ports(2)[..] else { unreachable!("two were asked for") };
        let path = |name: &str| text(&directory.path().join(name)).to_owned();
        let config = format!(
            "[server]\nlisten = '127.0.0.1:{port}'\nhttp_listen = '127.0.0.1:{http_port}'\n\
             [tls]\ncert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'\n\
             [auth]\ntokens_file = '{}'\n{}\
             [store]\ntype = 'etcd'\nendpoints = ['https://127.0.0.1:{etcd_port}']\nuser = 'warifu'\npassword_file = '{}'\n\
             [store.tls]\nca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n\
             [telemetry]\nlog_format = 'json'\n{sections}{}allowed = ['s3://input/*', 's3://output/*']\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem"),
            path("tokens"),
            Issuer::section(&path("jwks.json")),
            path("etcd.password"),
            etcd_certificates.path("ca.pem"),
            etcd_certificates.path("client.pem"),
            etcd_certificates.path("client.key"),
            s3_section(&s3),
        );
        std::fs::write(directory.path().join("coordinator.toml"), config).unwrap();
        write_tokens(&directory.path().join("tokens"), &[]);
        let coordinator = Process::start(program(&s3, directory.path(), "coordinator", "coordinator.toml"));
        let endpoint = format!("https://127.0.0.1:{port}");
        let etcd = (etcd, etcd_certificates);
        let scene = Self { s3, _etcd: etcd, issuer, directory, authority, coordinator, endpoint };
        eventually("the coordinator leads", SOON, || {
            (scene.call("vera", &["cluster"]).status == 0).then_some(())
        });
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The tokens of all but these count from now on.
    pub(super) fn revoke(&self, names: &[&str]) {
        write_tokens(&self.path("tokens"), names);
    }

    /// Starts a worker with the token of `principal`, and waits until it is known.
    pub(super) fn worker(&self, id: &str, principal: &str, handlers: &str) -> Process {
        let path = |name: &str| text(&self.path(name)).to_owned();
        std::fs::write(self.path(&format!("{principal}.token")), token(principal)).unwrap();
        let config = format!(
            "[coordinator]\nendpoints = ['{}']\ntoken_file = '{}'\n\
             [tls]\nca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n\
             [worker]\nslots = 4\ndrain_timeout = '20s'\n{}{handlers}",
            self.endpoint,
            path(&format!("{principal}.token")),
            path("ca.pem"),
            path("worker.pem"),
            path("worker.key"),
            s3_section(&self.s3),
        );
        std::fs::write(self.path(&format!("{id}.toml")), config).unwrap();
        let mut process = program(&self.s3, self.directory.path(), "worker", &format!("{id}.toml"));
        process.args(["--id", id]);
        let process = Process::start(process);
        eventually("the worker is there", SOON, || self.shows_worker(id, "ACTIVE").then_some(()));
        process
    }

    /// Whether the coordinator shows the worker in this state.
    pub(super) fn shows_worker(&self, id: &str, state: &str) -> bool {
        let workers = self.call("vera", &["workers", "-o", "json"]);
        let name = Value::from(format!("workers/{id}"));
        let is_it = |worker: &Value| worker["name"] == name && worker["state"] == state;
        workers.status == 0 && workers.json()["workers"].as_array().is_some_and(|all| all.iter().any(is_it))
    }

    /// A command line with the right certificates, and no token.
    pub(super) fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = warifu(arguments.iter().copied());
        command
            .env("WARIFU_ENDPOINT", &self.endpoint)
            .env("WARIFU_CA_FILE", self.path("ca.pem"))
            .env("WARIFU_CERT_FILE", self.path("client.pem"))
            .env("WARIFU_KEY_FILE", self.path("client.key"));
        command
    }

    /// Runs a command with the right certificates and the token of `principal` to its end.
    pub(super) fn call(&self, principal: &str, arguments: &[&str]) -> Finished {
        let mut command = self.bare(arguments);
        command.env("WARIFU_TOKEN", token(principal));
        Process::start(command).finish()
    }

    /// Submits a job as `principal`.
    pub(super) fn submit(&self, principal: &str, id: &str, job: &str) -> Finished {
        let file = self.path(&format!("{id}.yaml"));
        std::fs::write(&file, job).unwrap();
        self.call(principal, &["submit", "-f", text(&file), "--id", id])
    }

    /// Waits until the audit log has a line with these fields.
    #[track_caller]
    pub(super) fn expect_audit(&self, fields: &[(&str, &str)]) {
        eventually(&format!("an audit line with {fields:?}"), SOON, || {
            self.audit()
                .iter()
                .any(|line| fields.iter().all(|(key, value)| line[key] == *value))
                .then_some(())
        });
    }

    /// The fields of every line of the audit log.
    fn audit(&self) -> Vec<Value> {
        let log = self.coordinator.stderr();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "warifu::audit").collect()
    }

    /// Checks that no token, password or private key stands in what was logged or printed.
    #[track_caller]
    pub(super) fn expect_no_secret_in(&self, more: &[&str]) {
        let log = self.coordinator.stderr();
        let mut secrets: Vec<String> = TOKENS.iter().map(|(_, token, _)| (*token).to_owned()).collect();
        secrets.push(ETCD_PASSWORD.to_owned());
        for name in ["server.key", "client.key", "worker.key"] {
            let pem = std::fs::read_to_string(self.path(name)).unwrap();
            secrets.extend(pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
        }
        for log in more.iter().chain([&log.as_str()]) {
            for secret in &secrets {
                assert!(!log.contains(secret.as_str()), "a secret is in the log:\n{log}");
            }
        }
    }
}

/// The token of a principal.
pub(super) fn token(principal: &str) -> &'static str {
    TOKENS.iter().find(|(name, ..)| *name == principal).expect("a principal of the test").1
}

fn write_tokens(file: &std::path::Path, revoked: &[&str]) {
    let known = TOKENS.iter().filter(|(name, _, role)| !role.is_empty() && !revoked.contains(name));
    let lines: Vec<String> =
        known.map(|(name, token, role)| format!("{name} {} {role}\n", sha256(token))).collect();
    let next = file.with_extension("next");
    std::fs::write(&next, lines.concat()).unwrap();
    std::fs::rename(next, file).unwrap();
}

/// As `sha256sum` says it: a tool that is not ours.
fn sha256(text: &str) -> String {
    use std::io::Write as _;
    let mut process = Process::start(Command::new("sha256sum"));
    process.stdin().write_all(text.as_bytes()).unwrap();
    process.finish().expect(0).stdout[..64].to_owned()
}

fn program(s3: &Dev, directory: &std::path::Path, name: &str, config: &str) -> Command {
    let mut process = command(&format!("warifu-{name}"));
    process.current_dir(directory).args(["--config", config]);
    process.env("AWS_ACCESS_KEY_ID", s3.s3_keys().0).env("AWS_SECRET_ACCESS_KEY", s3.s3_keys().1);
    process
}

fn s3_section(s3: &Dev) -> String {
    format!(
        "[s3]\nendpoint_url = '{}'\nregion = 'us-east-1'\nforce_path_style = true\nsystem_bucket = 'output'\n",
        s3.place("s3Endpoint")
    )
}
