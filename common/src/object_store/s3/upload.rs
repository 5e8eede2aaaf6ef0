//! Multipart uploads: objects that are written part by part, and large ones that are written at once.
//!
//! The answer to the request that makes an object of the parts can be lost, and its repetition is then answered as if there
//! had never been such an upload. So each upload writes a mark of its own into the object's metadata: whether the object that
//! lies there afterwards is this upload's own is read, not guessed.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::answer::Request;
use super::{
    MissingThing, ObjectAction, ObjectError, ObjectLocation, ObjectStore, PinnedObject, S3Store, StoredObject,
};
use crate::object_store::{MAX_PARTS, Upload, check_put_size, random_mark};

/// The key of the mark in an object's metadata.
const MARK: &str = "warifu-upload";

/// How often a large object is begun when its upload vanishes: someone cleans up unfinished ones.
const UPLOAD_ATTEMPTS: u32 = 3;

/// Making an object of the parts is waited for as for a body of at most so many bytes.
const MAX_COMPLETION_BYTES: u64 = 128 * 1024 * 1024;

/// Pages of unfinished uploads that are given up in one go, each of up to a thousand.
const MAX_SWEPT_PAGES: usize = 10;

/// An upload of a single object.
pub(super) struct MultipartUpload {
    store: S3Store,
    location: ObjectLocation,
    id: String,
    /// What tells this upload's object from any other.
    mark: String,
    parts: Vec<CompletedPart>,
    size: u64,
}

