//! S3 and S3-compatible stores behind [`ObjectStore`].
//!
//! `settings` makes a client (`trust` its HTTP part), `connection` owns it and the retries, `pace` how many requests are sent
//! at once, `answer` turns error answers into [`ObjectError`], `part` reads, `upload` writes in several requests; this file is one method per operation.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Object, RequestPayer};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use super::{
    Buffer, ListedObject, MissingThing, ObjectAction, ObjectError, ObjectLocation, ObjectStore, PinnedObject,
    StoredObject, Upload, check_put_size, check_range,
};

mod answer;
mod clock;
mod connection;
mod pace;
mod part;
mod settings;
mod trust;
mod upload;

use answer::Request;
use connection::Connection;
use part::Part;
pub use settings::{S3Encryption, S3Settings, S3Timeouts};
pub use trust::{CaCertificates, InvalidCaFile};
use upload::MultipartUpload;

/// Most keys that S3 lists in one answer.
const LIST_PAGE_KEYS: usize = 1_000;

/// A region that must not be named when a bucket is created in it.
const DEFAULT_REGION: &str = "us-east-1";

/// An S3 or S3-compatible store. Cheap to clone; clones share connections and the budget of retries.
#[derive(Clone)]
pub struct S3Store {
    connection: Arc<Connection>,
}

impl S3Store {
    /// Prepares a client. Sends nothing: wrong settings or missing credentials show at the first request.
    pub async fn connect(settings: S3Settings) -> Self {
        let store = Self::on_demand(settings);
        store.connection.current().await;
        store
    }

