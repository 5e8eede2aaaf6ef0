//! A worker's session with its coordinator, as a pure state machine: leases held, slots, what runs, what waits
//! for its report or for the answer to one, and when the session is over.
//!
//! [`SessionState::step`] takes one [`SessionEvent`] and the time, and asks for [`SessionEffect`]s. It does
//! no I/O, reads no clock, and never sees an item.
//!
//! **Invariant:** of each run no more handler calls are in progress than slots are held.
//! **Invariant:** past its own deadline a session runs nothing and reports nothing.
//! **Invariant:** a report is the same at every sending.

mod connection;
mod drain;
mod event;
mod lease;
mod reporting;
mod slots;
mod state;
#[cfg(test)]
mod testing;

pub use event::{ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, StoredParts};
pub use state::{BrokenSessionRule, SessionSettings, SessionState, WorkerIdentity};
