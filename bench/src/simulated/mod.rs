//! The scheduler and worker sessions of the product in a world whose time is simulated.

mod source;
mod world;

pub use source::SHARD_ITEMS;
pub use world::{Outcome, World};
