//! The programs that are measured, run as users run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::Settings;
use crate::data::DataFile;
use crate::running::peak_kib;

/// Between two looks at the memory of a process.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What one `warifu run` came to.
pub(crate) struct Measured {
    /// From the start of the process to its end.
    pub(crate) seconds: f64,
    /// The most memory that it held, in MiB.
    pub(crate) peak_mib: f64,
    /// When the run was created and when it ended, in milliseconds since the epoch.
    pub(crate) created_ms: f64,
    pub(crate) stopped_ms: f64,
    /// How many batches there were: each shard may end with one that is not full.
    pub(crate) batches: u64,
}

/// `warifu run` over `file` with more arguments; every record must have succeeded.
pub(crate) fn run(settings: &Settings, file: &DataFile, arguments: &[&str]) -> anyhow::Result<Measured> {
    let program = program(settings, "warifu")?;
    let data_dir = tempfile::tempdir_in(&settings.directory)?;
    // The state is durable and stays: what users keep is what is measured.
    let state = data_dir.path().to_str().context("the directory's name is no text")?;
    let mut command = Command::new(program);
    command.args(["run", file.path.to_str().context("the file's name is no text")?, "--data-dir", state]);
    command.args(["-o", "json"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let child = command.spawn().context("cannot start")?;
    let watched = watch_memory(child.id());
    let output = child.wait_with_output()?;
    let seconds = started.elapsed().as_secs_f64();
    let peak_kib = watched.join().unwrap_or_default();
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let run: Value = serde_json::from_slice(&output.stdout)?;
    ensure_all_succeeded(file, &run)?;
    Ok(Measured {
        seconds,
        peak_mib: peak_kib as f64 / 1024.0,
        created_ms: time(&run["createTime"])?,
        stopped_ms: time(&run["stopTime"])?,
        batches: run["batchCounts"]["succeeded"].as_u64().context("the run counts no batches")?,
    })
}

/// Every record of `file` was counted, and succeeded.
pub(crate) fn ensure_all_succeeded(file: &DataFile, run: &Value) -> anyhow::Result<()> {
    let counts = &run["itemCounts"];
    ensure!(
        counts["total"] == file.rows && counts["succeeded"] == file.rows,
        "{} has {} records, and the run counted {counts}",
        file.name,
        file.rows
    );
    Ok(())
}

/// A time of the API in milliseconds since the epoch.
pub(crate) fn time(value: &Value) -> anyhow::Result<f64> {
    let time: jiff::Timestamp = value.as_str().context("the run has no such time")?.parse()?;
    Ok(time.as_millisecond() as f64)
}

/// The most memory that a process holds until it ends, in KiB: the kernel keeps the mark, and it is read every now and then.
fn watch_memory(process: u32) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(mark) = peak_kib(&process.to_string()) {
            peak = mark;
            std::thread::park_timeout(LOOK_EVERY);
        }
        peak
    })
}

/// A command line of a program of the product, which has nothing of what the environment says of Warifu and AWS.
pub(crate) fn command(settings: &Settings, name: &str) -> anyhow::Result<Command> {
    // Servers run in directories of their own.
    let mut command = Command::new(std::fs::canonicalize(program(settings, name)?)?);
    let ours = |name: &str| ["WARIFU_", "AWS_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    Ok(command)
}

/// A program of the product, beside this one unless told otherwise.
pub(crate) fn program(settings: &Settings, name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = settings.programs.as_deref().or(own.parent()).unwrap_or(Path::new("."));
    let program = directory.join(name);
    ensure!(
        program.exists(),
        "{} is not there; build it first: cargo build --release -p warifu-cli -p warifu-coordinator -p warifu-worker",
        program.display()
    );
    Ok(program)
}
