//! `worker.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use warifu_model::{HandlerName, WorkerId};

use super::ConfigError;
use super::handlers::{self, ConfiguredHandler};
use super::parts::{S3Config, Secret, TelemetryConfig, serialize_duration};
use super::section::Reader;
use super::security::ClientTlsConfig;
use super::source::Source;
use crate::transport;

/// Sections of this file.
const SECTIONS: [&str; 6] = ["coordinator", "tls", "worker", "handlers", "s3", "telemetry"];
/// Sections of coordinator.toml: their variables may be in the environment too.
const COORDINATOR_SECTIONS: [&str; 6] = ["server", "auth", "store", "leases", "limits", "retention"];

/// The variable with a client's bearer token. It is no flag: arguments are visible to every user of a machine.
pub const TOKEN_VARIABLE: &str = "WARIFU_TOKEN";

/// A worker's configuration, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerConfig {
    /// Where coordinators are.
    pub coordinator: CoordinatorAddresses,
    /// Certificates for addresses that are `https://`.
    pub tls: ClientTlsConfig,
    /// The worker itself.
    pub worker: WorkerSection,
    /// Object storage.
    pub s3: S3Config,
    /// Logs.
    pub telemetry: TelemetryConfig,
    /// Its handlers by name, the built-in ones among them.
    #[serde(serialize_with = "serialize_handlers")]
    pub handlers: BTreeMap<HandlerName, ConfiguredHandler>,
}

/// `[coordinator]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoordinatorAddresses {
    /// Any of them; each tells where the leader is. At least one.
    pub endpoints: Vec<String>,
    /// A file with this worker's token, read again when it changes. Absent: the variable `WARIFU_TOKEN`, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The token of the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerSection {
    /// Stable over restarts. Absent: the machine's name.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_id")]
    pub id: Option<WorkerId>,
    /// Where the lock lies that proves that an older process of this ID is gone. Absent: no proof, its leases run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Where `/metrics` and `/healthz` are served. Absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_listen: Option<SocketAddr>,
    /// Batches in progress at once.
    pub slots: u32,
    /// What still runs after a drain of this length is cancelled and returned.
    #[serde(serialize_with = "serialize_duration")]
    pub drain_timeout: Duration,
    /// Bytes of scanned shards that are kept.
    pub cache_bytes: u64,
}

fn serialize_id<S: serde::Serializer>(id: &Option<WorkerId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_ref().map_or("", WorkerId::as_str))
}

fn serialize_handlers<S: serde::Serializer>(
    handlers: &BTreeMap<HandlerName, ConfiguredHandler>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(handlers.iter().map(|(name, handler)| (name.as_str(), handler)))
}

impl WorkerConfig {
    /// Reads and checks everything; reports every problem at once.
    pub fn from_source(source: Source) -> Result<Self, ConfigError> {
        let reader = Reader::new(source, true);
        let config = Self {
            coordinator: CoordinatorAddresses::read(&reader),
            tls: ClientTlsConfig::read(&reader),
            worker: WorkerSection::read(&reader),
            s3: S3Config::read(&reader),
            telemetry: TelemetryConfig::read(&reader),
            handlers: handlers::read_all(&reader),
        };
        handlers::check_slots(&reader, &config.handlers, config.worker.slots);
        reader.finish(config, &SECTIONS, &COORDINATOR_SECTIONS)
    }

    /// The effective configuration as TOML, without secrets.
    pub fn to_redacted_toml(&self) -> String {
        toml::to_string(self).expect("every part has a TOML form")
    }
}

impl CoordinatorAddresses {
    fn read(reader: &Reader) -> Self {
        let mut section = reader.section("coordinator");
        let endpoints =
            section.texts("endpoints").unwrap_or_else(|| vec!["http://127.0.0.1:7400".to_owned()]);
        if endpoints.is_empty() {
            section.problem("endpoints", "names no coordinator");
        }
        for address in &endpoints {
            if let Err(error) = transport::endpoint(address) {
                section.problem("endpoints", error.to_string());
            }
        }
        let token_file = section.path("token_file");
        let token = reader.variable(TOKEN_VARIABLE).filter(|_| token_file.is_none()).map(Secret::new);
        section.finish();
        Self { endpoints, token_file, token }
    }
}

impl WorkerSection {
    fn read(reader: &Reader) -> Self {
        /// Each slot may hold a process or a database connection.
        const MOST_SLOTS: u64 = 4096;
        let mut section = reader.section("worker");
        let slots = section.integer("slots", 1, MOST_SLOTS).unwrap_or(8);
        let config = Self {
            id: section
                .parsed("id", |id| WorkerId::new(id).map_err(|error| format!("must be {}", error.rule))),
            state_dir: section.path("state_dir"),
            http_listen: section.parsed("http_listen", |address| {
                address.parse().map_err(|_| "write ADDRESS:PORT, as in 127.0.0.1:7402".to_owned())
            }),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            drain_timeout: section.duration("drain_timeout").unwrap_or(Duration::from_secs(100)),
            cache_bytes: section.integer("cache_bytes", 0, 1 << 44).unwrap_or(268_435_456),
        };
        section.finish();
        config
    }
}
