//! Multipart uploads.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::answer::Request;
use super::{ObjectAction, ObjectError, ObjectLocation, ObjectStore, PinnedObject, S3Store};
use crate::object_store::{MAX_PARTS, Upload, check_put_size};

/// An upload of a single object.
pub(super) struct MultipartUpload {
    store: S3Store,
    location: ObjectLocation,
    id: String,
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
        let begin = |client: Client| {
            let call = client
                .create_multipart_upload()
                .bucket(&location.bucket)
                .key(&location.key)
                .content_type(content_type);
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let answer = store.connection.retrying(begin).await?;
        let id = answer.upload_id.ok_or_else(|| request.wrong_answer("the upload has no id"))?;
        Ok(Self { store: store.clone(), location: location.clone(), id, parts: Vec::new(), size: 0 })
    }
}

#[async_trait]
impl Upload for MultipartUpload {
    async fn put_part(&mut self, part: Bytes) -> Result<(), ObjectError> {
        let size = check_put_size(&self.location, &part)?;
        let request = &Request::new(ObjectAction::Put, &self.location);
        let number = self.parts.len() + 1;
        if number > MAX_PARTS as usize {
            let (place, reason) =
                (self.location.to_string(), format!("an object has at most {MAX_PARTS} parts"));
            return Err(ObjectError::Invalid { place, reason });
        }
        let number = number as i32;
        let connection = &self.store.connection;
        let timeouts = aws_sdk_s3::Config::builder().timeout_config(connection.settings.timeout_config(size));
        let put = |client: Client| {
            let call = client
                .upload_part()
                .bucket(&self.location.bucket)
                .key(&self.location.key)
                .upload_id(&self.id)
                .part_number(number)
                .body(ByteStream::from(part.clone()))
                .customize()
                .config_override(timeouts.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let answer = connection.retrying(put).await?;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build());
        self.size += size;
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<PinnedObject, ObjectError> {
        let request = &Request::new(ObjectAction::Put, &self.location);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let complete = |client: Client| {
            let call = client
                .complete_multipart_upload()
                .bucket(&self.location.bucket)
                .key(&self.location.key)
                .upload_id(&self.id)
                .multipart_upload(parts.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let completed = self.store.connection.retrying(complete).await;
        // A repetition of what had succeeded is answered with an error: what lies there decides.
        let pinned = match (completed, self.store.pin(&self.location, None, None).await) {
            (_, Ok(pinned)) => pinned,
            (Err(error), Err(_)) | (Ok(_), Err(error)) => {
                self.abort().await;
                return Err(error);
            }
        };
        if pinned.size != self.size {
            let reason = format!("it has {} bytes, {} were written", pinned.size, self.size);
            return Err(request.wrong_answer(reason));
        }
        Ok(pinned)
    }

    async fn abort(self: Box<Self>) {
        if let Err(error) = self.store.abort_upload(&self.location, &self.id).await {
            tracing::warn!(place = %self.location, %error, "an unfinished upload is left behind");
        }
    }
}

impl S3Store {
    async fn abort_upload(&self, location: &ObjectLocation, id: &str) -> Result<(), ObjectError> {
        let request = &Request::new(ObjectAction::Delete, location);
        let abort = |client: Client| {
            let call =
                client.abort_multipart_upload().bucket(&location.bucket).key(&location.key).upload_id(id);
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        match self.connection.retrying(abort).await {
            Ok(_) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives up the unfinished uploads under a prefix: the first page of them, as a store lists it.
    pub(super) async fn abort_uploads_under(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        let request = &Request::new(ObjectAction::List, format!("s3://{bucket}/{prefix}"));
        let list = |client: Client| {
            let call = client.list_multipart_uploads().bucket(bucket).prefix(prefix);
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let listed = self.connection.retrying(list).await?;
        for upload in listed.uploads.unwrap_or_default() {
            if let (Some(key), Some(id)) = (upload.key, upload.upload_id)
                && key.starts_with(prefix)
            {
                self.abort_upload(&ObjectLocation::new(bucket, key), &id).await?;
            }
        }
        Ok(())
    }
}
