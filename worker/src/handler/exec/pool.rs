//! Processes of one handler that are kept running: one for each call at a time, used again and again.
//!
//! **Invariant:** a process is idle here, or in the hands of one call, which gives it back only when it is fit for another.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warifu_common::model::{CallFailure, error_name};

use super::backoff::Backoff;
use super::kept::{Broken, KeptProcess};
use super::process::Program;
use super::start_failure;
use crate::classify::invalid_output;

/// The processes of one handler. Dropping it kills those that are idle; [`close`](Self::close) lets them end.
pub(super) struct Pool {
    program: Program,
    max_calls: u64,
    state: Mutex<State>,
    /// Processes that are about to end, which nobody waits for but `close`.
    ending: TaskTracker,
}

#[derive(Default)]
struct State {
    idle: Vec<KeptProcess>,
    backoff: Backoff,
    closed: bool,
}

impl Pool {
    /// None yet. A process is replaced after `max_calls` calls.
    pub(super) fn new(program: Program, max_calls: u64) -> Self {
        Self { program, max_calls, state: Mutex::default(), ending: TaskTracker::new() }
    }

    /// A process for one call: the one that was used last, or a new one.
    pub(super) async fn take(&self, cancel: &CancellationToken) -> Result<KeptProcess, CallFailure> {
        if let Some(process) = self.take_idle() {
            process.begin_call();
            return Ok(process);
        }
        self.wait_for_start(cancel).await?;
        KeptProcess::start(&self.program).map_err(|error| {
            let now = Instant::now();
            self.state().backoff.started_in_vain(now, now);
            start_failure(format!("cannot start {}: {error}", self.program.name()))
        })
    }

    fn take_idle(&self) -> Option<KeptProcess> {
        loop {
            let mut process = self.state().idle.pop()?;
            if process.is_fit() {
                return Some(process);
            }
            let program = self.program.name();
            warn!(program, pid = process.id(), "a kept process ended or wrote unasked, it is replaced");
        }
    }

    async fn wait_for_start(&self, cancel: &CancellationToken) -> Result<(), CallFailure> {
        // Others may have failed meanwhile.
        while let Some(start_at) = self.next_start_at().filter(|start_at| *start_at > Instant::now()) {
            debug!(
                program = self.program.name(),
                "a program that ended without an answer is not started yet"
            );
            // Both arms are cancel-safe.
            tokio::select! {
                () = sleep_until(start_at) => {}
                () = cancel.cancelled() => return Err(cancelled()),
            }
        }
        Ok(())
    }

    /// One exchange with a process that is in the hands of a call. It is gone if this fails.
    pub(super) async fn exchange(
        &self,
        mut process: KeptProcess,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<(KeptProcess, Vec<u8>), CallFailure> {
        // An exchange that is dropped is followed by the end of its process.
        let exchanged = tokio::select! {
            exchanged = process.exchange(event) => Some(exchanged),
            () = cancel.cancelled() => None,
        };
        match exchanged {
            Some(Ok(answer)) => {
                self.state().backoff.answered();
                Ok((process, answer))
            }
            Some(Err(broken)) => Err(self.bury(process, broken).await),
            None => {
                process.terminate().await;
                Err(cancelled())
            }
        }
    }

    /// Ends a process that gave no answer; returns why.
    async fn bury(&self, process: KeptProcess, broken: Broken) -> CallFailure {
        let (started_at, answered) = (process.started_at, process.answered);
        let failure = match broken {
            Broken::Ended => process.into_failure().await,
            Broken::Garbage(cause) => {
                process.terminate().await;
                invalid_output(cause)
            }
        };
        if answered == 0 {
            self.state().backoff.started_in_vain(started_at, Instant::now());
        }
        failure
    }

    /// Takes back the process of a call that went well.
    pub(super) fn give_back(&self, process: KeptProcess) {
        let mut state = self.state();
        if state.closed || process.answered >= self.max_calls {
            drop(state);
            self.ending.spawn(process.close());
        } else {
            state.idle.push(process);
        }
    }

    /// Lets all idle processes end, and waits for them.
    pub(super) async fn close(&self) {
        let idle = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for process in idle {
            self.ending.spawn(process.close());
        }
        self.ending.close();
        self.ending.wait().await;
    }

    fn next_start_at(&self) -> Option<Instant> {
        self.state().backoff.next_start_at()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody reads it: the call was over before.
fn cancelled() -> CallFailure {
    CallFailure::system(error_name::ABORTED, "the call was cancelled")
}
