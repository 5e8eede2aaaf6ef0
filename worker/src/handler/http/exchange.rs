//! One request, and an answer of which no more is taken than there is room for.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use warifu_common::config::handlers::HttpConfig;
use warifu_common::error_chain::Chain;
use warifu_common::model::CallFailure;

use super::client::Client;

/// Bytes of a failed response's body that are looked at, and how long they are waited for: it is for the cause alone.
const FAILED_BODY_BYTES: u64 = 64 << 10;
const FAILED_BODY_PATIENCE: Duration = Duration::from_secs(5);

/// What a service answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Of a failed response, what came of it in time. `None`: a successful one's is larger than is taken.
    pub(super) body: Option<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// There was no connection: nothing was sent.
    NotConnected(String),
    /// The connection ended before the answer: the service may have done its work.
    Lost(String),
    /// `request_timeout` passed: the same.
    TimedOut,
}

impl Broken {
    pub(super) fn failure(self, config: &HttpConfig) -> CallFailure {
        let url = &config.url;
        match self {
            Self::NotConnected(reason) => {
                let cause = format!("{url} cannot be reached: {reason}");
                CallFailure::system("Http.ConnectFailed", cause)
            }
            Self::Lost(reason) => {
                let cause = format!("{url} did not answer completely: {reason}");
                CallFailure::system("Http.ConnectionLost", cause)
            }
            Self::TimedOut => {
                let seconds = config.request_timeout.unwrap_or_default().as_secs_f64();
                let cause = format!("{url} did not answer within {seconds} s, its request_timeout");
                CallFailure::system("Http.Timeout", cause)
            }
        }
    }
}

/// Sends `event` and takes the answer, within `request_timeout`.
pub(super) async fn exchange(
    client: &Client,
    config: &HttpConfig,
    headers: HeaderMap,
    event: Bytes,
) -> Result<Reply, Broken> {
    let mut request = Request::new(Full::new(event));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = config.url.uri().clone();
    *request.headers_mut() = headers;
    let exchanged = send(client, request, config.max_response_bytes);
    match config.request_timeout {
        Some(patience) => timeout(patience, exchanged).await.unwrap_or(Err(Broken::TimedOut)),
        // Whoever called cancels it at the attempt's end.
        None => exchanged.await,
    }
}

async fn send(
    client: &Client,
    request: Request<Full<Bytes>>,
    max_response_bytes: u64,
) -> Result<Reply, Broken> {
    let response = client.request(request).await.map_err(|error| {
        let reason = Chain(&error).to_string();
        if error.is_connect() { Broken::NotConnected(reason) } else { Broken::Lost(reason) }
    })?;
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let body = if parts.status.is_success() {
        let read = read_body(&mut body, max_response_bytes, &mut bytes).await;
        read.map_err(|error| Broken::Lost(Chain(&error).to_string()))?.then_some(bytes)
    } else {
        // Whatever became of it, what came is worth showing.
        let _ = timeout(FAILED_BODY_PATIENCE, read_body(&mut body, FAILED_BODY_BYTES, &mut bytes)).await;
        Some(bytes)
    };
    Ok(Reply { status: parts.status, headers: parts.headers, body })
}

/// Reads to the body's end; `false` as soon as it is known to have more than `max_bytes`, of which that many are there.
async fn read_body(body: &mut Incoming, max_bytes: u64, bytes: &mut Vec<u8>) -> hyper::Result<bool> {
    if body.size_hint().lower() > max_bytes {
        return Ok(false);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = usize::try_from(max_bytes).unwrap_or(usize::MAX) - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(false);
        }
    }
    Ok(true)
}
