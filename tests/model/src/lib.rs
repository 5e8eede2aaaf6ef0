//! A model of the lease protocol, and a search through every behaviour that it has within stated bounds.

pub mod checker;
mod fingerprint;
