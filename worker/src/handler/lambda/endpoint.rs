//! The Lambda Runtime API (version 2018-06-01) for one process, on a port of its own.
//!
//! Clients take a host and a port and nothing else, so the port tells which process speaks. Statuses and error types are
//! those of AWS's own endpoint.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;
use warifu_common::model::CallFailure;

use super::environment::trace_id;
use super::exchange::{Answer, Event, Exchange, Refusal};
use super::failure;

/// Connections of one process: clients have one or two.
const MOST_CONNECTIONS: usize = 16;
/// After a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's head: clients put a whole stack trace of up to 1 MiB into a header.
const MAX_HEAD_BYTES: usize = 2 << 20;
/// Bytes of an error's report: its trace may be long, but it is no result.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// Says how the answer comes.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// An error's name, as a header or after a streamed answer.
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
/// An error's report in Base64, after a streamed answer.
const ERROR_BODY: &str = "lambda-runtime-function-error-body";

/// What the requests of one process are about.
pub(super) struct Api {
    /// Between the process and its caller.
    pub(super) exchange: Arc<Exchange>,
    /// A longer answer fails its batch.
    pub(super) max_response_bytes: u64,
    /// What the function is told that it is.
    pub(super) function_arn: String,
}

/// Serves the API of one process until the value goes.
pub(super) struct Endpoint {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Endpoint {
    /// Listens on a free port of this machine.
    pub(super) async fn start(api: Api) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, routes(api)));
        Ok(Self { address, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .with_state(Arc::new(api))
}

/// Connections end with this future.
async fn serve(listener: TcpListener, routes: Router) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        // Both arms are cancel-safe.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, routes.clone()))),
                Err(error) => {
                    // Mostly file descriptors are short: the client waits in the queue meanwhile.
                    debug!(%error, "a connection of a function's process cannot be taken yet");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Router) {
    // Else an answer that does not fit into one segment waits for the acknowledgement of the first, 40 ms.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().max_buf_size(MAX_HEAD_BYTES);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
    if let Err(error) = served {
        debug!(error, "a connection of a function's process broke");
    }
}

/// `GET …/invocation/next`
async fn next(State(api): State<Arc<Api>>) -> Response {
    match api.exchange.next().await {
        Ok(event) => event_response(&api, event),
        Err(refusal) => refuse(refusal),
    }
}

fn event_response(api: &Api, event: Event) -> Response {
    let deadline = event.deadline.0;
    let trace = event.trace_parent.map_or_else(|| trace_id(deadline / 1000), |place| place.to_x_ray());
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", event.id)
        .header("Lambda-Runtime-Deadline-Ms", deadline)
        .header("Lambda-Runtime-Invoked-Function-Arn", &api.function_arn)
        .header("Lambda-Runtime-Trace-Id", trace)
        .body(Body::from(event.body));
    response.unwrap_or_else(|error| {
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string())
    })
}

/// `POST …/invocation/{id}/response`
async fn response(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !api.exchange.is_running(&id) {
        return refuse(Refusal::UnknownId);
    }
    if headers.get(RESPONSE_MODE).is_some_and(|mode| mode != "streaming") {
        let failure =
            CallFailure::system("Runtime.InvalidResponseModeHeader", "the only mode is \"streaming\"");
        let _ = api.exchange.answer(&id, Err(failure));
        let advice = "Invalid function response mode";
        return refusal(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", advice);
    }
    match read(body, api.max_response_bytes).await {
        Read::Whole(answer, trailers) => accept(&api, &id, streamed_error(&trailers).map_or(Ok(answer), Err)),
        Read::TooLarge(size) => {
            let failure = failure::response_too_large(size, api.max_response_bytes);
            match api.exchange.answer(&id, Err(failure)) {
                Ok(()) => too_large(api.max_response_bytes),
                Err(refusal) => refuse(refusal),
            }
        }
        Read::Broken => truncated(),
    }
}

/// What went wrong in the middle of a streamed answer.
fn streamed_error(trailers: &HeaderMap) -> Option<CallFailure> {
    let error_type = trailers.get(ERROR_TYPE)?.to_str().ok();
    let report = trailers.get(ERROR_BODY).and_then(|body| BASE64_STANDARD.decode(body).ok());
    Some(failure::reported(error_type, &report.unwrap_or_default()))
}

/// `POST …/invocation/{id}/error`
async fn error(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !api.exchange.is_running(&id) {
        return refuse(Refusal::UnknownId);
    }
    match read_report(&headers, body).await {
        Ok(failure) => accept(&api, &id, Err(failure)),
        Err(refused) => refused,
    }
}

/// `POST …/init/error`
async fn init_error(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Response {
    match read_report(&headers, body).await {
        Ok(failure) => api.exchange.init_failed(failure).map_or_else(refuse, |()| accepted()),
        Err(refused) => refused,
    }
}

/// An error counts however long its report is: of one that is too long only the header is known.
async fn read_report(headers: &HeaderMap, body: Body) -> Result<CallFailure, Response> {
    let error_type = headers.get(ERROR_TYPE).and_then(|name| name.to_str().ok());
    match read(body, MAX_REPORT_BYTES).await {
        Read::Whole(report, _) => Ok(failure::reported(error_type, &report)),
        Read::TooLarge(size) => {
            Ok(failure::reported(error_type, format!("its report has {size} bytes").as_bytes()))
        }
        Read::Broken => Err(truncated()),
    }
}

/// A request's body.
enum Read {
    /// With what came after it.
    Whole(Bytes, HeaderMap),
    /// So many bytes, none of them kept.
    TooLarge(u64),
    /// The connection broke.
    Broken,
}

/// Reads a body to its end, also one that is too large: a client that is not listened to would not hear the answer.
async fn read(mut body: Body, max_bytes: u64) -> Read {
    let mut size = 0;
    let mut kept = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        match frame.into_data() {
            Ok(data) => {
                size += data.len() as u64;
                if size <= max_bytes {
                    kept.extend_from_slice(&data);
                } else {
                    kept = Vec::new();
                }
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    if size > max_bytes { Read::TooLarge(size) } else { Read::Whole(kept.into(), trailers) }
}

fn accept(api: &Api, id: &str, answer: Answer) -> Response {
    api.exchange.answer(id, answer).map_or_else(refuse, |()| accepted())
}

fn accepted() -> Response {
    json_response(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.to_owned())
}

fn refuse(why: Refusal) -> Response {
    match why {
        Refusal::UnknownId => refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Refusal::WrongState => {
            let message = "State transition is not allowed: an event is still in progress, or was asked for";
            refusal(StatusCode::FORBIDDEN, "InvalidStateTransition", message)
        }
    }
}

fn too_large(max_bytes: u64) -> Response {
    let message = format!("Exceeded maximum allowed payload size ({max_bytes} bytes).");
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

fn truncated() -> Response {
    refusal(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "HTTP request detected as truncated")
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Response {
    json_response(status, json!({"errorMessage": message, "errorType": error_type}).to_string())
}

fn json_response(status: StatusCode, json: String) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
