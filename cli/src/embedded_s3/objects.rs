//! The objects of the embedded store: `s3s-fs`, made safe for readers that pin an ETag.
//!
//! By itself `s3s-fs` ignores `If-Match` on reads; replaces an object's bytes and its ETag in two steps, between which a
//! reader gets one with the other; and copies over the very file that a reader may be streaming. Here conditions hold,
//! replacing an object excludes beginning to read it, and a file that was opened never changes. It also reads 4 KiB at a
//! time, which costs more than all else that a read does; here pieces are larger.
//!
//! **Invariant:** bytes are served only under the ETag of the object that they belong to. (Files changed behind the
//! server's back keep the ETag that was recorded; nothing can be done about that here.)

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{self, AtomicU64};

use anyhow::Context;
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio_util::io::ReaderStream;

use super::listing;

/// How many locks all keys share. Keys that meet in one only wait for each other's writes.
const LOCKS: usize = 1_024;

/// The most keys of a page, as S3 has it.
const MOST_KEYS: i32 = 1_000;

/// Bytes that are read of an object's file at once.
const PIECE_BYTES: usize = 256 * 1024;

/// A directory of buckets.
pub(super) struct Objects {
    files: FileSystem,
    root: PathBuf,
    locks: Vec<RwLock<()>>,
    /// Counts the files that [`Objects::detach_readers`] made, to name them.
    detached: AtomicU64,
}

impl Objects {
    /// Opens the directory `root`, which must exist.
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        let files = FileSystem::new(root).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let root = root.canonicalize().context("the directory has no canonical path")?;
        Ok(Self {
            files,
            root,
            locks: (0..LOCKS).map(|_| RwLock::new(())).collect(),
            detached: AtomicU64::new(0),
        })
    }

    /// The lock of an object: shared to open it together with its ETag, exclusive to replace both.
    fn lock(&self, bucket: &str, key: &str) -> &RwLock<()> {
        &self.locks[self.lock_number(bucket, key)]
    }

    fn lock_number(&self, bucket: &str, key: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        hasher.finish() as usize % self.locks.len()
    }

    /// Takes the lock of a copy's source shared and that of its target exclusively, in the order of their numbers, so
    /// that copies in both directions cannot wait for each other for ever.
    async fn lock_for_copy(
        &self,
        from: usize,
        to: usize,
    ) -> (Option<RwLockReadGuard<'_, ()>>, RwLockWriteGuard<'_, ()>) {
        match from.cmp(&to) {
            Ordering::Less => (Some(self.locks[from].read().await), self.locks[to].write().await),
            Ordering::Equal => (None, self.locks[to].write().await),
            Ordering::Greater => {
                let target = self.locks[to].write().await;
                (Some(self.locks[from].read().await), target)
            }
        }
    }

    /// Puts a copy of an object's file in its place. Whoever has it open keeps the old file; the new one may be
    /// overwritten. Needs the exclusive lock.
    async fn detach_readers(&self, bucket: &str, key: &str) -> S3Result<()> {
        let path = self.path(bucket, key).ok_or_else(|| {
            s3_error!(InvalidArgument, "this store takes no keys with `..`, or with a slash in front")
        })?;
        let number = self.detached.fetch_add(1, atomic::Ordering::Relaxed);
        let copy = self.root.join(format!(".tmp.detached-{number}.internal.part")); // removed at the next start
        if path.is_file() {
            tokio::fs::copy(&path, &copy).await.map_err(S3Error::internal_error)?;
            tokio::fs::rename(&copy, &path).await.map_err(S3Error::internal_error)?;
        }
        Ok(())
    }

    /// Where an object's file is. `None`: only `s3s-fs` knows where it puts such a key.
    fn path(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        let parts = Path::new(key).components();
        parts.clone().all(|part| matches!(part, Component::Normal(_))).then_some(())?;
        Some(self.root.join(bucket).join(parts.collect::<PathBuf>()))
    }

    /// `length` bytes of an object's file from the start of `range` on. Needs a lock, which its reader does not.
    async fn body(path: &Path, range: Option<Range>, length: u64) -> S3Result<StreamingBlob> {
        let mut file = File::open(path).await.map_err(|error| s3_error!(error, NoSuchKey))?;
        let size = file.metadata().await.map_err(S3Error::internal_error)?.len();
        let start = range.map_or(Ok(0), |range| range.check(size).map(|bytes| bytes.start))?;
        file.set_max_buf_size(PIECE_BYTES);
        file.seek(SeekFrom::Start(start)).await.map_err(S3Error::internal_error)?;
        Ok(StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), PIECE_BYTES)))
    }

    /// One object more than the page tells whether there is another page.
    async fn list_page(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        let max_keys = input.max_keys.unwrap_or(MOST_KEYS).clamp(0, MOST_KEYS);
        let most = usize::try_from(max_keys).map_err(S3Error::internal_error)?;
        let bucket = self.root.join(&input.bucket);
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = input.continuation_token.clone().max(input.start_after.clone());
        let listing =
            tokio::task::spawn_blocking(move || listing::list(&bucket, &prefix, marker.as_deref(), most + 1));
        let mut contents =
            listing.await.map_err(S3Error::internal_error)?.map_err(S3Error::internal_error)?;
        let is_truncated = most > 0 && contents.len() > most;
        contents.truncate(most);
        let last = contents.last().and_then(|object| object.key.clone());
        Ok(ListObjectsV2Output {
            key_count: Some(i32::try_from(contents.len()).map_err(S3Error::internal_error)?),
            max_keys: Some(max_keys),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            contents: (!contents.is_empty()).then_some(contents),
            continuation_token: input.continuation_token,
            // Keys are given as they are: who asked for an encoding sees that there is none.
            encoding_type: None,
            name: Some(input.bucket),
            prefix: input.prefix,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        })
    }

    /// A missing bucket is an error, not (as by itself) a new directory.
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.root.join(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }
}

