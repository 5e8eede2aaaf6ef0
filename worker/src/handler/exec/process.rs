//! Runs one program with all three of its streams, and ends all of it.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::FutureExt;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warifu_common::model::CallFailure;

use crate::handler::process::{Group, Keep, Stream, describe_end};
use crate::text::tail;

/// Time between SIGTERM and SIGKILL.
const TERM_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of standard error that are kept, from its end.
pub(super) const KEPT_STDERR_BYTES: usize = 8 << 10;

/// Bytes of standard error that a failure's cause carries.
const CAUSE_STDERR_BYTES: usize = 900;

/// A program, and what it runs in.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) command: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
    pub(super) environment: Vec<(String, String)>,
}

impl Program {
    /// Its name, for messages.
    pub(super) fn name(&self) -> String {
        self.command.first().map(|name| name.display().to_string()).unwrap_or_default()
    }

    /// Starts it in a process group of its own, with pipes for all three streams.
    pub(super) fn spawn(&self) -> io::Result<Child> {
        let (name, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
        let mut command = Command::new(name);
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(arguments).envs(environment).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn()
    }
}

/// How a program ended, and what it said.
pub(super) struct Ended {
    status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stdout_overflowed: bool,
    stderr: Vec<u8>,
}

impl Ended {
    /// Why the batch failed, unless the program ended with status 0.
    pub(super) fn failure(&self) -> Option<CallFailure> {
        if self.status.success() {
            return None;
        }
        let (error, what) = describe_end("Exec", "the program", self.status);
        Some(CallFailure::system(error, with_last_words(what, &self.stderr)))
    }
}

/// `what` happened, and the end of what the program wrote to standard error.
pub(super) fn with_last_words(what: String, stderr: &[u8]) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let said = tail(stderr.trim(), CAUSE_STDERR_BYTES);
    if said.is_empty() { what } else { format!("{what}: {said}") }
}

/// Runs `program` on `stdin` to its end. `cancel` ends it with SIGTERM, and SIGKILL five seconds later; dropping the future kills it.
pub(super) async fn run_program(
    program: &Program,
    stdin: &[u8],
    max_stdout_bytes: usize,
    cancel: &CancellationToken,
) -> io::Result<Ended> {
    let mut child = program.spawn()?;
    let group = Group::of(&child);
    let mut stdout = Stream::new(max_stdout_bytes, Keep::Start);
    let mut stderr = Stream::new(KEPT_STDERR_BYTES, Keep::End);
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let status = {
        let pump = async {
            tokio::join!(write_all(pipes.0, stdin), stdout.read(pipes.1), stderr.read(pipes.2));
        };
        let pump = pump.fuse();
        tokio::pin!(pump);
        let status = {
            let waiting = wait(&mut child, &group, cancel);
            tokio::pin!(waiting);
            // Both futures are owned here and hold nothing that the other needs.
            tokio::select! {
                status = &mut waiting => status?,
                () = &mut pump => waiting.await?,
            }
        };
        group.end_leftovers(pump).await;
        status
    };
    Ok(Ended { status, stdout_overflowed: stdout.overflowed, stdout: stdout.bytes, stderr: stderr.bytes })
}

/// Waits for the program's end, or brings it about.
async fn wait(child: &mut Child, group: &Group, cancel: &CancellationToken) -> io::Result<ExitStatus> {
    // Cancel-safe: `Child::wait` may be called again.
    tokio::select! {
        status = child.wait() => return status,
        () = cancel.cancelled() => {}
    }
    terminate(child, group).await
}

/// Ends a program: SIGTERM to its group, SIGKILL five seconds later.
pub(super) async fn terminate(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
    group.signal(Signal::SIGTERM);
    if let Ok(status) = timeout(TERM_PATIENCE, child.wait()).await {
        return status;
    }
    group.signal(Signal::SIGKILL);
    child.wait().await
}

/// Writes the items. A program need not read them: a broken pipe is no error.
async fn write_all(pipe: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(bytes).await;
        let _ = pipe.shutdown().await;
    }
}
