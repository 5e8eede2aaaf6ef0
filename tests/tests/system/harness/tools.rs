//! Programs that are not ours, at the versions that the checks pin.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Process, repository};

/// Far more than the installation takes, which builds a package from source.
const INSTALLED_WITHIN: Duration = Duration::from_secs(900);

/// Where the checks' own command puts them.
pub(crate) fn tools_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| repository().join("target")).join("tools")
}

/// A file below [`tools_directory`], which is installed if it is missing; the reason if that is not possible.
pub(crate) fn tool(path: &str) -> Result<PathBuf, String> {
    let file = tools_directory().join(path);
    installed(path, || file.exists().then(|| file.clone()))
}

/// grpcurl: on PATH, or where the checks put it.
pub(crate) fn grpcurl() -> Result<PathBuf, String> {
    on_path("grpcurl").map_or_else(|| tool("bin/grpcurl"), Ok)
}

/// curl, on PATH.
pub(crate) fn curl() -> Result<PathBuf, String> {
    on_path("curl").ok_or_else(|| "curl is not on PATH".to_owned())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The Python that has `package`.
pub(crate) fn python_with(package: &str) -> Result<PathBuf, String> {
    installed(package, || {
        let versions = std::fs::read_dir(tools_directory().join("lib")).ok()?;
        let mut packages = versions.flatten().map(|version| version.path().join("site-packages"));
        packages.find(|packages| packages.join(package).exists())?;
        Some(tools_directory().join("bin/python3"))
    })
}

fn installed(what: &str, find: impl Fn() -> Option<PathBuf>) -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<String> = OnceLock::new();
    if let Some(found) = find() {
        return Ok(found);
    }
    let said = INSTALLED.get_or_init(|| {
        let mut install = Command::new("bash");
        install.current_dir(repository()).args([".ci/check", "tools"]);
        Process::start(install).finish_within(INSTALLED_WITHIN).stderr
    });
    find().ok_or_else(|| format!("{what} is not there and cannot be installed:\n{said}"))
}
