//! The public API as generated code, and its translation from and to the plain types of `warifu_model`.

/// Messages and services of `warifu.v1`, generated from `proto/`. Their comments are those of the proto files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::large_futures)]
pub mod v1 {
    tonic::include_proto!("warifu.v1");
}

/// The compiled proto files with their comments: for server reflection, and for the codec.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("warifu_descriptor");
