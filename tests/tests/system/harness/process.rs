//! Processes that cannot outlive the test, and commands with a deadline.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::binaries::{binary, example};

/// What a command may take unless its test says otherwise: far beyond what it needs, so that only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(120);

/// A process of the test. Killed when the value goes, also by a panic.
pub(crate) struct Process {
    child: Child,
    what: String,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    streams_ended: Receiver<()>,
    started_at: Instant,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The command line.
    pub(crate) what: String,
    /// Its exit status; a signal is 128 + its number, as the shell has it.
    pub(crate) status: i32,
    /// What it said.
    pub(crate) stdout: String,
    /// What it said aside.
    pub(crate) stderr: String,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Process {
    /// Starts a process; both of its outputs are kept.
    pub(crate) fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let (ended, streams_ended) = channel();
        let gather = |mut stream: Box<dyn Read + Send>| {
            let (kept, ended) = (Arc::new(Mutex::new(Vec::new())), ended.clone());
            let gathered = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    gathered.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
                // The test may have given up waiting.
                _ = ended.send(());
            });
            kept
        };
        let stdout = gather(Box::new(child.stdout.take().unwrap()));
        let stderr = gather(Box::new(child.stderr.take().unwrap()));
        Self { child, what, stdout, stderr, streams_ended, started_at: Instant::now() }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the standard input is taken once")
    }

    /// What it has said aside so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        // An error means that it has just ended.
        _ = kill(id, signal);
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; panics after `deadline`, with all that it said.
    pub(crate) fn finish_within(mut self, deadline: Duration) -> Finished {
        drop(self.child.stdin.take());
        let give_up_at = Instant::now() + deadline;
        for _stream in 0..2 {
            let left = give_up_at.saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Timeout) = self.streams_ended.recv_timeout(left) {
                panic!("{} did not end within {deadline:?}; it said:\n{}", self.what, self.stderr());
            }
        }
        let status = status_number(self.child.wait().unwrap());
        let said = |bytes: &Mutex<Vec<u8>>| String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
        Finished {
            what: self.what.clone(),
            status,
            stdout: said(&self.stdout),
            stderr: said(&self.stderr),
            took: self.started_at.elapsed(),
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Finished {
        self.finish_within(DEADLINE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn status_number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Finished {
    /// Makes sure that it ended with `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\nstdout:\n{}\nstderr:\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// Makes sure that what it said aside holds all of `parts`.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` from {}:\n{}", self.what, self.stderr);
        }
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{} printed no JSON ({error}):\n{}", self.what, self.stdout))
    }
}

/// A command of one of our binaries, without what the surroundings configure.
pub(crate) fn command(name: &str) -> Command {
    plain_command(&binary(name))
}

/// A command of one of the examples of the worker's library, likewise.
pub(crate) fn example_command(name: &str) -> Command {
    plain_command(&example(name))
}

fn plain_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars() {
        if variable.starts_with("WARIFU_") || variable.starts_with("AWS_") || variable == "RUST_LOG" {
            command.env_remove(variable);
        }
    }
    // No look for credentials beyond this machine.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// A `warifu` command line. It is run where no worker.toml lies.
pub(crate) fn warifu<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    warifu_in(&std::env::temp_dir(), arguments)
}

/// A `warifu` command line, run in `directory`.
pub(crate) fn warifu_in<'a>(directory: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = command("warifu");
    command.current_dir(directory).args(arguments);
    command
}

/// Runs `warifu` to its end.
pub(crate) fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Finished {
    Process::start(warifu(arguments)).finish()
}

/// Runs `warifu … -o json`, expects `status`, and returns what it printed.
#[track_caller]
pub(crate) fn run_json<'a>(arguments: impl IntoIterator<Item = &'a str>, status: i32) -> Value {
    run(arguments.into_iter().chain(["-o", "json"])).expect(status).json()
}
