//! The coordinator: an asynchronous shell around the scheduler core.
//!
//! Owns the process's side of everything that the core only asks for: the state store, the clocks, the workers' streams, the
//! API, the manifest. It decides nothing about runs, leases and outcomes itself.
//!
//! ```text
//! api, sessions ─> driver ─> warifu_scheduler
//!                  driver ─> state_store, manifest
//! ```
//!
//! [`Coordinator::start`] runs one in this process, for the command line and for tests; `main.rs` is the binary around it.
//! Start reading at `driver`.

use std::fmt::Write as _;

mod api;
mod clock;
mod driver;
mod http;
mod manifest;
mod metrics;
mod server;
mod sessions;
pub mod state_store;

pub use server::{Coordinator, CoordinatorHandle, Settings, StartError};

/// An error and what caused it, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing into a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