    /// Prepares a client when the first request needs one: for programs that may never send any.
    pub fn on_demand(settings: S3Settings) -> Self {
        Self { connection: Arc::new(Connection::new(settings)) }
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn pin(
        &self,
        location: &ObjectLocation,
        version_id: Option<&str>,
        expected_bucket_owner: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        let payer = self.connection.settings.request_payer();
        let head = Head { location, version_id, expected_bucket_owner, payer };
        self.connection.retrying(|client| head.send(client)).await
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        check_range(object, &range)?;
        let settings = &self.connection.settings;
        let length = (range.end - range.start) as usize;
        let mut parts = stream::iter(parts_of(object, range, settings.max_get_bytes))
            .map(|part| in_own_task(part.read(Arc::clone(&self.connection))))
            .buffered(settings.parallel_gets);
        let first = match parts.try_next().await? {
            None => return Ok(Bytes::new()),
            Some(first) if first.len() == length => return Ok(first.freeze()),
            Some(first) => first,
        };
        // Beside the whole at most the parts that are read at once are held.
        let mut whole = Buffer::with_capacity(length);
        whole.fill(first.as_ref());
        drop(first);
        while let Some(part) = parts.try_next().await? {
            whole.fill(part.as_ref());
        }
        Ok(whole.freeze())
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        let size = check_put_size(location, &body)?;
        let settings = &self.connection.settings;
        if size >= settings.multipart_threshold_bytes {
            return self.put_in_parts(location, &body, content_type).await;
        }
        let request = &Request::new(ObjectAction::Put, location);
        let timeouts = aws_sdk_s3::Config::builder().timeout_config(settings.timeout_config(size));
        let put = |client: Client| {
            let call = client
                .put_object()
                .bucket(&location.bucket)
                .key(&location.key)
                .content_type(content_type)
                .set_server_side_encryption(settings.server_side_encryption())
                .set_ssekms_key_id(settings.kms_key_id())
                .set_request_payer(settings.request_payer())
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(timeouts.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        let answer = self.connection.retrying(put).await?;
        Ok(StoredObject { size, etag: answer.e_tag.unwrap_or_default() })
    }

    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError> {
        Ok(Box::new(MultipartUpload::begin(self, location, content_type).await?))
    }

    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        self.abort_uploads_under(bucket, prefix).await
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        let request = &Request::new(ObjectAction::Delete, location);
        let delete = |client: Client| {
            let call = client
                .delete_object()
                .bucket(&location.bucket)
                .key(&location.key)
                .set_request_payer(self.connection.settings.request_payer());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        match self.connection.retrying(delete).await {
            Ok(_) | Err(ObjectError::NotFound { missing: MissingThing::Object, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        let mut listed = Vec::new();
        let mut next_page = None;
        while listed.len() < max_keys {
            let page_keys = LIST_PAGE_KEYS.min(max_keys - listed.len());
            let page = self.list_page(bucket, prefix, after, page_keys, next_page).await?;
            listed.extend(page.contents.unwrap_or_default().into_iter().filter_map(listed_object));
            next_page = page.next_continuation_token;
            if next_page.is_none() {
                break;
            }
        }
        listed.truncate(max_keys);
        Ok(listed)
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError> {
        let request = &Request::new(ObjectAction::CreateBucket, format!("s3://{bucket}"));
        let region = &self.connection.settings.region;
        self.connection
            .retrying(|client| async move {
                if client.head_bucket().bucket(bucket).send().await.is_ok() {
                    return Ok(());
                }
                let call = client
                    .create_bucket()
                    .bucket(bucket)
                    .set_create_bucket_configuration(bucket_configuration(region));
                match call.send().await {
                    Err(error) if !is_own_bucket(&error) => Err(request.failed(error)),
                    _ => Ok(()),
                }
            })
            .await
    }
}

impl S3Store {
    async fn list_page(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        page_keys: usize,
        page_token: Option<String>,
    ) -> Result<ListObjectsV2Output, ObjectError> {
        let request = &Request::new(ObjectAction::List, format!("s3://{bucket}/{prefix}"));
        let list = |client: Client| {
            let call = client
                .list_objects_v2()
                .bucket(bucket)
                .prefix(prefix)
                .max_keys(page_keys as i32)
                .set_start_after((!after.is_empty()).then(|| after.to_owned()))
                .set_request_payer(self.connection.settings.request_payer())
                .set_continuation_token(page_token.clone());
            async move { call.send().await.map_err(|error| request.failed(error)) }
        };
        self.connection.retrying(list).await
    }
}

/// A HEAD request for an object.
struct Head<'a> {
    location: &'a ObjectLocation,
    version_id: Option<&'a str>,
    expected_bucket_owner: Option<&'a str>,
    payer: Option<RequestPayer>,
}

impl Head<'_> {
    async fn send(&self, client: Client) -> Result<PinnedObject, ObjectError> {
        let request = Request::new(self.action(), self.location);
        let answer = client
            .head_object()
            .bucket(&self.location.bucket)
            .key(&self.location.key)
            .set_version_id(self.version_id.map(str::to_owned))
            .set_expected_bucket_owner(self.expected_bucket_owner.map(str::to_owned))
            .set_request_payer(self.payer.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => self.pinned(&request, answer),
            Err(error) => Err(self.explained(&client, request.failed(error)).await),
        }
    }

    fn action(&self) -> ObjectAction {
        if self.version_id.is_some() { ObjectAction::ReadVersion } else { ObjectAction::Pin }
    }

    fn pinned(&self, request: &Request<'_>, answer: HeadObjectOutput) -> Result<PinnedObject, ObjectError> {
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let (Some(etag), Some(size)) = (answer.e_tag, size) else {
            return Err(request.wrong_answer("it has no ETag or no size"));
        };
        let version_id = self.version_id.map(str::to_owned);
        if version_id.is_some() && answer.version_id.is_some() && version_id != answer.version_id {
            return Err(request.wrong_answer("it is another version than the named one"));
        }
        Ok(PinnedObject { location: self.location.clone(), version_id, etag, size })
    }

    /// The answer to HEAD has no body, so it says neither which thing is missing nor why it is refused. Ask again in a
    /// way that does; where that tells no more, keep the first error.
    async fn explained(&self, client: &Client, error: ObjectError) -> ObjectError {
        match error {
            ObjectError::NotFound { missing: MissingThing::Object, .. } => {
                self.missing_bucket(client).await.unwrap_or(error)
            }
            ObjectError::AccessDenied { .. } | ObjectError::Invalid { .. } => {
                self.refused_get(client).await.unwrap_or(error)
            }
            _ => error,
        }
    }

    async fn missing_bucket(&self, client: &Client) -> Option<ObjectError> {
        let error = client.head_bucket().bucket(&self.location.bucket).send().await.err()?;
        match Request::new(self.action(), self.location).failed(error) {
            ObjectError::NotFound { detail, .. } => Some(ObjectError::NotFound {
                missing: MissingThing::Bucket,
                place: format!("s3://{}", self.location.bucket),
                detail,
            }),
            _ => None,
        }
    }

    async fn refused_get(&self, client: &Client) -> Option<ObjectError> {
        let call = client
            .get_object()
            .bucket(&self.location.bucket)
            .key(&self.location.key)
            .set_version_id(self.version_id.map(str::to_owned))
            .set_expected_bucket_owner(self.expected_bucket_owner.map(str::to_owned))
            .set_request_payer(self.payer.clone())
            .range("bytes=0-0");
        let error = call.send().await.err()?;
        Some(Request::new(self.action(), self.location).failed(error))
    }
}

/// Cuts a range into parts of at most `max_get_bytes`.
fn parts_of(object: &PinnedObject, range: Range<u64>, max_get_bytes: u64) -> Vec<Part> {
    let object = Arc::new(object.clone());
    let mut parts = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + max_get_bytes);
        parts.push(Part::new(Arc::clone(&object), start..end));
        start = end;
    }
    parts
}

/// Runs a future as a task; the task ends with this one.
async fn in_own_task<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn(future);
    let outcome = task.join_next().await.expect("one task was just spawned");
    outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// `None` for what a listing must not lack but does: an object without a key cannot be read.
fn listed_object(object: Object) -> Option<ListedObject> {
    Some(ListedObject {
        key: object.key?,
        size: object.size.and_then(|size| u64::try_from(size).ok())?,
        etag: object.e_tag.unwrap_or_default(),
        last_modified_seconds: object.last_modified.map_or(0, |time| time.secs()),
        storage_class: object.storage_class.map(|class| class.as_str().to_owned()),
    })
}

fn bucket_configuration(region: &str) -> Option<CreateBucketConfiguration> {
    let constraint = BucketLocationConstraint::from(region);
    (region != DEFAULT_REGION)
        .then(|| CreateBucketConfiguration::builder().location_constraint(constraint).build())
}

fn is_own_bucket(
    error: &aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::create_bucket::CreateBucketError>,
) -> bool {
    error.as_service_error().is_some_and(|error| error.is_bucket_already_owned_by_you())
}
