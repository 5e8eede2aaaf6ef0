//! The worker: scans shards, runs handlers on batches in its slots, writes result parts, reports outcomes.
//!
//! What is decided is decided elsewhere: `warifu_session` holds the state of the session as a pure machine, and
//! `warifu_common::dataset` knows where records and batches begin. This crate is the shell around them. One task
//! (`session.rs`) owns the machine, feeds it events and carries out its effects; whatever takes time (the stream, reading,
//! scanning, handlers, uploads) runs in tasks that send it events over one bounded channel.
//!
//! - **Invariant:** the session's task waits for nothing but its next event or deadline, so nobody can block it.
//! - **Invariant:** a batch's lines are stored before it is reported, and only lines of batches still held are stored.
//! - **Invariant:** memory is bounded: pieces and shelves per lease, lines by the session's bounds, the cache by its own.
//!
//! Handlers in Rust are functions of a program of your own: [`sdk`] says how, [`Worker::builder`] is where it starts. What a
//! function cannot say, a [`handler::Handler`] can.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should say where"))]

mod attempt;
mod builder;
mod cache;
mod classify;
mod clock;
mod compensation;
pub mod config;
mod connection;
mod entries;
mod events;
mod fault;
pub mod handler;
mod leases;
mod lines;
mod log;
mod made_batch;
mod metrics;
mod reader;
mod result_writer;
mod run;
mod scanner;
pub mod sdk;
mod session;
#[cfg(test)]
mod session_tests;
mod shelf;
mod signals;
mod source;
mod staging;
mod state_dir;
#[cfg(test)]
mod testing;
mod text;
mod timed_call;
mod trace;
mod worker;

pub use builder::WorkerBuilder;
pub use clock::{BootClock, Clock};
pub use log::log_to_stderr;
pub use metrics::WorkerMetrics;
pub use sdk::{Batch, BatchOutcome, Context, HandlerError, Item, ItemError};
pub use signals::termination;
pub use state_dir::StateDir;
pub use worker::{Worker, WorkerError};
