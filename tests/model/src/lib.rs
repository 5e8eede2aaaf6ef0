//! A model of the lease protocol, and a search through every behaviour that it has within stated bounds.
//!
//! The protocol is data: a [`State`] holds the store, the coordinators, the worker processes and the messages under
//! way; an [`Action`] is one thing that can happen; what it leads to is a function of the two. Time is an order: what
//! the real code ensures by durations ("a worker's lapse comes before the leader's expiry") is a condition on when an
//! action may happen. The model shares no code with the scheduler and the session: it says a second time what they do.
//!
//! **Invariant:** nothing here reads a clock, draws a random number or knows of I/O.
//!
//! Start at `action.rs`, then `leader.rs`, `commit.rs`, `placement.rs` and `worker.rs`; `world.rs` holds the properties,
//! `configurations.rs` the bounds, `mutation.rs` the seeded bugs. `docs/model.md` says what was found.

mod action;
mod bounded;
pub mod checker;
mod commit;
mod configurations;
mod fingerprint;
mod healing;
mod leader;
mod limits;
mod message;
mod mutation;
mod placement;
mod protocol;
mod state;
mod table;
mod worker;
mod world;

pub use action::Action;
pub use configurations::{EXPECTED, LARGE, SMALL};
pub use limits::Limits;
pub use mutation::{ALSO_SIMULATED, Mutation, ONLY_SIMULATED, SEEDED_BUGS, SeededBug};
pub use protocol::Protocol;
pub use state::{Outcome, State};
pub use table::{bug_table, configuration_table};
pub use world::Event;
