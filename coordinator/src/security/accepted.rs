//! Answers that go on for long: they end when their reader would not be let in any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use warifu_common::status::ApiError;

use super::{Authority, Principal, audit};

/// The body of an answer to somebody who was let in. Nothing of it is handed out once that would not be so any more: it ends
/// with UNAUTHENTICATED then.
pub(super) struct WhileAccepted {
    authority: Arc<Authority>,
    principal: Principal,
    method: String,
    /// Absent: it is over.
    body: Option<Body>,
}

impl WhileAccepted {
    pub(super) fn new(authority: Arc<Authority>, principal: Principal, method: String, body: Body) -> Self {
        Self { authority, principal, method, body: Some(body) }
    }
}

impl HttpBody for WhileAccepted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        let brings_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !brings_data || self.authority.still_accepts(&self.principal) {
            return Poll::Ready(frame);
        }
        self.body = None;
        audit::record(&self.principal, &self.method, "-", Code::Unauthenticated);
        let mut trailers = HeaderMap::new();
        let ended = Status::from(ApiError::Unauthenticated).add_header(&mut trailers);
        Poll::Ready(Some(ended.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // What is left out is not known before.
        SizeHint::default()
    }
}
