//! Configuration: `coordinator.toml` and `worker.toml`, checked as a whole before anything starts.
//!
//! A flag counts before the environment (`WARIFU_SECTION__KEY`), the environment before the file, the file before the
//! default. Every problem is reported at once with its key; unknown keys refuse to start, with a suggestion. What this
//! version does not have yet is recognised and refused, never ignored.
//!
//! Start reading at [`CoordinatorConfig`] and [`WorkerConfig`]; `section.rs` is how their keys are read.

mod coordinator;
mod expand;
pub mod handlers;
mod parts;
mod s3_options;
mod section;
mod security;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::path::Path;

pub use coordinator::{
    CallLimits, CoordinatorConfig, LeaseConfig, LimitConfig, RetentionConfig, ServerConfig,
};
pub use handlers::{ConfiguredHandler, HandlerConfig};
pub use parts::{S3Config, Secret, TelemetryConfig, parse_duration, redacted_url};
pub use s3_options::{S3Encryption, S3Options, S3RequestPayer};
pub use security::{AuthConfig, ClientTlsConfig, JwtConfig, JwtKeys, ServerTlsConfig};
pub use source::{Setting, Source};
pub use store::{CompactionConfig, EtcdConfig, StoreConfig};
pub use worker::{CoordinatorAddresses, TOKEN_VARIABLE, WorkerConfig, WorkerSection};

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, `server.listen`, or the variable or flag that set it; empty for the whole file.
    pub key: String,
    /// What is wrong and what to do.
    pub description: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.description)
        } else {
            write!(f, "{}: {}", self.key, self.description)
        }
    }
}

/// A configuration that nothing may start with. All problems at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file that was read, if any.
    pub file: Option<std::path::PathBuf>,
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "the configuration in {} is not valid", file.display())?,
            None => f.write_str("the configuration is not valid")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl CoordinatorConfig {
    /// Reads `file` (none: defaults), the environment of this process, and `flags`.
    pub fn load(file: Option<&Path>, flags: Vec<Setting>) -> Result<Self, ConfigError> {
        Self::from_source(Source::of_process(file, flags)?)
    }
}

impl WorkerConfig {
    /// Reads `file` (none: defaults), the environment of this process, and `flags`.
    pub fn load(file: Option<&Path>, flags: Vec<Setting>) -> Result<Self, ConfigError> {
        Self::from_source(Source::of_process(file, flags)?)
    }
}
