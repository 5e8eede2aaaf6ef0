//! Ctrl-C, and what else asks a process to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, as often as it is pressed. From its creation on, Ctrl-C no longer ends the process by itself.
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// Starts to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self)
    }

    /// Waits for the next Ctrl-C. Cancel-safe: one that comes between two calls is not lost.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the process is asked to end: by Ctrl-C, or by SIGTERM from a supervisor.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::select! {
        () = interrupts.next() => {}
        _ = terminations.recv() => {}
    }
    Ok(())
}
