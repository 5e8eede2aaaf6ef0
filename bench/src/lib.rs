//! What the bench's program and its micro benchmarks share.

#![allow(clippy::disallowed_methods, reason = "what it measures is time on this machine")]

pub mod scanned;
pub mod simulated;
