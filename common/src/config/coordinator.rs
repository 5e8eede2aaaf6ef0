//! `coordinator.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::ConfigError;
use super::parts::{S3Config, TelemetryConfig, serialize_duration};
use super::section::{Reader, Section};
use super::security::{AuthConfig, ServerTlsConfig};
use super::source::Source;
use super::store::StoreConfig;
use crate::{timing, transport};

/// Sections of this file.
const SECTIONS: [&str; 9] =
    ["server", "tls", "auth", "store", "s3", "leases", "limits", "retention", "telemetry"];
/// Sections of worker.toml: their variables may be in the environment too.
const WORKER_SECTIONS: [&str; 3] = ["coordinator", "worker", "handlers"];

/// A coordinator's configuration, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoordinatorConfig {
    /// Where it listens.
    pub server: ServerConfig,
    /// Certificates; absent: connections are not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTlsConfig>,
    /// Who may call; absent: everybody may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthConfig>,
    /// Where its state is.
    pub store: StoreConfig,
    /// Object storage.
    pub s3: S3Config,
    /// Sessions and leadership.
    pub leases: LeaseConfig,
    /// Bounds on what jobs may ask for.
    pub limits: LimitConfig,
    /// What is kept.
    pub retention: RetentionConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerConfig {
    /// For gRPC.
    pub listen: SocketAddr,
    /// For metrics and health.
    pub http_listen: SocketAddr,
    /// How workers and other coordinators reach this process.
    pub advertise: String,
    /// Listening beyond this machine without TLS was asked for.
    pub insecure: bool,
}

/// `[leases]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseConfig {
    /// A worker's session.
    #[serde(rename = "ttl_seconds", serialize_with = "serialize_seconds")]
    pub ttl: Duration,
    /// The leader's key.
    #[serde(rename = "leader_ttl_seconds", serialize_with = "serialize_seconds")]
    pub leader_ttl: Duration,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitConfig {
    /// The longest record.
    pub max_record_bytes: u64,
    /// The longest header record.
    pub max_header_bytes: u64,
    /// The most columns of a header.
    pub max_columns: u32,
    /// The most bytes that a rewritten source may take.
    pub max_staged_bytes: u64,
    /// Runs that are active at once; more wait.
    pub max_active_map_runs: u32,
    /// What callers may do at once.
    #[serde(flatten)]
    pub calls: CallLimits,
}

/// The part of `[limits]` on connections and calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CallLimits {
    /// The largest message of a caller.
    pub max_message_bytes: usize,
    /// Calls at once on one connection; more wait at the caller.
    pub max_streams_per_connection: u32,
    /// gRPC connections at once.
    pub max_connections: u32,
    /// Calls per second of one principal; 0: no limit.
    pub requests_per_second: u32,
    /// Calls that a principal who was silent may make at once.
    pub request_burst: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: transport::MAX_MESSAGE_BYTES,
            max_streams_per_connection: transport::MAX_STREAMS_PER_CONNECTION,
            // The workers of the largest fleet, each twice while it comes again, and clients.
            max_connections: 12_000,
            requests_per_second: 1_000,
            request_burst: 2_000,
        }
    }
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionConfig {
    /// How long terminal runs are kept.
    #[serde(serialize_with = "serialize_duration")]
    pub map_runs: Duration,
}

fn serialize_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

impl CoordinatorConfig {
    /// Reads and checks everything; reports every problem at once.
    pub fn from_source(source: Source) -> Result<Self, ConfigError> {
        let reader = Reader::new(source, false);
        let tls = ServerTlsConfig::read(&reader);
        let server = ServerConfig::read(&reader, tls.is_some());
        let store = StoreConfig::read(&reader);
        let config = Self {
            server,
            tls,
            auth: AuthConfig::read(&reader),
            store: store.unwrap_or(StoreConfig::Sqlite { path: PathBuf::new() }),
            s3: S3Config::read(&reader),
            leases: LeaseConfig::read(&reader),
            limits: LimitConfig::read(&reader),
            retention: RetentionConfig::read(&reader),
            telemetry: TelemetryConfig::read(&reader),
        };
        reader.finish(config, &SECTIONS, &WORKER_SECTIONS)
    }

    /// The effective configuration as TOML, without secrets.
    pub fn to_redacted_toml(&self) -> String {
        toml::to_string(self).expect("every part has a TOML form")
    }
}

