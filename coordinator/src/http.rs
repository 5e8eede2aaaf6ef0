//! The HTTP side: liveness, readiness and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use warifu_common::telemetry::families::{TEXT_CONTENT_TYPE, to_text};

use crate::driver::{DriverHandle, Leadership};
use crate::metrics::MetricGatherer;
use crate::security::{Authority, Connections, METRICS, Peer, record};

#[derive(Clone)]
struct Context {
    driver: DriverHandle,
    metrics: MetricGatherer,
    admission: Admission,
}

/// Who may read metrics. Probes have neither certificate nor token, and health says nothing of anyone's data.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    /// Absent: everybody may.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Whether a client's certificate is wanted.
    pub(crate) certificates_wanted: bool,
}

impl Admission {
    fn check(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), StatusCode> {
        if self.certificates_wanted && !peer.is_verified() {
            return Err(StatusCode::FORBIDDEN);
        }
        let Some(authority) = &self.authority else { return Ok(()) };
        authority.admit(METRICS, headers).map(drop).map_err(|denied| {
            let status = Status::from(denied.error);
            record(&denied.principal, METRICS, "-", status.code());
            if status.code() == Code::Unauthenticated {
                StatusCode::UNAUTHORIZED
            } else {
                StatusCode::FORBIDDEN
            }
        })
    }
}

/// Serves until it is told to stop.
pub(crate) async fn serve(
    connections: Connections,
    driver: DriverHandle,
    metrics: MetricGatherer,
    admission: Admission,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Context { driver, metrics, admission })
        .into_make_service_with_connect_info::<Peer>();
    axum::serve(connections, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// The process lives. Whether it can do its work is another question: restarting it would not help the store.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(context): State<Context>) -> impl IntoResponse {
    let leadership = context.driver.leading().borrow().clone();
    match leadership {
        Leadership::Here(term) => (StatusCode::OK, format!("leading in term {term}\n")),
        Leadership::Elsewhere(leader) => (StatusCode::OK, format!("following {}\n", leader.endpoint)),
        Leadership::Nobody { .. } => (StatusCode::SERVICE_UNAVAILABLE, "nobody leads\n".to_owned()),
    }
}

async fn render_metrics(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, StatusCode> {
    context.admission.check(&peer, &headers)?;
    Ok(([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], to_text(&context.metrics.gather().await)))
}
