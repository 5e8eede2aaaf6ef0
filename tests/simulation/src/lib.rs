//! Drives the real scheduler core and the real session state through seeded faults: streams cut and delayed,
//! workers and leaders killed, paused and replaced, clocks that run apart, transactions refused, lost and
//! applied late. After every step it holds what the parts believe against what is true.
//!
//! Everything follows from a seed. A failing one is replayed with
//! `cargo run -p warifu-simulation -- --seed N`.

mod adaptive;
mod calls;
mod compensation;
mod data;
mod faults;
mod leader;
mod listing;
mod measure;
mod oracle;
mod pace;
mod plan;
mod random;
mod store;
mod users;
mod worker;
mod world;

pub use measure::{LiveBytes, measure_store, planned_records};
pub use plan::Plan;
pub use world::{Outcome, Statistics, run};
