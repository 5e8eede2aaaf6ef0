//! A collector of the test: takes OTLP over gRPC, and keeps what it got.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span, as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: none.
    pub(super) parent: String,
    pub(super) attributes: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    /// Names of metrics, by service.
    metrics: BTreeMap<String, Vec<String>>,
}

/// It serves until the value goes.
pub(super) struct Collector {
    kept: Arc<Mutex<Kept>>,
    endpoint: String,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Receiver(Arc<Mutex<Kept>>);

impl Collector {
    pub(super) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::default();
        let receiver = Receiver(Arc::clone(&kept));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(receiver.clone()))
            .add_service(MetricsServiceServer::new(receiver))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self { kept, endpoint, _runtime: runtime }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.kept.lock().unwrap().spans.clone()
    }

    pub(super) fn metrics_of(&self, service: &str) -> Vec<String> {
        self.kept.lock().unwrap().metrics.get(service).cloned().unwrap_or_default()
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let service = service_of(of_resource.resource.as_ref());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(&span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_metrics {
            let service = service_of(of_resource.resource.as_ref());
            let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            kept.metrics.insert(service, metrics.map(|metric| metric.name).collect());
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn service_of(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
    attributes.get("service.name").cloned().unwrap_or_default()
}

/// Attributes that are texts or numbers.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|pair| Some((pair.key.clone(), text(pair)?))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
