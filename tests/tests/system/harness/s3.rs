//! An ordinary S3 client: what users have, not what the engine has.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use tokio::runtime::{Builder, Runtime};

/// A client of one endpoint, for code that does not await.
pub(crate) struct S3 {
    client: Client,
    runtime: Runtime,
}

impl S3 {
    /// A client with the SDK's defaults.
    pub(crate) fn connect(endpoint: &str, access_key: &str, secret_key: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
            .force_path_style(true)
            .build();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { client: Client::from_conf(config), runtime }
    }

    /// Creates a bucket.
    #[track_caller]
    pub(crate) fn create_bucket(&self, bucket: &str) {
        self.runtime.block_on(self.client.create_bucket().bucket(bucket).send()).unwrap();
    }

    /// Puts an object, and returns its version's id where the bucket keeps versions.
    #[track_caller]
    pub(crate) fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) -> Option<String> {
        let put = self.client.put_object().bucket(bucket).key(key).body(ByteStream::from(body.into()));
        self.runtime.block_on(put.send()).unwrap().version_id
    }

    /// Makes a bucket, unless it is there; false if the server does not answer yet.
    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        let there = || self.runtime.block_on(self.client.head_bucket().bucket(bucket).send()).is_ok();
        there() || self.runtime.block_on(self.client.create_bucket().bucket(bucket).send()).is_ok()
    }

    /// Makes a bucket keep what is replaced.
    #[track_caller]
    pub(crate) fn keep_versions(&self, bucket: &str) {
        let kept = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let put = self.client.put_bucket_versioning().bucket(bucket).versioning_configuration(kept);
        self.runtime.block_on(put.send()).unwrap();
    }

    /// Begins an upload in parts that nobody finishes.
    #[track_caller]
    pub(crate) fn begin_upload(&self, bucket: &str, key: &str) {
        let begin = self.client.create_multipart_upload().bucket(bucket).key(key);
        self.runtime.block_on(begin.send()).unwrap();
    }

    /// The keys of uploads that are not finished.
    #[track_caller]
    pub(crate) fn unfinished_uploads(&self, bucket: &str) -> Vec<String> {
        let listed = self.runtime.block_on(self.client.list_multipart_uploads().bucket(bucket).send());
        let uploads = listed.unwrap().uploads.unwrap_or_default();
        uploads.into_iter().filter_map(|upload| upload.key).collect()
    }

    /// ETags of objects whose keys begin with `prefix`.
    #[track_caller]
    pub(crate) fn etags(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let list = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let listed = self.runtime.block_on(list.send()).unwrap();
        listed.contents().iter().filter_map(|object| object.e_tag().map(str::to_owned)).collect()
    }

    /// Gets an object.
    #[track_caller]
    pub(crate) fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let object = self.client.get_object().bucket(bucket).key(key).send().await.unwrap();
            object.body.collect().await.unwrap().to_vec()
        })
    }

    /// Keys that begin with `prefix`.
    #[track_caller]
    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let list = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let listed = self.runtime.block_on(list.send()).unwrap();
        listed.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect()
    }
}
