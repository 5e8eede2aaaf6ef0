//! The sections of worker.toml but its handlers.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};
use warifu_common::model::WorkerId;
use warifu_common::object_store::S3Settings;

use crate::worker::{DEFAULT_CACHE_BYTES, DEFAULT_DRAIN_TIMEOUT, DEFAULT_SLOTS};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    pub(super) coordinator: CoordinatorSection,
    pub(super) worker: WorkerSection,
    pub(super) s3: S3Section,
    pub(super) telemetry: TelemetrySection,
    #[serde(skip_serializing)]
    tls: Option<Value>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CoordinatorSection {
    pub(super) endpoints: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WorkerSection {
    pub(super) id: Option<WorkerId>,
    pub(super) slots: u32,
    pub(super) cache_bytes: u64,
    pub(super) drain_timeout: Span,
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct S3Section {
    region: String,
    endpoint_url: String,
    force_path_style: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetrySection {
    otlp_endpoint: String,
    log_format: String,
}

impl Default for CoordinatorSection {
    fn default() -> Self {
        Self { endpoints: vec!["http://127.0.0.1:7400".to_owned()] }
    }
}

impl Default for WorkerSection {
    fn default() -> Self {
        Self {
            id: None,
            slots: DEFAULT_SLOTS,
            cache_bytes: DEFAULT_CACHE_BYTES,
            drain_timeout: Span(DEFAULT_DRAIN_TIMEOUT),
            state_dir: None,
        }
    }
}

impl Default for S3Section {
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), endpoint_url: String::new(), force_path_style: false }
    }
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), log_format: "text".to_owned() }
    }
}

impl S3Section {
    pub(super) fn settings(&self) -> S3Settings {
        S3Settings {
            region: self.region.clone(),
            endpoint_url: (!self.endpoint_url.is_empty()).then(|| self.endpoint_url.clone()),
            force_path_style: self.force_path_style,
            ..S3Settings::default()
        }
    }
}

impl TelemetrySection {
    pub(super) fn is_json(&self) -> bool {
        self.log_format == "json"
    }
}

impl Sections {
    pub(super) fn read(table: Table) -> Result<Self, String> {
        table.try_into().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let mut require = |fine: bool, problem: &str| {
            if !fine {
                problems.push(problem.to_owned());
            }
        };
        require(!self.coordinator.endpoints.is_empty(), "coordinator.endpoints: name at least one");
        require((1..=65_536).contains(&self.worker.slots), "worker.slots: must lie between 1 and 65536");
        require(self.tls.is_none(), "tls: is not supported yet");
        require(self.telemetry.otlp_endpoint.is_empty(), "telemetry.otlp_endpoint: is not supported yet");
        let format = self.telemetry.log_format.as_str();
        require(["text", "json"].contains(&format), "telemetry.log_format: must be text or json");
    }
}

/// A duration written as a number and a unit: `500ms`, `30s`, `5m`, `2h`, `1d`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid =
            || serde::de::Error::custom(format!("{text:?} is no duration: write 500ms, 30s, 5m, 2h or 1d"));
        parse_span(&text).map(Span).ok_or_else(invalid)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ms", self.0.as_millis()))
    }
}

fn parse_span(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit);
    let count: u64 = count.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}
