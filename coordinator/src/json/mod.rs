//! The API as JSON over HTTP: the Connect protocol, before all that guards and answers gRPC calls.
//!
//! A layer that makes a gRPC call of a JSON call and a JSON answer of what comes back. Whoever stands behind it sees gRPC
//! alone, so who may call, what is logged and who leads is decided once. The request's body is read only when somebody behind
//! asks for it: a caller who is refused has cost no memory.

mod answer;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, TE};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, Version};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;
use tonic::body::Body;
use warifu_common::status::ApiError;
use warifu_common::wire::codec::{MAX_TEXT_BYTES, Method};

use crate::intercept::{Intercept, Services};

/// A call with one message as its answer.
const UNARY: &str = "application/json";
/// A call with any number of messages as its answer.
const STREAMING: &str = "application/connect+json";
/// Before each message of a stream: flags, and the length of what follows in bytes.
const PREFIX_BYTES: usize = 5;
/// How long a call may take, in milliseconds. It is kept here: gRPC's own `grpc-timeout` is looked at before all layers.
const TIMEOUT: &str = "connect-timeout-ms";
/// As the protocol has it.
const MAX_TIMEOUT_DIGITS: usize = 10;
/// A request's body that takes longer to come is not waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Lets calls come as JSON, too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonCalls;

impl Intercept for JsonCalls {
    async fn intercept<S: Services>(
        self,
        mut services: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, S::Error> {
        let Some(kind) = content_type(request.headers()) else { return services.call(request).await };
        let call = match Call::begin(request, kind) {
            Ok(call) => call,
            Err(status) => return Ok(answer::failure(&status)),
        };
        let (method, problem, deadline) = (call.method, call.problem, call.deadline);
        let Ok(response) = within(deadline, services.call(call.request)).await else {
            return Ok(answer::late(&method));
        };
        let response = response?;
        if method.is_streaming() {
            return Ok(answer::stream(method, response, problem, deadline));
        }
        let answered = within(deadline, answer::single(&method, response, &problem)).await;
        Ok(answered.unwrap_or_else(|_| answer::late(&method)))
    }
}

/// Waits until the deadline, if there is one.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Result<F::Output, Elapsed> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await,
        None => Ok(future.await),
    }
}

/// A JSON call that has been understood as far as its headers say.
struct Call {
    method: Method,
    /// When its caller does not wait any more.
    deadline: Option<Instant>,
    request: Request<Body>,
    /// Why its body could not be read as the method's request. Whoever reads the body sees only that it broke.
    problem: Arc<OnceLock<Status>>,
}

/// Which of the two kinds of JSON calls it is; `None` for all others.
fn content_type(headers: &HeaderMap) -> Option<&'static str> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    [UNARY, STREAMING].into_iter().find(|known| kind.eq_ignore_ascii_case(known))
}

impl Call {
    fn begin(request: Request<Body>, kind: &str) -> Result<Self, Box<Status>> {
        let refuse = |status: Status| Err(Box::new(status));
        let path = request.uri().path();
        let Some(method) = Method::at(path) else {
            return refuse(Status::unimplemented(format!("there is no method {path} for JSON calls")));
        };
        if request.method() != HttpMethod::POST {
            return refuse(Status::unimplemented("calls are POST requests"));
        }
        let wanted = if method.is_streaming() { STREAMING } else { UNARY };
        if kind != wanted {
            return refuse(Status::invalid_argument(format!("the content type of this method is {wanted}")));
        }
        // A browser sends it on behalf of a page, which may be anybody's.
        if request.headers().contains_key(ORIGIN) {
            return refuse(Status::permission_denied("calls from pages in a browser are not taken"));
        }
        let encoding = request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        if encoding.is_some_and(|encoding| encoding != b"identity") {
            return refuse(Status::unimplemented("requests are not taken compressed"));
        }
        let deadline =
            deadline(request.headers()).map_err(|message| Box::new(Status::invalid_argument(message)))?;
        let problem = Arc::default();
        let request = as_grpc(request, method.clone(), Arc::clone(&problem));
        Ok(Self { method, deadline, request, problem })
    }
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, String> {
    let Some(timeout) = headers.get(TIMEOUT) else { return Ok(None) };
    let text = timeout.to_str().ok().filter(|text| text.len() <= MAX_TIMEOUT_DIGITS);
    let milliseconds = text.and_then(|text| text.parse().ok());
    let milliseconds = milliseconds
        .ok_or_else(|| format!("{TIMEOUT} is a number of at most {MAX_TIMEOUT_DIGITS} digits"))?;
    Ok(Some(Instant::now() + Duration::from_millis(milliseconds)))
}

/// The same call as gRPC makes it.
fn as_grpc(request: Request<Body>, method: Method, problem: Arc<OnceLock<Status>>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(CONTENT_ENCODING);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(TE, HeaderValue::from_static("trailers"));
    let message = async move {
        let read = read_request(&method, body).await;
        read.map(http_body::Frame::data).inspect_err(|status| {
            let _ = problem.set(status.clone());
        })
    };
    Request::from_parts(head, Body::new(StreamBody::new(futures::stream::once(message))))
}

/// The gRPC message of a JSON body.
async fn read_request(method: &Method, body: Body) -> Result<Bytes, Status> {
    let most = MAX_TEXT_BYTES + PREFIX_BYTES;
    let read = timeout(BODY_PATIENCE, Limited::new(body, most).collect()).await;
    let read = read.map_err(|_| Status::deadline_exceeded(format!("no body within {BODY_PATIENCE:?}")))?;
    let text = read.map_err(|error| Status::invalid_argument(format!("the body was not read: {error}")))?;
    let text = text.to_bytes();
    let text = if method.is_streaming() { only_message(&text)? } else { &text };
    let message = method.encode_request(text).map_err(|error| Status::from(ApiError::Invalid(error)))?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).map_err(|_| Status::resource_exhausted("too large"))?);
    framed.put_slice(&message);
    Ok(framed.freeze())
}

/// What the one envelope of a request holds.
fn only_message(enveloped: &[u8]) -> Result<&[u8], Status> {
    let form = || {
        Status::invalid_argument("write one uncompressed message after its five bytes of flags and length")
    };
    let (prefix, message) = enveloped.split_at_checked(PREFIX_BYTES).ok_or_else(form)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    let fits = prefix[0] == 0 && usize::try_from(length).is_ok_and(|length| length == message.len());
    if fits { Ok(message) } else { Err(form()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let never = futures::stream::pending::<Result<http_body::Frame<Bytes>, Status>>();
        let method = Method::at("/warifu.v1.MapRunService/GetMapRun").unwrap();
        let status = read_request(&method, Body::new(StreamBody::new(never))).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
