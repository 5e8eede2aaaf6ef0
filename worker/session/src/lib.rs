//! A worker's session with its coordinator, as a pure state machine: leases held, slots, what runs, what waits
//! for its report or for the answer to one, and when the session is over.
//!
//! [`SessionState::step`] takes one [`SessionEvent`] and the time, and asks for [`SessionEffect`]s. It does
//! no I/O, reads no clock, and never sees an item.

mod event;

pub use event::{ConnectionId, FinishedBatch, SessionEffect, SessionEffects, SessionEvent, StoredParts};
