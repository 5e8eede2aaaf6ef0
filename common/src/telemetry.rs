//! Logs: set up once, to stderr. Every span, field and metric name is a constant here.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// What is logged unless `WARIFU_LOG` or `RUST_LOG` says otherwise: what we say, and what libraries warn of.
pub const DEFAULT_FILTER: &str = "warn,warifu=info,warifu_common=info,warifu_coordinator=info,warifu_worker=info,\
                                  warifu_scheduler=info,warifu_cli=info";

/// Variables that hold a filter, the first one that is set counts.
const FILTER_VARIABLES: [&str; 2] = ["WARIFU_LOG", "RUST_LOG"];

/// Names of spans.
pub mod span {
    /// One call of an API method.
    pub const RPC: &str = "rpc";
    /// One worker's session; has `worker_id`.
    pub const SESSION: &str = "session";
    /// Work on one map run; has `map_run_id`.
    pub const MAP_RUN: &str = "map_run";
    /// One lease; has `lease_id`.
    pub const LEASE: &str = "lease";
}

/// Names of fields. Each thing has one spelling.
pub mod field {
    /// What went wrong, as a chain.
    pub const ERROR: &str = "error";
    /// Ties an answer to the log.
    pub const ERROR_ID: &str = "error_id";
    /// A worker's ID.
    pub const WORKER_ID: &str = "worker_id";
    /// A map run's ID.
    pub const MAP_RUN_ID: &str = "map_run_id";
    /// A lease's term and epoch.
    pub const LEASE_ID: &str = "lease_id";
    /// An API method.
    pub const METHOD: &str = "method";
    /// A leader's term.
    pub const TERM: &str = "term";
    /// A shard's number.
    pub const SHARD: &str = "shard";
    /// A handler's name.
    pub const HANDLER: &str = "handler";
}

/// Names of metrics: base units, labels from bounded sets, no IDs and no error texts.
pub mod metric {
    /// Items decided; label `outcome`.
    pub const ITEMS_TOTAL: &str = "warifu_items_total";
    /// Items that failed or timed out; label `kind`.
    pub const ITEM_FAILURES_TOTAL: &str = "warifu_item_failures_total";
    /// Runs whose error rate rose over a level; label `level`.
    pub const ERROR_RATE_ALERTS_TOTAL: &str = "warifu_error_rate_alerts_total";
    /// Batches in progress.
    pub const BATCHES_IN_PROGRESS: &str = "warifu_batches_in_progress";
    /// Time of one handler call; label `handler`.
    pub const BATCH_DURATION_SECONDS: &str = "warifu_batch_duration_seconds";
    /// Leases that ended without a report.
    pub const LEASES_EXPIRED_TOTAL: &str = "warifu_leases_expired_total";
    /// Shards whose entry was guessed wrong and that were scanned again.
    pub const SCAN_MISSES_TOTAL: &str = "warifu_scan_misses_total";
    /// Map runs; label `state`.
    pub const MAP_RUNS: &str = "warifu_map_runs";
    /// Workers; label `state`.
    pub const WORKERS: &str = "warifu_workers";
    /// Slots of all workers; label `use`: `held` or `free`.
    pub const SLOTS: &str = "warifu_slots";
    /// Time of one commit to the state store.
    pub const COMMIT_DURATION_SECONDS: &str = "warifu_commit_duration_seconds";
    /// API calls; labels `method`, `code`.
    pub const RPCS_TOTAL: &str = "warifu_rpcs_total";
    /// 1; labels `version`.
    pub const BUILD_INFO: &str = "warifu_build_info";
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

impl LogFormat {
    /// As configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("write \"text\" or \"json\"".to_owned()),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A filter is wrong.
    #[error("{variable} is no log filter: {reason}")]
    Filter {
        /// The variable that holds it.
        variable: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Logging is set up already in this process.
    #[error("logging is set up already")]
    SetUpAlready,
}

/// Sends log lines to stderr from here on. Once per process.
///
/// `default_filter` counts where neither `WARIFU_LOG` nor `RUST_LOG` is set; [`DEFAULT_FILTER`] is the usual one.
pub fn set_up(format: LogFormat, default_filter: &str) -> Result<(), TelemetryError> {
    let filter = filter(default_filter, |variable| std::env::var(variable).ok())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
    result.map_err(|_| TelemetryError::SetUpAlready)
}

fn filter(
    default_filter: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<EnvFilter, TelemetryError> {
    for variable in FILTER_VARIABLES {
        if let Some(text) = lookup(variable).filter(|text| !text.is_empty()) {
            let invalid = |error: tracing_subscriber::filter::ParseError| error.to_string();
            return EnvFilter::try_new(text)
                .map_err(|error| TelemetryError::Filter { variable, reason: invalid(error) });
        }
    }
    Ok(EnvFilter::new(default_filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variable_counts_before_the_common_one() {
        let lookup = |ours: Option<&'static str>| {
            move |name: &str| {
                if name == "WARIFU_LOG" { ours.map(str::to_owned) } else { Some("debug".to_owned()) }
            }
        };
        assert_eq!(filter(DEFAULT_FILTER, lookup(Some("trace"))).unwrap().to_string(), "trace");
        assert_eq!(filter(DEFAULT_FILTER, lookup(None)).unwrap().to_string(), "debug");
        assert!(filter(DEFAULT_FILTER, |_| None).unwrap().to_string().contains("warifu_worker=info"));
        let error = filter(DEFAULT_FILTER, lookup(Some("warifu=loud"))).unwrap_err();
        assert!(error.to_string().starts_with("WARIFU_LOG is no log filter"), "{error}");
    }
}
