//! What comes back of a JSON call: gRPC's messages and status as JSON.

use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use warifu_common::transport::MAX_MESSAGE_BYTES;
use warifu_common::wire::codec::{Method, failure_to_json};

use super::{PREFIX_BYTES, STREAMING, TIMEOUT, UNARY, within};

/// The flag of a stream's last message, which says how it ended.
const END_OF_STREAM: u8 = 0b10;
/// Of gRPC's answer, what means something to gRPC alone.
const GRPC_HEADERS: [&str; 4] = ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"];

/// A call that took longer than its caller wanted to wait.
pub(super) fn late(method: &Method) -> Response<Body> {
    let status = out_of_time();
    if !method.is_streaming() {
        return failure(&status);
    }
    let mut response = Response::new(Body::new(Full::from(end_of_stream(&status))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STREAMING));
    response
}

fn out_of_time() -> Status {
    Status::deadline_exceeded(format!("the time that {TIMEOUT} gives is over"))
}

/// A call that has failed, or one of which no answer began.
pub(super) fn failure(status: &Status) -> Response<Body> {
    json_response(http_status(status.code()), &failure_to_json(status), HeaderMap::new())
}

/// The one message of an answer, or why there is none.
pub(super) async fn single(
    method: &Method,
    response: Response<Body>,
    problem: &OnceLock<Status>,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let begun = Status::from_header_map(&head.headers);
    let read = Limited::new(body, MAX_MESSAGE_BYTES + PREFIX_BYTES).collect().await;
    if let Some(status) = problem.get() {
        return failure(status);
    }
    let read = match (begun, read) {
        (Some(status), _) if status.code() != Code::Ok => return failure(&status),
        (_, Err(error)) => return failure(&Status::from_error(error)),
        (_, Ok(read)) => read,
    };
    if let Some(status) = read.trailers().and_then(Status::from_header_map).filter(|s| s.code() != Code::Ok) {
        return failure(&status);
    }
    let bytes = read.to_bytes();
    let message = bytes.get(PREFIX_BYTES..).and_then(|message| method.decode_response(message));
    match message {
        Some(message) => {
            remove_grpc(&mut head.headers);
            json_response(StatusCode::OK, &message, head.headers)
        }
        None => failure(&Status::internal("the answer cannot be read")),
    }
}

/// The messages of an answer as they come, each after its prefix; the last one says how the stream ended.
pub(super) fn stream(
    method: Method,
    response: Response<Body>,
    problem: Arc<OnceLock<Status>>,
    deadline: Option<Instant>,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let begun = Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok);
    let messages =
        Messages { method, body, problem, deadline, buffered: BytesMut::new(), end: begun, is_over: false };
    let enveloped = futures::stream::unfold(messages, |mut messages| async move {
        let envelope = messages.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(envelope)), messages))
    });
    remove_grpc(&mut head.headers);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(STREAMING));
    head.status = StatusCode::OK;
    Response::from_parts(head, Body::new(StreamBody::new(enveloped)))
}

/// An answer's messages on their way.
struct Messages {
    method: Method,
    body: Body,
    problem: Arc<OnceLock<Status>>,
    deadline: Option<Instant>,
    /// The beginning of a message; never more than one of them and one frame of the body.
    buffered: BytesMut,
    /// How the stream ended, once that is known.
    end: Option<Status>,
    is_over: bool,
}

impl Messages {
    /// The next envelope; `None` after the last one.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            if let Some(message) = self.take_message() {
                match self.method.decode_response(&message) {
                    Some(json) => return Some(envelope(0, &json)),
                    None => self.end = Some(Status::internal("a message cannot be read")),
                }
            }
            if let Some(status) = self.end.take() {
                self.is_over = true;
                return Some(end_of_stream(self.problem.get().unwrap_or(&status)));
            }
            match within(self.deadline, self.body.frame()).await {
                Err(_) => self.end = Some(out_of_time()),
                Ok(Some(Ok(frame))) => self.take_frame(frame),
                Ok(Some(Err(status))) => self.end = Some(status),
                Ok(None) => self.end = Some(Status::unavailable("the stream broke off")),
            }
        }
        None
    }

    fn take_frame(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.buffered.extend_from_slice(&data),
            Err(frame) => self.end = frame.trailers_ref().and_then(Status::from_header_map),
        }
    }

    fn take_message(&mut self) -> Option<Bytes> {
        let mut prefix = self.buffered.get(..PREFIX_BYTES)?;
        let _flags = prefix.get_u8();
        let length = usize::try_from(prefix.get_u32()).ok()?;
        if self.buffered.len() - PREFIX_BYTES < length {
            return None;
        }
        self.buffered.advance(PREFIX_BYTES);
        Some(self.buffered.split_to(length).freeze())
    }
}

fn end_of_stream(status: &Status) -> Bytes {
    let end = match status.code() {
        Code::Ok => json!({}),
        _ => json!({ "error": failure_to_json(status) }),
    };
    envelope(END_OF_STREAM, &end)
}

fn envelope(flags: u8, json: &Json) -> Bytes {
    let text = json.to_string();
    let mut envelope = BytesMut::with_capacity(PREFIX_BYTES + text.len());
    envelope.put_u8(flags);
    envelope.put_u32(u32::try_from(text.len()).expect("a message's text is far below 4 GiB"));
    envelope.put_slice(text.as_bytes());
    envelope.freeze()
}

fn json_response(status: StatusCode, json: &Json, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(json.to_string())));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(UNARY));
    response
}

fn remove_grpc(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    for name in GRPC_HEADERS {
        headers.remove(HeaderName::from_static(name));
    }
}

/// The HTTP status of a failed call, by the Connect protocol.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}