impl MultipartUpload {
    pub(super) async fn begin(
        store: &S3Store,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Self, ObjectError> {
        let request = &Request::new(ObjectAction::Put, location);
        let settings = &store.connection.settings;
        let mark = random_mark();
        let begin = |client: Client| {
            let call = client
                .create_multipart_upload()
                .bucket(&location.bucket)
                .key(&location.key)
                .content_type(content_type)
                .metadata(MARK, &mark)
                .set_server_side_encryption(settings.server_side_encryption())
                .set_ssekms_key_id(settings.kms_key_id())
                .set_request_payer(settings.request_payer());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let answer = store.connection.retrying(begin).await?;
        let id = answer.upload_id.ok_or_else(|| request.wrong_answer("the upload has no id"))?;
        let (store, location) = (store.clone(), location.clone());
        Ok(Self { store, location, id, mark, parts: Vec::new(), size: 0 })
    }

    /// Sends all of a body, several parts at once. They share its memory.
    async fn send_all(&mut self, body: &Bytes) -> Result<(), ObjectError> {
        let settings = &self.store.connection.settings;
        let step = settings.multipart_part_bytes as usize;
        let pieces =
            (0..body.len()).step_by(step).map(|start| body.slice(start..body.len().min(start + step)));
        let upload = &*self;
        let sent: Vec<CompletedPart> = stream::iter(pieces.enumerate())
            .map(|(index, piece)| upload.send_part(index as i32 + 1, piece))
            .buffered(settings.parallel_parts)
            .try_collect()
            .await?;
        self.parts = sent;
        self.size = body.len() as u64;
        Ok(())
    }

    async fn send_part(&self, number: i32, part: Bytes) -> Result<CompletedPart, ObjectError> {
        let size = check_put_size(&self.location, &part)?;
        let request = &Request::new(ObjectAction::Put, &self.location);
        let connection = &self.store.connection;
        let timeouts = aws_sdk_s3::Config::builder().timeout_config(connection.settings.timeout_config(size));
        let put = |client: Client| {
            let call = client
                .upload_part()
                .bucket(&self.location.bucket)
                .key(&self.location.key)
                .upload_id(&self.id)
                .part_number(number)
                .set_request_payer(connection.settings.request_payer())
                .body(ByteStream::from(part.clone()))
                .customize()
                .config_override(timeouts.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let answer = connection.retrying(put).await?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build())
    }

    /// Makes an object of the parts, and returns its ETag.
    async fn finish(&self) -> Result<String, ObjectError> {
        let request = &Request::new(ObjectAction::Put, &self.location);
        let connection = &self.store.connection;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let timeouts = connection.settings.timeout_config(self.size.min(MAX_COMPLETION_BYTES));
        let timeouts = aws_sdk_s3::Config::builder().timeout_config(timeouts);
        let complete = |client: Client| {
            let call = client
                .complete_multipart_upload()
                .bucket(&self.location.bucket)
                .key(&self.location.key)
                .upload_id(&self.id)
                .multipart_upload(parts.clone())
                .set_request_payer(connection.settings.request_payer())
                .customize()
                .config_override(timeouts.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        match connection.retrying(complete).await {
            Ok(answer) => Ok(answer.e_tag.unwrap_or_default()),
            Err(error) if leaves_doubt(&error) => self.own_object().await.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The ETag of what lies there, if it is this upload's object.
    async fn own_object(&self) -> Option<String> {
        let request = &Request::new(ObjectAction::Pin, &self.location);
        let connection = &self.store.connection;
        let look = |client: Client| {
            let call = client
                .head_object()
                .bucket(&self.location.bucket)
                .key(&self.location.key)
                .set_request_payer(connection.settings.request_payer());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let found = connection.retrying(look).await.ok()?;
        let mark = found.metadata.as_ref().and_then(|metadata| metadata.get(MARK));
        if mark == Some(&self.mark) { found.e_tag } else { None }
    }

    async fn give_up(&self) {
        if let Err(error) = self.store.abort_upload(&self.location, &self.id).await {
            tracing::warn!(place = %self.location, %error, "an unfinished upload is left behind");
        }
    }
}

/// The object may have been made: the answer was lost, or told of a repetition.
fn leaves_doubt(error: &ObjectError) -> bool {
    error.is_retryable() || matches!(error, ObjectError::NotFound { missing: MissingThing::Upload, .. })
}

#[async_trait]
impl Upload for MultipartUpload {
    async fn put_part(&mut self, part: Bytes) -> Result<(), ObjectError> {
        let number = self.parts.len() + 1;
        if number > MAX_PARTS as usize {
            let (place, reason) =
                (self.location.to_string(), format!("an object has at most {MAX_PARTS} parts"));
            return Err(ObjectError::Invalid { place, reason });
        }
        let size = part.len() as u64;
        let sent = self.send_part(number as i32, part).await?;
        self.parts.push(sent);
        self.size += size;
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<PinnedObject, ObjectError> {
        if let Err(error) = self.finish().await {
            self.give_up().await;
            return Err(error);
        }
        let pinned = self.store.pin(&self.location, None, None).await?;
        if pinned.size != self.size {
            let request = Request::new(ObjectAction::Put, &self.location);
            let reason = format!("it has {} bytes, {} were written", pinned.size, self.size);
            return Err(request.wrong_answer(reason));
        }
        Ok(pinned)
    }

    async fn abort(self: Box<Self>) {
        self.give_up().await;
    }
}

impl S3Store {
    /// Writes a whole object in parts: one that fails costs a part, not the object.
    pub(super) async fn put_in_parts(
        &self,
        location: &ObjectLocation,
        body: &Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        let mut attempt = 1;
        loop {
            let mut upload = MultipartUpload::begin(self, location, content_type).await?;
            let sent = upload.send_all(body).await;
            let finished = match sent {
                Ok(()) => upload.finish().await,
                Err(error) => Err(error),
            };
            match finished {
                Ok(etag) => return Ok(StoredObject { size: body.len() as u64, etag }),
                Err(ObjectError::NotFound { missing: MissingThing::Upload, .. })
                    if attempt < UPLOAD_ATTEMPTS =>
                {
                    tracing::warn!(place = %location, attempt, "an upload vanished, it is begun again");
                    attempt += 1;
                }
                Err(error) => {
                    upload.give_up().await;
                    return Err(error);
                }
            }
        }
    }

    async fn abort_upload(&self, location: &ObjectLocation, id: &str) -> Result<(), ObjectError> {
        let request = &Request::new(ObjectAction::AbortUpload, location);
        let payer = self.connection.settings.request_payer();
        let abort = |client: Client| {
            let call = client
                .abort_multipart_upload()
                .bucket(&location.bucket)
                .key(&location.key)
                .upload_id(id)
                .set_request_payer(payer.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        match self.connection.retrying(abort).await {
            Ok(_) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives up the unfinished uploads under a prefix, page by page, until there is none or [`MAX_SWEPT_PAGES`] are done.
    pub(super) async fn abort_uploads_under(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        for _ in 0..MAX_SWEPT_PAGES {
            if self.abort_page(bucket, prefix).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn abort_page(&self, bucket: &str, prefix: &str) -> Result<usize, ObjectError> {
        let request = &Request::new(ObjectAction::ListUploads, format!("s3://{bucket}/{prefix}"));
        let payer = self.connection.settings.request_payer();
        let list = |client: Client| {
            let call = client
                .list_multipart_uploads()
                .bucket(bucket)
                .prefix(prefix)
                .set_request_payer(payer.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let listed = self.connection.retrying(list).await?;
        let mut aborted = 0;
        for upload in listed.uploads.unwrap_or_default() {
            // A store that ignores the prefix lists those of others.
            if let (Some(key), Some(id)) = (upload.key, upload.upload_id)
                && key.starts_with(prefix)
            {
                self.abort_upload(&ObjectLocation::new(bucket, key), &id).await?;
                aborted += 1;
            }
        }
        Ok(aborted)
    }
}
