//! Whole-system tests: the real binaries, run as a user runs them, judged by what they leave behind.
//!
//! A module per story, and [`harness`] for what they share. Start reading at a story; each says what must hold. What the
//! tests judge by is their own: the `csv` crate over the whole file, SQL of their own, lines that handlers log. Nothing
//! here sleeps: conditions are awaited with deadlines. Timings are printed, never asserted.
//!
//! Environment:
//! - `WARIFU_BIN_DIR`: where the binaries are; absent: they are built once, beside the test's own.
//! - `WARIFU_SOAK=1`: the long variants (`just soak`): an hour of faults, more seeds and sizes, 1 GB and 10 GB of CSV.
//! - `WARIFU_FAULT_SEED=N`: other faults. `WARIFU_MEASURE=N`: recovery times, each so many times (`just measure`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

mod adaptive;
mod bad_input;
mod batches;
mod cluster;
mod compensation;
mod concurrency;
mod conformance;
mod dev_server;
mod documents;
mod error_classes;
mod exactness;
mod exec_process;
mod failover;
mod faults;
mod foreign_s3;
mod generated_profiles;
mod grpc_tools;
mod helm_chart;
mod http_handler;
mod images;
mod inputs;
mod inputs_handler;
mod inputs_kinds;
mod inputs_restarts;
mod inputs_scale;
mod inputs_sources;
mod inputs_table;
mod kill_process;
mod lambda;
mod many_workers;
mod memory;
mod pace;
mod quickstart;
mod recovery_times;
mod redrive;
mod result_forms;
mod rolling_upgrade;
mod rust_sdk;
mod scaler;
mod security;
mod seeds;
mod sql_servers;
mod telemetry;
mod templates;
mod tidy;
mod tolerance;
