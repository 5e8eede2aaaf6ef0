//! What coordinator, worker and command line share: the API as generated code and its translation into plain types,
//! object storage, configuration, errors and telemetry.
//!
//! Start reading at [`model`] for the domain, at [`wire`] for the API.

pub use warifu_dataset as dataset;
pub use warifu_model as model;

pub mod config;
pub mod error_chain;
pub mod object_store;
pub mod result_file;
pub mod security;
pub mod status;
pub mod suggest;
pub mod telemetry;
pub mod timing;
pub mod transport;
pub mod wire;
