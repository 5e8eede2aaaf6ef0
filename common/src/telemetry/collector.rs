//! Metrics on their way to a collector: every so often, what the process says of itself then.
//!
//! One export is on its way at a time, with a time limit; one that fails is dropped, since the next one says more. So a collector
//! that cannot be reached costs a connection attempt now and then.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tracing::{debug, warn};

use super::families::{Family, Kind, Sample, Value};
use super::traces::EXPORT_TIMEOUT;
use super::{MetricSource, Service};

/// How often metrics are sent.
const EXPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The task that sends metrics.
pub(super) struct MetricPipeline {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl MetricPipeline {
    /// Starts it, within a runtime of tokio.
    pub(super) fn start(endpoint: &str, service: Service, source: MetricSource) -> Self {
        let (end, ended) = oneshot::channel();
        let endpoint = endpoint.to_owned();
        let task = tokio::spawn(async move {
            match channel(&endpoint) {
                Ok(channel) => send_until(ended, channel, &service, &source).await,
                Err(error) => warn!(%error, "metrics are not sent, the collector's endpoint cannot be used"),
            }
        });
        Self { task, end }
    }

    /// Sends what there is now, and ends.
    pub(super) async fn end(mut self) {
        // The task may have ended already: then there is nothing to send to.
        let _ = self.end.send(());
        if tokio::time::timeout(EXPORT_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn channel(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    let parsed =
        Endpoint::from_shared(endpoint.to_owned())?.timeout(EXPORT_TIMEOUT).connect_timeout(EXPORT_TIMEOUT);
    let secured = match endpoint.starts_with("https://") {
        true => parsed.tls_config(ClientTlsConfig::new().with_native_roots())?,
        false => parsed,
    };
    Ok(secured.connect_lazy())
}

async fn send_until(
    mut ended: oneshot::Receiver<()>,
    channel: Channel,
    service: &Service,
    source: &MetricSource,
) {
    let start = now_nanos();
    let mut client = MetricsServiceClient::new(channel);
    let mut is_last = false;
    while !is_last {
        // Both only wait.
        tokio::select! {
            () = tokio::time::sleep(EXPORT_INTERVAL) => {}
            _ = &mut ended => is_last = true,
        }
        let request = to_request(service, &source().await, start, now_nanos());
        if let Err(error) = client.export(request).await {
            debug!(%error, "metrics did not reach the collector");
        }
    }
}

/// What OTLP stamps points with is the clock on the wall.
#[expect(
    clippy::disallowed_methods,
    reason = "OTLP wants nanoseconds since the epoch; nothing is decided by them"
)]
fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn to_request(service: &Service, families: &[Family], start: u64, now: u64) -> ExportMetricsServiceRequest {
    let attributes = service.attributes().iter().map(|(key, value)| key_value(key, value)).collect();
    let scope = InstrumentationScope { name: "warifu".to_owned(), ..InstrumentationScope::default() };
    let metrics = families.iter().map(|family| to_metric(family, start, now)).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn to_metric(family: &Family, start: u64, now: u64) -> Metric {
    let numbers = || family.samples.iter().filter_map(|sample| number_point(sample, start, now)).collect();
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: family
                .samples
                .iter()
                .filter_map(|sample| histogram_point(sample, start, now))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit_of(family.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit in a name, by UCUM.
fn unit_of(name: &str) -> &'static str {
    let noun = name.strip_suffix("_total").unwrap_or(name);
    match noun.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        Some(_) | None => "",
    }
}

fn number_point(sample: &Sample, start: u64, now: u64) -> Option<NumberDataPoint> {
    let Value::Number(number) = &sample.value else { return None };
    Some(NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(*number)),
        ..NumberDataPoint::default()
    })
}

fn histogram_point(sample: &Sample, start: u64, now: u64) -> Option<HistogramDataPoint> {
    let Value::Histogram(histogram) = &sample.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: histogram.counts.iter().sum(),
        sum: Some(histogram.sum),
        bucket_counts: histogram.counts.clone(),
        explicit_bounds: histogram.bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample.labels.iter().map(|(key, value)| key_value(key, value)).collect()
}

fn key_value(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
