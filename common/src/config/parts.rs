//! Parts of a configuration that both processes have, and small values.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use warifu_model::AccessRules;

use super::ConfigError;
use super::s3_options::S3Options;
use super::section::Reader;
use super::source::Source;
use crate::telemetry::LogFormat;

/// The part of runs that are traced unless configuration says otherwise.
const DEFAULT_SAMPLE_RATIO: f64 = 1.0;

/// What stands for a secret where configuration is printed.
pub(super) const REDACTED: &str = "***";

/// A text that must not be printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever needs it to do its work.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// A URL without its password and without the values of its query.
pub fn redacted_url(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let mut redacted = without_password(base);
    if let Some(query) = query {
        let names = query
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair.to_owned(), |(k, _)| format!("{k}={REDACTED}")));
        redacted.push('?');
        redacted.push_str(&names.collect::<Vec<_>>().join("&"));
    }
    redacted
}

fn without_password(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            let password = if user.contains(':') { format!(":{REDACTED}") } else { String::new() };
            format!("{scheme}://{name}{password}@{host}{path}")
        }
        None => base.to_owned(),
    }
}

/// A duration as configuration spells it: a whole number and `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let advice = || "write a whole number and ms, s, m, h or d, as in \"100s\"".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| advice())?;
    let millis_per_unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(advice()),
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(|| "is too long".to_owned())
}

/// A duration as [`parse_duration`] takes it.
pub(super) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let fitting = units.iter().find(|(size, _)| millis.is_multiple_of(*size) && millis >= *size);
    let (size, unit) = fitting.copied().unwrap_or((1, "ms"));
    serializer.serialize_str(&format!("{}{unit}", millis / size))
}

/// `[s3]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct S3Config {
    /// Absent: as the AWS chain says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Set for S3-compatible stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// The bucket in the path, not in the host's name.
    pub force_path_style: bool,
    /// For staged inputs, and failures of runs without a result writer. Absent: such runs are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_bucket: Option<String>,
    /// Put before everything in it; empty or ending in `/`.
    pub system_prefix: String,
    /// What jobs may read and write.
    pub allowed: AccessRules,
    /// How requests are made.
    #[serde(flatten)]
    pub options: S3Options,
}

impl S3Config {
    pub(super) fn read(reader: &Reader) -> Self {
        let mut section = reader.section("s3");
        let prefix = section.text("system_prefix").unwrap_or_else(|| "warifu/".to_owned());
        let endpoint_url = section.parsed("endpoint_url", |url| {
            let fine = url.starts_with("http://") || url.starts_with("https://");
            if fine { Ok(url.to_owned()) } else { Err("write http://host:port or https://host".to_owned()) }
        });
        let allowed = section.texts("allowed");
        for pattern in allowed.iter().flatten().filter(|pattern| !is_pattern(pattern)) {
            section
                .problem("allowed", format!("{pattern:?}: write s3://bucket/prefix*, `*` at the end only"));
        }
        let config = Self {
            region: section.filled_text("region"),
            endpoint_url,
            force_path_style: section.boolean("force_path_style").unwrap_or(false),
            system_bucket: section.filled_text("system_bucket"),
            system_prefix: if prefix.is_empty() || prefix.ends_with('/') { prefix } else { prefix + "/" },
            allowed: AccessRules::new(allowed),
            options: S3Options::read(&mut section),
        };
        section.finish();
        config
    }
}

fn is_pattern(pattern: &str) -> bool {
    let scheme = pattern.starts_with("s3://") || pattern.starts_with("file:///");
    scheme && pattern.find('*').is_none_or(|star| star + 1 == pattern.len())
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TelemetryConfig {
    /// The collector that gets traces and metrics by OTLP over gRPC. Absent: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// The part of runs that are traced, from 0 to 1, of those whose submitter has not decided it.
    pub trace_sample_ratio: f64,
    /// How log lines look.
    #[serde(serialize_with = "serialize_log_format")]
    pub log_format: LogFormat,
}

fn serialize_log_format<S: Serializer>(format: &LogFormat, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(format.as_str())
}

impl TelemetryConfig {
    pub(super) fn read(reader: &Reader) -> Self {
        let mut section = reader.section("telemetry");
        let otlp_endpoint = section.parsed("otlp_endpoint", collector_url);
        let trace_sample_ratio = section.ratio("trace_sample_ratio").unwrap_or(DEFAULT_SAMPLE_RATIO);
        let log_format = section.parsed("log_format", str::parse).unwrap_or_default();
        section.finish();
        Self { otlp_endpoint, trace_sample_ratio, log_format }
    }

    /// What the environment alone says, for programs that read no configuration file: `WARIFU_TELEMETRY__OTLP_ENDPOINT` and
    /// so on.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("WARIFU_TELEMETRY__"));
        let source = Source::new(None, "", environment.collect(), Vec::new())?;
        let reader = Reader::new(source, false);
        let config = Self::read(&reader);
        reader.finish(config, &["telemetry"], &[])
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            trace_sample_ratio: DEFAULT_SAMPLE_RATIO,
            log_format: LogFormat::default(),
        }
    }
}

fn collector_url(text: &str) -> Result<String, String> {
    let advice = "write http://host:port of a collector that takes OTLP over gRPC, usually on port 4317";
    let url = url::Url::parse(text).map_err(|_| advice.to_owned())?;
    let is_fine = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
    if is_fine { Ok(text.to_owned()) } else { Err(advice.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit_and_nothing_else() {
        for (text, millis) in
            [("5ms", 5), ("100s", 100_000), ("2m", 120_000), ("1h", 3_600_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999d", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_and_queries_are_not_printed() {
        for (url, redacted) in [
            ("postgres://me:hunter2@db/x?sslkey=abc&a", "postgres://me:***@db/x?sslkey=***&a"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            ("mysql://me:p@ss@db", "mysql://me:***@db"),
            ("sqlite:///data/a@b.db", "sqlite:///data/a@b.db"),
            ("no url", "no url"),
        ] {
            assert_eq!(redacted_url(url), redacted);
        }
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
