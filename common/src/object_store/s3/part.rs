//! One part of a read: a ranged GET, the proof that its answer is the bytes asked for, and resuming where it was cut.

use std::ops::Range;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::{Instant, timeout_at};

use super::answer::Request;
use super::connection::Connection;
use super::settings::{S3Settings, S3Timeouts};
use crate::object_store::{Buffer, ObjectError, PinnedObject};

/// An attempt that brought at least this fraction of a part does not count as a failed one: a network that cuts every
/// connection after a while is read through. So a part takes at most so many attempts more.
const PROGRESS_FRACTION: usize = 16;

/// Bytes of a pinned object that are asked for in one GET, and the memory that they go to.
pub(super) struct Part {
    object: Arc<PinnedObject>,
    range: Range<u64>,
    /// Holds what was read so far, from the start of the range; has room for all of it.
    buffer: Buffer,
}

impl Part {
    /// A part of which nothing was read yet, nor memory taken for it.
    pub(super) fn new(object: Arc<PinnedObject>, range: Range<u64>) -> Self {
        Self { object, range, buffer: Buffer::with_capacity(0) }
    }

    /// Reads the part, and returns its memory filled to the last byte.
    ///
    /// Runs as a task of its own: nothing that the reader does meanwhile can stall the body.
    pub(super) async fn read(mut self, connection: Arc<Connection>) -> Result<Buffer, ObjectError> {
        self.buffer = Buffer::with_capacity(self.wanted());
        let mut attempts = connection.attempts();
        loop {
            let already = self.buffer.len();
            let client = attempts.begin().await;
            match self.read_what_is_missing(&client, &connection.settings).await {
                Ok(()) => return Ok(attempts.succeed(self.buffer)),
                Err(error) => {
                    if self.buffer.len() - already >= self.wanted().div_ceil(PROGRESS_FRACTION) {
                        attempts.note_progress();
                    }
                    attempts.wait_after(error).await?;
                }
            }
        }
    }

    fn wanted(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    async fn read_what_is_missing(
        &mut self,
        client: &Client,
        settings: &S3Settings,
    ) -> Result<(), ObjectError> {
        let missing = self.range.start + self.buffer.len() as u64..self.range.end;
        let object = Arc::clone(&self.object);
        let request = Request::read(&object);
        let answer = client
            .get_object()
            .bucket(&object.location.bucket)
            .key(&object.location.key)
            .set_version_id(object.version_id.clone())
            .if_match(&object.etag)
            .range(format!("bytes={}-{}", missing.start, missing.end - 1))
            .set_request_payer(settings.request_payer())
            .send()
            .await
            .map_err(|error| request.failed(error))?;
        check_answer(&request, &object, &missing, &answer)?;
        self.drain(&request, answer.body, &settings.timeouts).await
    }

    /// Takes the body as fast as it comes. What arrived before an error stays: the answer's head was proven.
    async fn drain(
        &mut self,
        request: &Request<'_>,
        mut body: ByteStream,
        timeouts: &S3Timeouts,
    ) -> Result<(), ObjectError> {
        let wanted = self.wanted();
        let already = self.buffer.len();
        let body_deadline = Instant::now() + timeouts.body;
        while self.buffer.len() < wanted {
            let deadline = body_deadline.min(Instant::now() + timeouts.stall);
            let cut = |how: String| {
                request.interrupted(format!("the body {how} after {} of {wanted} bytes", self.buffer.len()))
            };
            match timeout_at(deadline, body.next()).await {
                Err(_) => return Err(cut("stalled".to_owned())),
                Ok(None) => return Err(cut("ended".to_owned())),
                Ok(Some(Err(error))) => return Err(cut(format!("broke off ({error})"))),
                Ok(Some(Ok(piece))) if self.buffer.len() + piece.len() > wanted => {
                    self.buffer.truncate(already);
                    return Err(
                        request.wrong_answer(format!("its body is longer than the {wanted} bytes asked for"))
                    );
                }
                Ok(Some(Ok(piece))) => {
                    self.buffer.fill(&piece);
                }
            }
        }
        Ok(())
    }
}

/// Proves that an answer is `missing` of the pinned object, whatever the store made of `If-Match` and `Range`.
fn check_answer(
    request: &Request<'_>,
    object: &PinnedObject,
    missing: &Range<u64>,
    answer: &GetObjectOutput,
) -> Result<(), ObjectError> {
    if answer.e_tag() != Some(&object.etag) {
        return Err(request.changed(answer.e_tag().map(str::to_owned)));
    }
    if let (Some(pinned), Some(seen)) = (object.version_id.as_deref(), answer.version_id())
        && pinned != seen
    {
        return Err(request.wrong_answer(format!("it is version {seen}, not the named {pinned}")));
    }
    check_range(request, object, missing, answer.content_range())?;
    let wanted = missing.end - missing.start;
    match answer.content_length() {
        Some(length) if u64::try_from(length) != Ok(wanted) => {
            Err(request.wrong_answer(format!("it announces {length} bytes, not the {wanted} asked for")))
        }
        _ => Ok(()),
    }
}

/// Without Content-Range the answer is the whole object (a store may ignore `Range`): only right if all was asked for.
fn check_range(
    request: &Request<'_>,
    object: &PinnedObject,
    missing: &Range<u64>,
    content_range: Option<&str>,
) -> Result<(), ObjectError> {
    let (first, last, size) = (missing.start, missing.end - 1, object.size);
    match content_range {
        None if *missing == (0..size) => Ok(()),
        None => Err(request.wrong_answer(format!(
            "it is the whole object, not bytes {first}-{last}; use a store that serves ranges"
        ))),
        Some(text) if text == format!("bytes {first}-{last}/{size}") => Ok(()),
        Some(text) => Err(request.wrong_answer(format!("it is `{text}`, not `bytes {first}-{last}/{size}`"))),
    }
}
