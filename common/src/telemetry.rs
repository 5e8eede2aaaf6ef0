//! Logs, to stderr; traces and metrics, to a collector that speaks OTLP. Every field and metric name is a constant here.
//!
//! Set up once in a process: [`set_up`] for logs alone, [`Telemetry::start`] for all of it.

mod collector;
pub mod families;
pub mod traces;

use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use self::collector::MetricPipeline;
use self::families::Family;
use self::traces::TracePipeline;
use crate::config::TelemetryConfig;

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
    /// A trace's ID, as hexadecimal digits.
    pub const TRACE_ID: &str = "trace_id";
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
    /// The same by name of the run; labels `map_run`, `outcome`.
    pub const MAP_RUN_ITEMS_TOTAL: &str = "warifu_map_run_items_total";
    /// Active runs; label `map_run`, as for all that begin so.
    pub const MAP_RUN_ACTIVE: &str = "warifu_map_run_active";
    /// Batches in progress.
    pub const MAP_RUN_BATCHES_RUNNING: &str = "warifu_map_run_batches_running";
    /// Items that are known and not decided.
    pub const MAP_RUN_ITEMS_OPEN: &str = "warifu_map_run_items_open";
    /// Decided share.
    pub const MAP_RUN_PROGRESS_RATIO: &str = "warifu_map_run_progress_ratio";
    /// Items a second.
    pub const MAP_RUN_RATE: &str = "warifu_map_run_items_per_second";
    /// Failed share of what is decided.
    pub const MAP_RUN_ERROR_RATIO: &str = "warifu_map_run_error_ratio";
    /// Time to the end.
    pub const MAP_RUN_REMAINING_SECONDS: &str = "warifu_map_run_remaining_seconds";
    /// Batches in progress.
    pub const BATCHES_IN_PROGRESS: &str = "warifu_batches_in_progress";
    /// Time of one handler call; label `handler`.
    pub const BATCH_DURATION_SECONDS: &str = "warifu_batch_duration_seconds";
    /// Leases that workers hold.
    pub const LEASES: &str = "warifu_leases";
    /// Age of the oldest lease.
    pub const LEASE_AGE_SECONDS: &str = "warifu_lease_age_seconds";
    /// Time since the holder of a lease was heard.
    pub const LEASE_RENEWAL_AGE_SECONDS: &str = "warifu_lease_renewal_age_seconds";
    /// Whether the process leads.
    pub const LEADING: &str = "warifu_leading";
    /// Transactions; label `outcome`.
    pub const COMMITS_TOTAL: &str = "warifu_commits_total";
    /// Bytes of the state store.
    pub const STORE_SIZE_BYTES: &str = "warifu_store_size_bytes";
    /// Map runs; label `state`.
    pub const MAP_RUNS: &str = "warifu_map_runs";
    /// Workers; label `state`.
    pub const WORKERS: &str = "warifu_workers";
    /// Slots of all workers; label `use`: `held` or `free`.
    pub const SLOTS: &str = "warifu_slots";
    /// Time of one commit to the state store.
    pub const COMMIT_DURATION_SECONDS: &str = "warifu_commit_duration_seconds";
    /// A worker's batches; labels `handler`, `outcome`.
    pub const WORKER_BATCHES_TOTAL: &str = "warifu_worker_batches_total";
    /// Items of a worker's batches; label `handler`.
    pub const WORKER_ITEMS_TOTAL: &str = "warifu_worker_items_total";
    /// A worker's batches in its slots.
    pub const WORKER_BATCHES_RUNNING: &str = "warifu_worker_batches_running";
    /// A worker's slots.
    pub const WORKER_SLOTS: &str = "warifu_worker_slots";
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
    /// Traces cannot be sent: the endpoint is no URL, or certificates cannot be read.
    #[error("telemetry.otlp_endpoint cannot be used: {reason}")]
    Collector {
        /// Why.
        reason: String,
    },
}

/// Who sends: what a collector calls the resource.
#[derive(Debug, Clone)]
pub struct Service {
    /// `warifu-coordinator`, `warifu-worker` or `warifu`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Tells processes apart.
    pub instance: String,
}

impl Service {
    /// Attributes by the semantic conventions.
    fn attributes(&self) -> [(&'static str, String); 3] {
        [
            ("service.name", self.name.to_owned()),
            ("service.version", self.version.to_owned()),
            ("service.instance.id", self.instance.clone()),
        ]
    }
}

/// What asks a process for its metrics as they are now.
pub type MetricSource = Arc<dyn Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync>;

/// Everything that was set up, to be shut down at the end of the process.
#[must_use = "what waits for the collector is lost unless `shut_down` is called"]
pub struct Telemetry {
    collector: Option<Collector>,
}

struct Collector {
    endpoint: String,
    service: Service,
    traces: TracePipeline,
    metrics: Option<MetricPipeline>,
}

impl Telemetry {
    /// Sends log lines to stderr and, if a collector is configured, spans there. Once per process, within a runtime of
    /// tokio.
    pub fn start(
        config: &TelemetryConfig,
        default_filter: &str,
        service: Service,
    ) -> Result<Self, TelemetryError> {
        let Some(endpoint) = config.otlp_endpoint.clone() else {
            set_up(config.log_format, default_filter)?;
            return Ok(Self { collector: None });
        };
        let filter = filter(default_filter, |variable| std::env::var(variable).ok())?;
        let traces = TracePipeline::open(&endpoint, config.trace_sample_ratio, &service)?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(FilterFn::new(|metadata| metadata.is_span() && metadata.target() == traces::TARGET));
        let lines = log_lines(config.log_format).with_filter(filter);
        let subscriber = Registry::default().with(spans).with(lines);
        subscriber.try_init().map_err(|_| TelemetryError::SetUpAlready)?;
        traces.switch_on();
        Ok(Self { collector: Some(Collector { endpoint, service, traces, metrics: None }) })
    }

    /// Sends metrics to the collector, too, if there is one.
    pub fn send_metrics(&mut self, source: MetricSource) {
        if let Some(collector) = &mut self.collector {
            collector.metrics =
                Some(MetricPipeline::start(&collector.endpoint, collector.service.clone(), source));
        }
    }

    /// Sends what waits; takes a few seconds at most.
    pub async fn shut_down(self) {
        let Some(collector) = self.collector else { return };
        if let Some(metrics) = collector.metrics {
            metrics.end().await;
        }
        collector.traces.flush().await;
    }
}

/// Sends log lines to stderr from here on. Once per process.
///
/// `default_filter` counts where neither `WARIFU_LOG` nor `RUST_LOG` is set; [`DEFAULT_FILTER`] is the usual one.
pub fn set_up(format: LogFormat, default_filter: &str) -> Result<(), TelemetryError> {
    let filter = filter(default_filter, |variable| std::env::var(variable).ok())?;
    let subscriber = Registry::default().with(log_lines(format).with_filter(filter));
    subscriber.try_init().map_err(|_| TelemetryError::SetUpAlready)
}

fn log_lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
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
