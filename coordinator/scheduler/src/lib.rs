//! The scheduler core: which worker runs which batches when, and what became of them.
//!
//! A deterministic state machine: [`Scheduler::step`] takes one [`Event`] and the time, changes its state
//! and asks for [`Effect`]s. It owns the state machines of map run, shard, lease and worker. It does no
//! I/O, reads no clock, draws no randomness of its own (a seed is given), and never learns an item's contents.
//!
//! What it counts is durable before anybody hears of it: a report is staged, written with the run's
//! status in one transaction, and only when that is done applied, answered and shown.

mod adaptive;
mod alert;
mod batch_size;
mod batches;
mod broken_rule;
mod candidates;
mod commit;
mod committed;
mod compensation;
mod config;
mod counting;
mod demand;
mod effect;
mod event;
mod invariants;
mod lease;
mod lifecycle;
mod manifest;
mod map_run;
mod open_shards;
mod pace;
mod placement;
mod random;
mod rebalance;
pub mod record;
mod redrive;
mod report;
mod run_commit;
mod scan_ahead;
mod scanning;
mod scheduler;
mod session;
mod shard;
mod staging;
#[cfg(test)]
mod testing;
mod timers;
mod views;
mod window;
mod worker;

pub use adaptive::{ControllerRecord, LeastTime, Slots};
pub use alert::{AlertLevel, ErrorRateAlert};
pub use batches::{BatchPage, BatchQuery, Batches};
pub use broken_rule::BrokenRule;
pub use compensation::compensation_warning;

pub use config::Config;
pub use demand::SlotDemand;
pub use effect::{
    AbortedItems, Commit, Effect, Effects, ManifestOrder, PendingItems, Rejection, Reply, Summary,
};
pub use event::{CommitOutcome, CreateMapRun, Event};
pub use invariants::Violation;
pub use lifecycle::handler_warning;
pub use scheduler::Scheduler;
pub use staging::staging_place;
pub use views::DataSource;

/// A transaction of this term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// A caller that waits for a reply; chosen by the shell, unique while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A worker's stream; chosen by the shell, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);
