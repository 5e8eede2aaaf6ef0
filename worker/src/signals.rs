//! When a process is told to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What a shell shows for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Ends with the first SIGTERM or SIGINT (Ctrl-C) that this process gets, for [`run_until`](crate::WorkerBuilder::run_until).
/// A second one ends the process at once, with status 130. Fails where signals cannot be received.
///
/// To be called within a Tokio runtime. Programs that handle signals themselves pass a future of their own in its place.
pub fn termination() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, told) = oneshot::channel();
    tokio::spawn(async move {
        let mut next = async || {
            // Both arms are cancel-safe.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        // Nobody listens if the worker has ended.
        let _ = first.send(());
        next().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(async move {
        let _ = told.await;
    })
}
