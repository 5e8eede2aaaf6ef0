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

mod api;
mod clock;
mod driver;
mod forward;
mod http;
mod intercept;
mod json;
mod manifest;
mod metrics;
pub mod probe;
mod reading;
mod retention;
mod security;
mod server;
mod sessions;
mod settings;
pub mod state_store;

pub use clock::{Clock, SystemClock};
pub use security::SecuritySettings;
pub use server::{Connection, Coordinator, CoordinatorHandle, EndError, StartError};
pub use settings::Settings;
