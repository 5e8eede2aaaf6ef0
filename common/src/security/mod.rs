//! What protects connections: certificates that are read again when their files change, and bearer tokens.
//!
//! Nothing here knows of roles: who may call what is the coordinator's matter. **Invariant:** a file that changed into
//! something unusable changes nothing, and the log says so; no secret is ever part of a message.

mod certificates;
mod client;
mod token;
mod watched;

use std::path::PathBuf;

pub use certificates::{ServerCertificates, is_client_verified};
pub use client::SecureDial;
pub use token::{BearerToken, TokenProblem};
pub use watched::Watched;

/// A file that cannot be used, and why. Never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .file.display())]
pub struct FileProblem {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl FileProblem {
    fn new(file: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self { file: file.into(), reason: reason.to_string() }
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
