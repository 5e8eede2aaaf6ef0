//! How an S3 store is reached, and the SDK configuration made of it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{RequestPayer, ServerSideEncryption};

use super::clock::NoteSigningTime;
use super::trust::{CaCertificates, InvalidCaFile};
use crate::config::{S3Config, S3Encryption as ConfiguredEncryption};
use crate::object_store::RetryPolicy;

/// Attempts of the SDK within one of ours: it knows throttling and clock skew best, but not bodies.
const SDK_MAX_ATTEMPTS: u32 = 3;

/// The slowest upload that is waited for: the first byte of the answer to a PUT comes after the whole body was sent.
const SLOWEST_UPLOAD_BYTES_PER_SECOND: u64 = 256 * 1024;

/// How an S3 store is reached, and with what patience.
#[derive(Clone)]
pub struct S3Settings {
    /// The region, such as `eu-west-1`. Stores other than AWS mostly take any.
    pub region: String,
    /// The store's URL; absent for AWS (or what the environment names).
    pub endpoint_url: Option<String>,
    /// Names the bucket in the path, not in the host name: what most stores other than AWS want.
    pub force_path_style: bool,
    /// Access key and secret key of the embedded store. Absent: the usual AWS chain.
    pub credentials: Option<(String, String)>,
    /// Where credentials come from in place of the usual AWS chain, for programs that have their own way. It is asked again
    /// before they expire, and when the store refuses them as expired.
    pub credentials_provider: Option<SharedCredentialsProvider>,
    /// Authorities that are trusted beside the machine's own.
    pub ca: Option<CaCertificates>,
    /// How the store is told to encrypt what is written. Absent: as the bucket says.
    pub encryption: Option<S3Encryption>,
    /// Buckets whose owner lets requesters pay are used at the expense of these credentials.
    pub requester_pays: bool,
    /// How long an answer is waited for.
    pub timeouts: S3Timeouts,
    /// How often and how soon a failed request is sent again.
    pub retry: RetryPolicy,
    /// Most bytes of one GET. Larger reads are split: a cut body then costs little, and parts come in parallel.
    pub max_get_bytes: u64,
    /// Most GETs at once for one read.
    pub parallel_gets: usize,
    /// Objects of at least so many bytes are written in parts.
    pub multipart_threshold_bytes: u64,
    /// The bytes of each part but the last.
    pub multipart_part_bytes: u64,
    /// Most parts at once of one object. They share its memory.
    pub parallel_parts: usize,
}

/// How the store is told to encrypt what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Encryption {
    /// With keys of S3 (`AES256`).
    S3Keys,
    /// With a key of KMS: this one, or the account's own for S3.
    KmsKey(Option<String>),
}

/// How long an answer of the store is waited for.
#[derive(Debug, Clone)]
pub struct S3Timeouts {
    /// Until a connection is open.
    pub connect: Duration,
    /// From the request until the answer begins. A PUT is given more, by its size.
    pub answer: Duration,
    /// Between two pieces of a body. A body that stalls for longer is given up and resumed where it stopped.
    pub stall: Duration,
    /// For the whole body of one GET, however steadily it trickles.
    pub body: Duration,
}

impl Default for S3Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            stall: Duration::from_secs(15),
            body: Duration::from_secs(300),
        }
    }
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            endpoint_url: None,
            force_path_style: false,
            credentials: None,
            credentials_provider: None,
            ca: None,
            encryption: None,
            requester_pays: false,
            timeouts: S3Timeouts::default(),
            retry: RetryPolicy::default(),
            max_get_bytes: 16 * 1024 * 1024,
            parallel_gets: 4,
            multipart_threshold_bytes: 32 * 1024 * 1024,
            multipart_part_bytes: 8 * 1024 * 1024,
            parallel_parts: 4,
        }
    }
}