impl ServerConfig {
    fn read(reader: &Reader, has_tls: bool) -> Self {
        let mut section = reader.section("server");
        let address = |text: &str| {
            text.parse::<SocketAddr>().map_err(|_| "write ADDRESS:PORT, as in 127.0.0.1:7400".to_owned())
        };
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listen = section.parsed("listen", address).unwrap_or_else(|| loopback(7400));
        let http_listen = section.parsed("http_listen", address).unwrap_or_else(|| loopback(7401));
        let insecure = section.boolean("insecure").unwrap_or(false);
        for (key, address) in [("listen", listen), ("http_listen", http_listen)] {
            if !address.ip().is_loopback() && !insecure && !has_tls {
                section.problem(
                    key,
                    format!(
                        "{address} is reachable from other machines and there is no TLS: anyone who reaches it could \
                         run jobs; set [tls], or server.insecure = true if the network is trusted"
                    ),
                );
            }
        }
        let advertise = section.parsed("advertise", |address| {
            transport::endpoint(address).map(|_| address.to_owned()).map_err(|error| error.reason)
        });
        if advertise.is_none() && listen.ip().is_unspecified() {
            section.problem(
                "advertise",
                format!("is required when listening on {listen}: how others reach this process"),
            );
        }
        section.finish();
        Self {
            listen,
            http_listen,
            advertise: advertise
                .unwrap_or_else(|| format!("{}://{listen}", if has_tls { "https" } else { "http" })),
            insecure,
        }
    }
}

impl LeaseConfig {
    fn read(reader: &Reader) -> Self {
        /// Below it two lost heartbeats would end a session.
        const LEAST_TTL_SECONDS: u64 = 5;
        let mut section = reader.section("leases");
        let default = timing::SESSION_TTL.as_secs();
        let ttl = section.integer("ttl_seconds", LEAST_TTL_SECONDS, 3600).unwrap_or(default);
        let leader_ttl = section.integer("leader_ttl_seconds", 3, 600).unwrap_or(6);
        section.finish();
        Self { ttl: Duration::from_secs(ttl), leader_ttl: Duration::from_secs(leader_ttl) }
    }
}

impl LimitConfig {
    fn read(reader: &Reader) -> Self {
        let mut section = reader.section("limits");
        let narrow = |number: Option<u64>, default: u32| {
            number.map_or(default, |n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        let limits = Self {
            // A reader holds a record whole; the parser counts in 32 bits.
            max_record_bytes: section.integer("max_record_bytes", 1024, 1 << 30).unwrap_or(16_777_216),
            max_header_bytes: section.integer("max_header_bytes", 64, 1 << 24).unwrap_or(262_144),
            max_columns: narrow(section.integer("max_columns", 1, 1 << 20), 65_536),
            // Ten thousand parts hold 293 GiB.
            max_staged_bytes: section.integer("max_staged_bytes", 1 << 20, 256 << 30).unwrap_or(100 << 30),
            max_active_map_runs: narrow(section.integer("max_active_map_runs", 1, 10_000), 100),
            calls: CallLimits::read(&mut section),
        };
        section.finish();
        limits
    }
}

impl CallLimits {
    fn read(section: &mut Section<'_>) -> Self {
        let defaults = Self::default();
        let narrow = |number: Option<u64>, default: u32| {
            number.map_or(default, |n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        // A worker's report and a specification must fit.
        let most = transport::MAX_MESSAGE_BYTES as u64;
        let message = section.integer("max_message_bytes", 1024 * 1024, most);
        let burst = section.integer("request_burst", 1, 1 << 30);
        let rate = narrow(section.integer("requests_per_second", 0, 1 << 30), defaults.requests_per_second);
        Self {
            max_message_bytes: narrow(message, u32::MAX).min(narrow(Some(most), 0)) as usize,
            max_streams_per_connection: narrow(
                section.integer("max_streams_per_connection", 1, 10_000),
                defaults.max_streams_per_connection,
            ),
            max_connections: narrow(section.integer("max_connections", 1, 100_000), defaults.max_connections),
            requests_per_second: rate,
            request_burst: narrow(burst, rate.saturating_mul(2).max(1)),
        }
    }
}

impl RetentionConfig {
    fn read(reader: &Reader) -> Self {
        /// Thirty days.
        const DEFAULT: Duration = Duration::from_secs(30 * 86_400);
        let mut section = reader.section("retention");
        let map_runs = section.duration("map_runs").unwrap_or(DEFAULT);
        section.finish();
        Self { map_runs }
    }
}
