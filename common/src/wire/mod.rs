//! The public API as generated code, and its translation from and to the plain types of `warifu_model`.
//!
//! The one place that names both. `spec` checks what users ask for and fills in defaults; `views` shows runs, workers and
//! the cluster; `lease_stream` carries the lease protocol; `codec` reads and writes job files. Translation is pure: no
//! I/O, no clock. Whatever comes from outside is bounded and refused with what is wrong; nothing here panics on it.

mod adapted;
pub mod batch_views;
pub mod codec;
pub mod lease_stream;
pub mod spec;
pub mod time;
pub mod views;
pub(crate) mod violation;

pub use violation::{FieldViolation, InvalidRequest};

/// Messages and services of `warifu.v1`, generated from `proto/`. Their comments are those of the proto files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::large_futures)]
pub mod v1 {
    tonic::include_proto!("warifu.v1");
}

/// KEDA's contract for external scalers, generated from its vendored proto file.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod externalscaler {
    tonic::include_proto!("externalscaler");
}

/// The compiled proto files with their comments: for server reflection, and for the codec.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("warifu_descriptor");
