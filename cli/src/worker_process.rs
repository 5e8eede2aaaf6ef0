//! A worker as a process of its own, made to be killed: this program again, with a command that help does not show.
//!
//! Two pipes tie it to this process. Over its standard output it says which batches begin and end, so that after a kill
//! it is known what it had in hand. Its standard input says when to end: [`DRAIN`] in peace, and its end at once, which
//! comes however this process ends. So it cannot be left behind.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::local_worker::DRAIN_TIMEOUT;

/// The command's name.
pub(crate) const COMMAND: &str = "quickstart-worker";
/// What it says when a batch begins.
pub(crate) const BATCH_BEGAN: &str = "began";
/// What it says when a batch has ended.
pub(crate) const BATCH_ENDED: &str = "ended";
/// The line on standard input that asks it to finish what it runs and to end.
pub(crate) const DRAIN: &str = "drain";

/// SIGKILL's number, the same on every system.
const SIGKILL: i32 = 9;

/// Batches of a worker process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls of its handler.
    pub(crate) began: u64,
    /// Those that returned.
    pub(crate) ended: u64,
}

impl Tally {
    /// Batches that its handler is at.
    pub(crate) fn running(&self) -> u64 {
        self.began - self.ended
    }
}

/// A worker process. Killed when the value goes.
pub(crate) struct WorkerProcess {
    child: Child,
    stdin: ChildStdin,
    tally: watch::Receiver<Tally>,
    reader: JoinHandle<()>,
}

impl WorkerProcess {
    /// Starts this program with the hidden command and `arguments`.
    pub(crate) fn start(arguments: &[OsString]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg(COMMAND).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C at a terminal goes to its whole group; here the parent says what follows from it.
        command.process_group(0);
        let mut child = command.spawn().context("cannot start a worker as a process")?;
        let stdin = child.stdin.take().context("the worker process has no standard input")?;
        let stdout = child.stdout.take().context("the worker process has no standard output")?;
        let (sender, tally) = watch::channel(Tally::default());
        Ok(Self { child, stdin, tally, reader: tokio::spawn(count_batches(stdout, sender)) })
    }

    /// Its process ID; 0 once it has been waited for.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits until its batches are as `wanted` has them, and returns false if it ended before.
    pub(crate) async fn wait_until(&mut self, wanted: impl FnMut(&Tally) -> bool) -> bool {
        self.tally.wait_for(wanted).await.is_ok()
    }

    /// kill -9. Returns what it had begun and ended; whatever it was at is cut off where it was.
    pub(crate) async fn kill(mut self) -> anyhow::Result<Tally> {
        self.child.start_kill().context("cannot kill the worker process")?;
        let status = self.child.wait().await.context("cannot wait for the killed worker process")?;
        ensure!(
            status.signal() == Some(SIGKILL),
            "the worker process was to be killed and ended by {status}"
        );
        // All that it wrote is in the pipe, and nobody else writes to it.
        self.reader.await.context("the killed worker's words were not read to their end")?;
        Ok(*self.tally.borrow())
    }

    /// Lets it finish what it runs, and waits for its end; kills it if that takes too long.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // An error means that it has just ended; its status tells how.
        _ = self.stdin.write_all(format!("{DRAIN}\n").as_bytes()).await;
        let Ok(status) = timeout(2 * DRAIN_TIMEOUT, self.child.wait()).await else {
            self.child.kill().await.context("cannot kill the worker process")?;
            anyhow::bail!("the worker process did not end and was killed");
        };
        let status = status.context("cannot wait for the worker process")?;
        ensure!(status.success(), "the worker process ended by {status}");
        Ok(())
    }
}

/// Reads to the end, whether or not anybody looks: a full pipe would make the worker wait.
async fn count_batches(stdout: ChildStdout, tally: watch::Sender<Tally>) {
    let mut lines = BufReader::new(stdout).lines();
    // An error is like the end: then nothing more is known.
    while let Ok(Some(line)) = lines.next_line().await {
        match line.as_str() {
            BATCH_BEGAN => tally.send_modify(|tally| tally.began += 1),
            BATCH_ENDED => tally.send_modify(|tally| tally.ended += 1),
            other => tracing::debug!(line = other, "the worker process said something else"),
        }
    }
}
