//! What a worker counts, and where it can be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warifu_common::model::HandlerName;
use warifu_common::model::protocol::CallOutcome;
use warifu_common::telemetry::MetricSource;
use warifu_common::telemetry::families::{
    DurationHistogram, Family, Kind, TEXT_CONTENT_TYPE, Value, to_text,
};
use warifu_common::telemetry::metric;
use warifu_session::FinishedBatch;

/// Bounds of handler calls' times: from a query of a database to the longest that a timeout usually allows.
const CALL_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

const OUTCOME_LABELS: [&str; 4] = ["answered", "failed", "timed_out", "aborted"];

/// A worker's counts; as many series as it has handlers, which configuration bounds.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    handlers: BTreeMap<HandlerName, HandlerMetrics>,
    slots: u32,
    running: AtomicU64,
}

#[derive(Debug)]
struct HandlerMetrics {
    /// By [`OUTCOME_LABELS`].
    batches: [AtomicU64; OUTCOME_LABELS.len()],
    items: AtomicU64,
    durations: DurationHistogram,
}

impl WorkerMetrics {
    /// Of a worker with these handlers and slots.
    pub fn new<'a>(handlers: impl Iterator<Item = &'a HandlerName>, slots: u32) -> Self {
        let handlers = handlers.map(|name| (name.clone(), HandlerMetrics::default())).collect();
        Self { handlers, slots, running: AtomicU64::new(0) }
    }

    /// Counts a batch that came to its end.
    pub(crate) fn note_batch(&self, handler: &HandlerName, batch: &FinishedBatch) {
        // A handler that this worker does not have was not called.
        let Some(handler) = self.handlers.get(handler) else { return };
        let outcome = match batch.call {
            CallOutcome::Answered => 0,
            CallOutcome::Failed => 1,
            CallOutcome::TimedOut => 2,
            CallOutcome::Aborted => 3,
        };
        handler.batches[outcome].fetch_add(1, Ordering::Relaxed);
        handler.items.fetch_add(u64::from(batch.item_count), Ordering::Relaxed);
        handler.durations.observe(batch.handler_time);
    }

    /// Says how many batches are in slots now.
    pub(crate) fn set_running(&self, batches: usize) {
        self.running.store(batches as u64, Ordering::Relaxed);
    }

    /// All families as they are now.
    fn families(&self) -> Vec<Family> {
        let help = "Batches whose handler call ended, by handler and how.";
        let mut batches = Family::new(metric::WORKER_BATCHES_TOTAL, Kind::Counter, help);
        let help = "Items of batches whose handler call ended, by handler.";
        let mut items = Family::new(metric::WORKER_ITEMS_TOTAL, Kind::Counter, help);
        let mut durations = Family::new(
            metric::BATCH_DURATION_SECONDS,
            Kind::Histogram,
            "Time of one handler call, by handler.",
        );
        for (name, handler) in &self.handlers {
            for (label, count) in OUTCOME_LABELS.iter().zip(&handler.batches) {
                let labels = [("handler", name.as_str()), ("outcome", *label)];
                batches.push(&labels, count.load(Ordering::Relaxed) as f64);
            }
            let labels = [("handler", name.as_str())];
            items.push(&labels, handler.items.load(Ordering::Relaxed) as f64);
            durations.push_value(&labels, Value::Histogram(handler.durations.value()));
        }
        vec![
            Family::new(metric::BUILD_INFO, Kind::Gauge, "The version of this process.")
                .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
            Family::new(metric::WORKER_SLOTS, Kind::Gauge, "Batches that this worker may run at once.")
                .with(&[], f64::from(self.slots)),
            Family::new(metric::WORKER_BATCHES_RUNNING, Kind::Gauge, "Batches that this worker runs.")
                .with(&[], self.running.load(Ordering::Relaxed) as f64),
            batches,
            items,
            durations,
        ]
    }

    /// What asks for them, for a collector.
    pub fn source(self: &Arc<Self>) -> MetricSource {
        let metrics = Arc::clone(self);
        Arc::new(move || {
            let families = metrics.families();
            Box::pin(std::future::ready(families))
        })
    }
}

impl Default for HandlerMetrics {
    fn default() -> Self {
        Self {
            batches: Default::default(),
            items: AtomicU64::new(0),
            durations: DurationHistogram::new(CALL_BOUNDS),
        }
    }
}

/// Serves `/metrics` and `/healthz` until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<WorkerMetrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(render))
        .with_state(metrics);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn render(State(metrics): State<Arc<WorkerMetrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], to_text(&metrics.families()))
}
