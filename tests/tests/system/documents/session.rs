//! A reader who types a document's commands, in a directory of their own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::is_elsewhere;
use super::parse::commands;
use crate::harness::{Finished, Process, command, eventually, grpcurl, scratch};

/// Each is awaited; a debug build beside other tests takes its time.
const SOON: Duration = Duration::from_secs(60);

/// Where documents say that a development server listens.
const SHOWN_ADDRESS: &str = "127.0.0.1:7400";

pub(super) struct Session {
    document: &'static str,
    directory: tempfile::TempDir,
    server: Option<Server>,
}

struct Server {
    process: Process,
    places: Value,
}

impl Session {
    /// A reader of `document` with these files.
    pub(super) fn start(document: &'static str, files: &[(&str, &str)]) -> Self {
        let session = Self { document, directory: scratch(), server: None };
        for (name, content) in files {
            session.write(name, content);
        }
        session
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        if content.starts_with("#!") {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Runs all commands of the document, in order. They succeed, but for those whose beginnings are in `statuses`.
    pub(super) fn run_all(&mut self, statuses: &[(&str, i32)]) {
        for shown in commands(self.document) {
            if is_elsewhere(&shown) {
                continue;
            }
            if shown.text.starts_with("warifu dev") {
                self.start_server(&shown.text);
                continue;
            }
            let status = statuses.iter().find(|(beginning, _)| shown.text.starts_with(beginning));
            self.run(&shown.text, status.map_or(0, |(_, status)| *status));
        }
        self.stop_server();
    }

    /// Runs a command as the shell has it, against the server that was started last.
    #[track_caller]
    pub(super) fn run(&self, text: &str, status: i32) -> Finished {
        let mut text = text.to_owned();
        if let Some(server) = &self.server {
            let address = server.place("endpoint").trim_start_matches("http://");
            text = text.replace(SHOWN_ADDRESS, address);
        }
        if text.contains(" RUN") {
            text = text.replace(" RUN", &format!(" {}", self.latest_run()));
        }
        Process::start(self.shell(&format!("set -eo pipefail\n{text}"))).finish().expect(status)
    }

    /// Starts the server that `text` starts, on free ports, in place of the one before, and puts the users where it reads.
    pub(super) fn start_server(&mut self, text: &str) {
        self.stop_server();
        let words: Vec<&str> = text.split(' ').collect();
        let named = words.iter().position(|word| *word == "--data-dir").map(|at| words[at + 1]);
        let data = self.directory.path().join(named.unwrap_or(".warifu"));
        let ports = data.join("ports.json");
        // That of a process which has ended.
        _ = std::fs::remove_file(&ports);
        let mut process = Process::start(self.shell(&format!("exec {text} --port-base 0")));
        let places = eventually("the server writes ports.json", SOON, || {
            assert!(process.is_running(), "{text} ended:\n{}", process.stderr());
            serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()
        });
        self.server = Some(Server { process, places });
        let users = data.join("s3/input/users.csv");
        if !users.exists() {
            std::fs::copy(self.directory.path().join("users.csv"), users).unwrap();
        }
    }

    fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.process.signal(Signal::SIGTERM);
            server.process.finish().expect(0);
        }
    }

    /// A table for users in a new SQLite file.
    pub(super) fn create_table(&self, file: &str) {
        self.run(&format!("sqlite3 {file} 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)'"), 0);
    }

    /// The file that a command wrote holds this.
    #[track_caller]
    pub(super) fn expect_in(&self, file: &str, part: &str) {
        let content = std::fs::read_to_string(self.directory.path().join(file)).unwrap();
        assert!(content.contains(part), "{content}");
    }

    fn latest_run(&self) -> String {
        let listed = Process::start(self.shell("warifu list -o json")).finish().expect(0).json();
        let name = listed["mapRuns"][0]["name"].as_str().expect("a run was submitted");
        name.trim_start_matches("mapRuns/").to_owned()
    }

    fn shell(&self, text: &str) -> Command {
        let warifu = command("warifu");
        let mut shell = Command::new("bash");
        // Without what the surroundings configure.
        for (variable, value) in warifu.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        let mut directories = vec![PathBuf::from(warifu.get_program()).parent().unwrap().to_owned()];
        directories.extend(grpcurl().ok().and_then(|program| program.parent().map(ToOwned::to_owned)));
        let path = std::env::var_os("PATH").unwrap_or_default();
        directories.extend(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(directories).unwrap());
        if let Some(server) = &self.server {
            shell.env("WARIFU_ENDPOINT", server.place("endpoint"));
            shell.env("AWS_ENDPOINT_URL", server.place("s3Endpoint"));
            shell.env("AWS_ACCESS_KEY_ID", server.place("accessKey"));
            shell.env("AWS_SECRET_ACCESS_KEY", server.place("secretKey"));
            shell.env("AWS_REGION", server.place("region"));
        }
        shell.current_dir(self.directory.path()).args(["-c", text]);
        shell
    }
}

impl Server {
    fn place(&self, name: &str) -> &str {
        self.places[name].as_str().unwrap()
    }
}
