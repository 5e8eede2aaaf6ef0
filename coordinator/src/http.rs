//! The HTTP side: liveness, readiness and metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warifu_common::telemetry::families::{TEXT_CONTENT_TYPE, to_text};

use crate::driver::{DriverHandle, Leadership};
use crate::metrics::MetricGatherer;

#[derive(Clone)]
struct Context {
    driver: DriverHandle,
    metrics: MetricGatherer,
}

/// Serves until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    driver: DriverHandle,
    metrics: MetricGatherer,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Context { driver, metrics });
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
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

async fn render_metrics(State(context): State<Context>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)], to_text(&context.metrics.gather().await))
}