/// Implements [`S3`] with the methods given, and the listed ones as `s3s-fs` has them.
macro_rules! objects_with {
    ([$($method:ident($input:ty) -> $output:ty;)*] $($changed:item)*) => {
        #[async_trait::async_trait]
        impl S3 for Objects {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$method(request).await
            })*
            $($changed)*
        }
    };
}

objects_with! {
    [
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
        create_bucket(CreateBucketInput) -> CreateBucketOutput;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        list_objects(ListObjectsInput) -> ListObjectsOutput;
        list_parts(ListPartsInput) -> ListPartsOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    ]

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let if_match = request.input.if_match.clone();
        let _opening = self.lock(&request.input.bucket, &request.input.key).read().await;
        let response = self.files.head_object(request).await?;
        check_if_match(if_match.as_ref(), response.output.e_tag.as_ref())?;
        Ok(response)
    }

    /// Returns with the file open; its bytes are streamed later, without a lock.
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let GetObjectInput { bucket, key, range, if_match, .. } = request.input.clone();
        let _opening = self.lock(&bucket, &key).read().await;
        let mut response = self.files.get_object(request).await?;
        check_if_match(if_match.as_ref(), response.output.e_tag.as_ref())?;
        let length = response.output.content_length.and_then(|length| u64::try_from(length).ok());
        if let (Some(path), Some(length)) = (self.path(&bucket, &key), length) {
            response.output.body = Some(Self::body(&path, range, length).await?);
        }
        Ok(response)
    }

    /// A page of keys by our own walk (see `listing`). What groups keys by a delimiter goes the slow way: only people ask so.
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        if request.input.delimiter.is_some() {
            return self.files.list_objects_v2(request).await;
        }
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(self.list_page(request.input).await?))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.check_bucket(&request.input.bucket)?;
        let _replacing = self.lock(&request.input.bucket, &request.input.key).write().await;
        self.files.put_object(request).await
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let CopySource::Bucket { bucket, key, .. } = &request.input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let from = (bucket.to_string(), key.to_string());
        let to = (request.input.bucket.clone(), request.input.key.clone());
        self.check_bucket(&to.0)?;
        let _copying = self.lock_for_copy(self.lock_number(&from.0, &from.1), self.lock_number(&to.0, &to.1)).await;
        if from != to {
            self.detach_readers(&to.0, &to.1).await?;
        }
        self.files.copy_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_bucket(&request.input.bucket)?;
        self.files.create_multipart_upload(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _replacing = self.lock(&request.input.bucket, &request.input.key).write().await;
        self.files.complete_multipart_upload(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let _replacing = self.lock(&request.input.bucket, &request.input.key).write().await;
        self.files.delete_object(request).await
    }
}

fn check_if_match(condition: Option<&ETagCondition>, etag: Option<&ETag>) -> S3Result<()> {
    match (condition, etag) {
        (None | Some(ETagCondition::Any), _) => Ok(()),
        (Some(ETagCondition::ETag(wanted)), Some(etag)) if wanted.strong_cmp(etag) => Ok(()),
        _ => Err(s3_error!(PreconditionFailed, "the object has another ETag")),
    }
}
