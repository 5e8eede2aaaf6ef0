//! One process that is kept running: a line with an event goes in, a line with its answer comes out.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use futures::FutureExt;
use serde::de::IgnoredAny;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout};
use warifu_common::model::{CallFailure, error_name};

use super::MAX_STDOUT_BYTES;
use super::process::{Program, terminate, with_last_words};
use super::stderr::Stderr;
use crate::handler::process::{Group, LEFTOVER_PATIENCE, describe_end};

/// How long a program may take to end by itself once its standard input has ended.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How long the rest of an event may take to be read after its answer has come: an honest program has read it all.
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// A process that waits for an event, or is at work on one. Its group is killed when it is dropped.
pub(super) struct KeptProcess {
    child: Child,
    group: Group,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Stderr,
    /// When it was started.
    pub(super) started_at: Instant,
    /// Events that it has answered.
    pub(super) answered: u64,
}

/// Why an exchange gave no answer. The process cannot be used any more.
#[derive(Debug, PartialEq)]
pub(super) enum Broken {
    /// Its standard output ended.
    Ended,
    /// What it wrote is no answer: the next line could belong to anything.
    Garbage(String),
}

impl KeptProcess {
    /// Starts one.
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let mut child = program.spawn()?;
        let group = Group::of(&child);
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let stderr = Stderr::read(stderr, program.name(), child.id().unwrap_or_default());
        let stdout = BufReader::new(stdout);
        Ok(Self { child, group, stdin, stdout, stderr, started_at: Instant::now(), answered: 0 })
    }

    /// The process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it can be given another event: it runs, and has said nothing unasked.
    pub(super) fn is_fit(&mut self) -> bool {
        let runs = matches!(self.child.try_wait(), Ok(None));
        runs && self.stdout.fill_buf().now_or_never().is_none()
    }

    /// A new call begins.
    pub(super) fn begin_call(&self) {
        self.stderr.forget();
    }

    /// Gives it an event, a JSON text without line breaks, and takes its answer, one line of JSON. Not cancel-safe: a
    /// process whose exchange was dropped must be ended.
    pub(super) async fn exchange(&mut self, mut event: Vec<u8>) -> Result<Vec<u8>, Broken> {
        event.push(b'\n');
        let line = self.converse(&event).await?;
        if !self.stdout.buffer().is_empty() {
            return Err(garbage(
                "wrote more than one line for one batch; write exactly one, and everything else to standard error",
            ));
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(nothing_as_null(&line)) {
            return Err(garbage(&format!(
                "answered with a line that is not JSON ({error}); write everything else to standard error"
            )));
        }
        self.answered += 1;
        Ok(line)
    }

    /// Writes and reads at once: neither side waits for the other while pipes are full.
    async fn converse(&mut self, event: &[u8]) -> Result<Vec<u8>, Broken> {
        let Self { stdin, stdout, .. } = self;
        let writing = stdin.write_all(event);
        let reading = read_line(stdout, MAX_STDOUT_BYTES);
        tokio::pin!(writing, reading);
        // Whichever is not ready goes on after the select.
        let (line, written) = tokio::select! {
            written = &mut writing => (reading.await?, written.is_ok()),
            line = &mut reading => {
                let written = timeout(READ_PATIENCE, writing);
                (line?, matches!(written.await, Ok(Ok(()))))
            }
        };
        if written {
            Ok(line)
        } else {
            Err(garbage("answered before it had read its batch; read the whole line first"))
        }
    }

    /// Waits for a process whose output has ended, and says why its call failed.
    pub(super) async fn into_failure(mut self) -> CallFailure {
        let ended = match timeout(LEFTOVER_PATIENCE, self.child.wait()).await {
            Ok(status) => status,
            // It closed its output and runs on.
            Err(_) => terminate(&mut self.child, &self.group).await,
        };
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                return CallFailure::system(
                    error_name::TASK_FAILED,
                    format!("cannot wait for the program: {error}"),
                );
            }
        };
        let (error, what) = describe_end("Exec", "the program", status);
        let stderr = self.stderr.into_last_bytes().await;
        CallFailure::system(error, with_last_words(format!("{what} before it answered"), &stderr))
    }

    /// Ends it: SIGTERM to its group, SIGKILL after a while.
    pub(super) async fn terminate(mut self) {
        // It is gone when this fails.
        let _ = terminate(&mut self.child, &self.group).await;
    }

    /// Lets it end by itself, by the end of its input; ends it if it does not.
    pub(super) async fn close(self) {
        let Self { mut child, group, stdin, stderr: _stderr, .. } = self;
        drop(stdin);
        let ended: Option<io::Result<ExitStatus>> = timeout(END_PATIENCE, child.wait()).await.ok();
        if ended.is_none() {
            let _ = terminate(&mut child, &group).await;
        }
    }
}

fn garbage(what: &str) -> Broken {
    Broken::Garbage(format!("the program {what}"))
}

/// An empty line is an answer, too: there is nothing to say.
fn nothing_as_null(line: &[u8]) -> &[u8] {
    if line.trim_ascii().is_empty() { b"null" } else { line }
}

/// Reads up to a line feed, which is taken and not returned.
async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), max_bytes: usize) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    loop {
        let bytes = match stream.fill_buf().await {
            Ok([]) | Err(_) => return Err(Broken::Ended),
            Ok(bytes) => bytes,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(bytes.len());
        if line.len() + taken > max_bytes {
            return Err(garbage(&format!("wrote a line of more than {max_bytes} bytes")));
        }
        line.extend_from_slice(&bytes[..taken]);
        stream.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_no_further_than_allowed() {
        let mut stream = BufReader::with_capacity(2, &b"ab\n\nlonger\nx"[..]);
        let mut next = async || read_line(&mut stream, 5).await;
        assert_eq!(next().await, Ok(b"ab".to_vec()));
        assert_eq!(next().await, Ok(Vec::new()));
        assert_eq!(next().await, Err(garbage("wrote a line of more than 5 bytes")));
        let mut end = &b"x"[..];
        assert_eq!(read_line(&mut end, 5).await, Err(Broken::Ended));
    }
}
