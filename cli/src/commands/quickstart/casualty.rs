//! The worker that is killed on the way: a process of its own, so that the kill is a real one.
//!
//! It is killed as soon as it has written a batch and is at another, when it owes the most: batches that are written and not
//! yet reported, and batches that are written by half. Then it is started again, as whatever supervises workers does; by
//! the lock on its directory the new process proves that the old one is dead, so its batches are leased again at once
//! instead of after the 20 s of a session.

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::problem::Problem;
use crate::progress::Notes;
use crate::text;
use crate::worker_process::{Tally, WorkerProcess};

/// A worker process and what became of it.
pub(super) struct Casualty {
    worker: String,
    arguments: Vec<OsString>,
    process: Option<WorkerProcess>,
    killed: Option<Killed>,
}

/// A kill that has happened.
pub(super) struct Killed {
    worker: String,
    process_id: u32,
    batches: Tally,
}

impl Casualty {
    /// Starts the worker.
    pub(super) fn start(worker: String, arguments: Vec<OsString>) -> anyhow::Result<Self> {
        let process = Some(WorkerProcess::start(&arguments)?);
        Ok(Self { worker, arguments, process, killed: None })
    }

    /// Kills the worker in the middle of its work, and starts it again. Never returns if it gets too little work for that.
    pub(super) async fn kill_on_the_way(&mut self, notes: &Notes) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if !process.wait_until(|batches| batches.ended > 0 && batches.running() > 0).await {
            return Err(Problem::new(format!("{} ended before it was killed", self.worker)).into());
        }
        let Some(process) = self.process.take() else { return Ok(()) };
        let process_id = process.id();
        let batches = process.kill().await?;
        let killed = Killed { worker: self.worker.clone(), process_id, batches };
        notes.write(&killed.to_string());
        self.killed = Some(killed);
        let process = self.process.insert(WorkerProcess::start(&self.arguments)?);
        notes.write(&format!(
            "started {} again as process {}: what it had held is leased again",
            self.worker,
            process.id()
        ));
        Ok(())
    }

    /// Ends the worker in peace.
    pub(super) async fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        if let Err(error) = process.stop().await {
            tracing::warn!(error = format!("{error:#}"), "a worker did not stop cleanly");
        }
    }

    /// The kill. Without one the command has not shown what it was asked to.
    pub(super) fn into_killed(self) -> Result<Killed, Problem> {
        self.killed.ok_or_else(|| {
            Problem::new(format!("the run was over before {} could be killed", self.worker))
                .advise("give it more to do: --rows 20000 or more")
        })
    }
}

impl Killed {
    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "worker": self.worker,
            "processId": self.process_id,
            "signal": "SIGKILL",
            "runningBatchCount": self.batches.running(),
            "endedBatchCount": self.batches.ended,
        })
    }
}

impl std::fmt::Display for Killed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "killed {} (process {}) with SIGKILL: {} in its hands, {} written before",
            self.worker,
            self.process_id,
            text::counted(self.batches.running(), "batch"),
            text::counted(self.batches.ended, "batch"),
        )
    }
}
