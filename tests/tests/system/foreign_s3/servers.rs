//! S3 servers that are not ours, on free ports of this machine.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warifu_test_etcd::free_ports;

use crate::harness::{Process, S3, eventually, python_with, scratch, text, tool};

/// The keys that the servers know.
pub(super) const ACCESS_KEY: &str = "AKIAFOREIGN";
pub(super) const SECRET_KEY: &str = "foreign-secret";

const READY_WITHIN: Duration = Duration::from_secs(90);

/// A server that runs; it ends with the test.
pub(super) struct ForeignS3 {
    pub(super) endpoint: String,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl ForeignS3 {
    /// SeaweedFS, which checks signatures; the reason if it is not to be had.
    pub(super) fn seaweedfs() -> Result<Self, String> {
        let program = tool("bin/weed")?;
        let directory = scratch();
        let command = warifu_test_seaweedfs::command(&program, directory.path(), ACCESS_KEY, SECRET_KEY);
        let (command, endpoint) = command.unwrap();
        Ok(Self::start(command, endpoint, directory))
    }

    /// moto, AWS's API as Python tests have it; it takes any key.
    pub(super) fn moto() -> Result<Self, String> {
        let python = python_with("moto")?;
        let [port] = free_ports(1)[..] else { unreachable!("one was asked for") };
        let directory = scratch();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command.current_dir(directory.path());
        Ok(Self::start(command, format!("http://127.0.0.1:{port}"), directory))
    }

    fn start(command: Command, endpoint: String, directory: tempfile::TempDir) -> Self {
        let mut process = Process::start(command);
        eventually("the S3 server makes buckets", READY_WITHIN, || {
            assert!(process.is_running(), "it ended:\n{}", process.stderr());
            let client = S3::connect(&endpoint, ACCESS_KEY, SECRET_KEY);
            ["input", "output"].iter().all(|bucket| client.has_bucket(bucket)).then_some(())
        });
        Self { endpoint, _process: process, _directory: directory }
    }

    /// An ordinary client.
    pub(super) fn client(&self) -> S3 {
        S3::connect(&self.endpoint, ACCESS_KEY, SECRET_KEY)
    }
}

/// An AWS configuration whose keys a program gives out, as single sign-on and key stores have it.
pub(super) fn aws_config(directory: &Path) -> String {
    let keys =
        format!(r#"{{"Version": 1, "AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}"}}"#);
    std::fs::write(directory.join("keys.json"), keys).unwrap();
    let keys = directory.join("keys.json");
    let file = directory.join("aws-config");
    std::fs::write(&file, format!("[default]\ncredential_process = cat {}\n", text(&keys))).unwrap();
    text(&file).to_owned()
}
