//! A model of the lease protocol, and a search through every behaviour that it has within stated bounds.

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
mod worker;
mod world;

pub use configurations::{LARGE, SMALL};
pub use limits::Limits;
pub use mutation::{Mutation, SEEDED_BUGS, SeededBug};
pub use protocol::Protocol;
pub use state::State;
pub use action::Action;
pub use world::Event;
