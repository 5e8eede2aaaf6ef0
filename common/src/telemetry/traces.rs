//! Traces: spans, how they hang together over processes, and their way to a collector.
//!
//! A span is opened by [`span_within`] only, which opens none where no collector is configured or the trace is not sampled:
//! what is not recorded costs a look at a flag. Spans wait in a bounded queue and leave in batches from a thread of their own;
//! what does not fit, or finds no collector, is dropped and never waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use warifu_model::TraceParent;

use super::{Service, TelemetryError, field};

/// The header, and the gRPC metadata, that carries a place in a trace.
pub const TRACE_PARENT_HEADER: &str = "traceparent";

/// The environment variable that does the same between processes.
pub const TRACE_PARENT_VARIABLE: &str = "TRACEPARENT";

/// The target of spans that go to the collector; nothing else does.
pub const TARGET: &str = "warifu::trace";

/// Spans that wait for the collector: some megabytes. More are dropped.
const MAX_WAITING_SPANS: usize = 8_192;

/// Spans of one export, below gRPC's limit of 4 MiB.
const SPANS_PER_EXPORT: usize = 512;

/// How long spans wait for company.
const EXPORT_DELAY: Duration = Duration::from_secs(1);

/// How long one export may take.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the end of a process may wait for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether spans go anywhere.
static ON: AtomicBool = AtomicBool::new(false);

/// A span of our own, or [`Span::none`] where nobody would see it: `traced_span!(parent; "name", field = value, …)`. `parent` is an
/// `Option<&TraceParent>`; without one the span continues the current one, or begins a trace.
#[macro_export]
macro_rules! traced_span {
    ($parent:expr; $name:expr $(, $($fields:tt)*)?) => {
        $crate::telemetry::traces::span_within($parent, || {
            ::tracing::info_span!(
                target: $crate::telemetry::traces::TARGET,
                $name,
                trace_id = ::tracing::field::Empty,
                otel.status_code = ::tracing::field::Empty,
                $($($fields)*)?
            )
        })
    };
}

/// The span that `open` opens, within `parent`, if it is recorded.
pub fn span_within(parent: Option<&TraceParent>, open: impl FnOnce() -> Span) -> Span {
    let is_wanted = parent.is_none_or(TraceParent::is_sampled);
    if !is_wanted || !ON.load(Ordering::Relaxed) {
        return Span::none();
    }
    let span = open();
    if let Some(parent) = parent {
        let context = Context::new().with_remote_span_context(span_context(parent));
        // It fails where no layer takes the span: then there is nothing to hang it on.
        let _ = span.set_parent(context);
    }
    if let Some(place) = place_of(&span) {
        span.record(field::TRACE_ID, place.trace_id_text());
    }
    span
}

/// Where a span is in its trace; `None` if it is not recorded by anyone. Of a trace that is not sampled it says so.
pub fn place_of(span: &Span) -> Option<TraceParent> {
    if !ON.load(Ordering::Relaxed) || span.is_none() {
        return None;
    }
    let context = span.context();
    let place = context.span().span_context().clone();
    let trace = u128::from_be_bytes(place.trace_id().to_bytes());
    TraceParent::new(trace, u64::from_be_bytes(place.span_id().to_bytes()), place.is_sampled())
}

/// Marks a span as failed.
pub fn mark_failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// The place in a trace that the environment of this process names, if it does.
pub fn place_in_environment() -> Option<TraceParent> {
    std::env::var(TRACE_PARENT_VARIABLE).ok()?.parse().ok()
}

fn span_context(parent: &TraceParent) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let trace = TraceId::from(parent.trace_id());
    SpanContext::new(trace, SpanId::from(parent.span_id()), flags, true, TraceState::NONE)
}

/// The way of spans to the collector.
pub(super) struct TracePipeline {
    provider: SdkTracerProvider,
}

impl TracePipeline {
    /// Opens it; the connection is made when there is something to send. To be called within a runtime of tokio that has
    /// threads of its own.
    pub(super) fn open(endpoint: &str, ratio: f64, service: &Service) -> Result<Self, TelemetryError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| TelemetryError::Collector { reason: error.to_string() })?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING_SPANS)
            .with_max_export_batch_size(SPANS_PER_EXPORT)
            .with_scheduled_delay(EXPORT_DELAY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let attributes = service.attributes().into_iter().map(|(key, value)| KeyValue::new(key, value));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(Resource::builder_empty().with_attributes(attributes).build())
            .build();
        Ok(Self { provider })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("warifu")
    }

    /// From here on spans are opened.
    pub(super) fn switch_on(&self) {
        ON.store(true, Ordering::Relaxed);
    }

    /// Sends what waits, as long as that may take.
    pub(super) async fn flush(self) {
        ON.store(false, Ordering::Relaxed);
        let flushing =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        match flushing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans did not reach the collector"),
            Err(error) => tracing::warn!(%error, "sending the last spans panicked"),
        }
    }
}