impl S3Settings {
    /// What a configuration says. A file of certificates is read; the region is the configured one, or the default.
    pub fn configured(config: &S3Config) -> Result<Self, InvalidCaFile> {
        let defaults = Self::default();
        let options = &config.options;
        Ok(Self {
            region: config.region.clone().unwrap_or(defaults.region),
            endpoint_url: config.endpoint_url.clone(),
            force_path_style: config.force_path_style,
            ca: options.ca_file.as_deref().map(|path: &Path| CaCertificates::read(path)).transpose()?,
            encryption: options.server_side_encryption.map(|encryption| match encryption {
                ConfiguredEncryption::Aes256 => S3Encryption::S3Keys,
                ConfiguredEncryption::AwsKms => S3Encryption::KmsKey(options.kms_key_id.clone()),
            }),
            requester_pays: options.request_payer.is_some(),
            multipart_threshold_bytes: options.multipart_threshold_bytes,
            multipart_part_bytes: options.multipart_part_bytes,
            timeouts: S3Timeouts { stall: options.stall_timeout, ..defaults.timeouts },
            ..Self::default()
        })
    }

    /// Makes a client. Reads files and environment; sends nothing.
    pub(super) async fn client(&self) -> Client {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .timeout_config(self.timeout_config(0));
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(ca) = &self.ca {
            loader = loader.http_client(ca.http_client());
        }
        if let Some(provider) = &self.credentials_provider {
            loader = loader.credentials_provider(provider.clone());
        }
        if let Some((access_key, secret_key)) = &self.credentials {
            loader =
                loader.credentials_provider(Credentials::new(access_key, secret_key, None, None, "settings"));
        }
        Client::from_conf(self.s3_config(&loader.load().await).build())
    }

    fn s3_config(&self, shared: &aws_config::SdkConfig) -> Builder {
        Builder::from(shared)
            .app_name(AppName::new("warifu").expect("a plain word is an application name"))
            .force_path_style(self.force_path_style)
            // The default adds CRC32 trailers, which many compatible stores refuse. The payload's SHA-256 is signed.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // It takes a client that is slow to send, or a store that is slow to write, for a stalled one.
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().upload_enabled(false).build())
            .interceptor(NoteSigningTime)
            .retry_config(self.sdk_retry_config())
            // By default all clients of a region share one bucket, so one failing store would stop retries to others.
            .retry_partition(RetryPartition::custom("warifu").token_bucket(TokenBucket::default()).build())
    }

    fn sdk_retry_config(&self) -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(SDK_MAX_ATTEMPTS)
            .with_initial_backoff(self.retry.first_delay)
            .with_max_backoff(self.retry.max_delay)
    }

    /// Who pays for requests; `None`: the bucket's owner.
    pub(super) fn request_payer(&self) -> Option<RequestPayer> {
        self.requester_pays.then_some(RequestPayer::Requester)
    }

    /// How what is written is encrypted.
    pub(super) fn server_side_encryption(&self) -> Option<ServerSideEncryption> {
        self.encryption.as_ref().map(|encryption| match encryption {
            S3Encryption::S3Keys => ServerSideEncryption::Aes256,
            S3Encryption::KmsKey(_) => ServerSideEncryption::AwsKms,
        })
    }

    /// With which key of KMS.
    pub(super) fn kms_key_id(&self) -> Option<String> {
        match &self.encryption {
            Some(S3Encryption::KmsKey(id)) => id.clone(),
            Some(S3Encryption::S3Keys) | None => None,
        }
    }

    /// The timeouts of a request that sends `body_bytes`.
    pub(super) fn timeout_config(&self, body_bytes: u64) -> TimeoutConfig {
        let upload = Duration::from_secs(body_bytes / SLOWEST_UPLOAD_BYTES_PER_SECOND);
        TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.answer + upload)
            .build()
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("region", &self.region)
            .field("endpoint_url", &self.endpoint_url)
            .field("force_path_style", &self.force_path_style)
            .field("access_key", &self.credentials.as_ref().map(|(access_key, _)| access_key))
            .finish_non_exhaustive()
    }
}
