//! The process group of a program.

use std::pin::Pin;
use std::time::Duration;

use futures::future::FusedFuture;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

/// How long what a program left running may hold its output open.
pub(in crate::handler) const LEFTOVER_PATIENCE: Duration = Duration::from_secs(1);

/// A program's process group. What is left of it dies with this value.
pub(in crate::handler) struct Group(Option<Pid>);

impl Group {
    /// The group of a program that was started with `process_group(0)`.
    pub(in crate::handler) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// Sends a signal to all of it.
    pub(in crate::handler) fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error means that nobody is left.
            let _ = killpg(group, signal);
        }
    }

    /// The program has ended: takes in what its streams still hold, and ends what it left running.
    pub(in crate::handler) async fn end_leftovers(self, mut pump: Pin<&mut impl FusedFuture<Output = ()>>) {
        if pump.is_terminated() {
            return;
        }
        if timeout(LEFTOVER_PATIENCE, &mut pump).await.is_err() {
            self.signal(Signal::SIGKILL);
            // A process that left the group may still hold the streams; it is not waited for.
            let _ = timeout(LEFTOVER_PATIENCE, pump).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
