//! What a coordinator is told at its start.

use std::sync::Arc;
use std::time::Duration;

use warifu_common::config::CoordinatorConfig;
use warifu_common::security::{BearerToken, FileProblem, SecureDial};
use warifu_common::transport::{Dial, Tcp};
use warifu_model::spec::DEFAULT_SHARD_BYTES;

use crate::clock::{Clock, SystemClock};
use crate::security::SecuritySettings;

/// What a coordinator is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the core: sessions, limits, where failures of runs without a result writer go.
    pub scheduler: warifu_scheduler::Config,
    /// Bytes of a shard of new runs.
    pub shard_bytes: u64,
    /// How others reach this process; absent: by the address that it listens on.
    pub advertise: Option<String>,
    /// How long ended runs are kept; absent: until they are deleted.
    pub retention: Option<Duration>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// How other coordinators are reached.
    pub dial: Arc<dyn Dial>,
    /// Certificates, tokens, and the limits of callers.
    pub security: SecuritySettings,
}

impl Settings {
    /// What a configuration says, with the certificates that calls to the leader are made with.
    pub fn secured(config: &CoordinatorConfig) -> Result<Self, FileProblem> {
        let settings = Self::from(config);
        let Some(tls) = &config.tls else { return Ok(settings) };
        // The token is the caller's: calls are passed on as they are.
        let dial = SecureDial::new(&[], &tls.as_client(), BearerToken::None)?;
        Ok(Self { dial: Arc::new(dial), ..settings })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scheduler: warifu_scheduler::Config::default(),
            shard_bytes: DEFAULT_SHARD_BYTES,
            advertise: None,
            retention: None,
            clock: Arc::new(SystemClock),
            dial: Arc::new(Tcp),
            security: SecuritySettings::default(),
        }
    }
}

impl From<&CoordinatorConfig> for Settings {
    fn from(config: &CoordinatorConfig) -> Self {
        let system_bucket = config.s3.system_bucket.clone().unwrap_or_default();
        Self {
            scheduler: warifu_scheduler::Config {
                session_ttl: config.leases.ttl,
                // Workers outlive this process: the next one adopts what they hold, and may only begin to decide
                // when this one has certainly stopped.
                step_down_after: Some(config.leases.leader_ttl * 2 / 3),
                max_active_map_runs: usize::try_from(config.limits.max_active_map_runs).unwrap_or(usize::MAX),
                system_location: (system_bucket, config.s3.system_prefix.clone()),
                max_record_bytes: config.limits.max_record_bytes,
                max_header_bytes: config.limits.max_header_bytes,
                max_columns: config.limits.max_columns,
                max_staged_bytes: config.limits.max_staged_bytes,
                allowed: config.s3.allowed.clone(),
                ..warifu_scheduler::Config::default()
            },
            advertise: Some(config.server.advertise.clone()),
            retention: Some(config.retention.map_runs),
            security: SecuritySettings {
                tls: config.tls.clone(),
                auth: config.auth.clone(),
                limits: config.limits.calls,
            },
            ..Self::default()
        }
    }
}
