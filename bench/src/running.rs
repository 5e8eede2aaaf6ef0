//! Processes that are started for a measurement, and end with it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// How long a server may take to be there.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A process that ends with the value.
pub(crate) struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts a server that logs into `directory` under `name`.
    pub(crate) fn start(mut command: Command, directory: &Path, name: &str) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Looks until `found` gives something; an error if the process ends before, or nothing comes.
    pub(crate) fn wait_for<T>(&mut self, mut found: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let give_up_at = Instant::now() + READY_WITHIN;
        loop {
            if let Some(value) = found() {
                return Ok(value);
            }
            let is_there = self.child.try_wait()?.is_none() && Instant::now() < give_up_at;
            ensure!(is_there, "{}", std::fs::read_to_string(&self.log).unwrap_or_default());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// The most memory that it has held so far, in MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let mark = peak_kib(&self.child.id().to_string());
        Ok(mark.context("the process has no mark of its memory")? as f64 / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The most memory that a process has held, in KiB: the kernel keeps the mark. One that has ended has none any more.
pub(crate) fn peak_kib(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    mark.trim().strip_suffix(" kB")?.parse().ok()
}
