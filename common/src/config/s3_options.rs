//! The keys of `[s3]` that say how requests are made: encryption, who pays, trust, patience, and the size of parts.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::parts::serialize_duration;
use super::section::Section;
use crate::object_store::{MAX_PUT_BYTES, MIN_PART_BYTES, S3Settings};

/// Less is a pause that every store makes, more is longer than a body may take.
const STALL_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;

/// How requests to S3 are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct S3Options {
    /// Authorities that are trusted beside the machine's own, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How the store is told to encrypt what is written. Absent: as the bucket says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<S3Encryption>,
    /// The key of `aws:kms`. Absent: the account's own for S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Set for buckets whose owner lets requesters pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_payer: Option<S3RequestPayer>,
    /// Objects of at least so many bytes are written in parts.
    pub multipart_threshold_bytes: u64,
    /// The bytes of each part but the last.
    pub multipart_part_bytes: u64,
    /// How long a body may bring nothing before it is asked for again from where it stopped.
    #[serde(serialize_with = "serialize_duration")]
    pub stall_timeout: Duration,
}

/// Encryption by the store, as S3 spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum S3Encryption {
    /// With keys of S3.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of KMS.
    #[serde(rename = "aws:kms")]
    AwsKms,
}

/// Who pays for requests, as S3 spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum S3RequestPayer {
    /// The owner of the credentials.
    Requester,
}

impl S3Options {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let defaults = S3Settings::default();
        let encryptions = [("AES256", S3Encryption::Aes256), ("aws:kms", S3Encryption::AwsKms)];
        let server_side_encryption = section.choice("server_side_encryption", &encryptions);
        let kms_key_id = section.filled_text("kms_key_id");
        if kms_key_id.is_some() && server_side_encryption != Some(S3Encryption::AwsKms) {
            section.problem("kms_key_id", "goes with server_side_encryption = \"aws:kms\" only");
        }
        let mut part_bytes =
            |key, default| section.integer(key, MIN_PART_BYTES, MAX_PUT_BYTES).unwrap_or(default);
        let multipart_threshold_bytes =
            part_bytes("multipart_threshold_bytes", defaults.multipart_threshold_bytes);
        let multipart_part_bytes = part_bytes("multipart_part_bytes", defaults.multipart_part_bytes);
        let stall_timeout = section.duration("stall_timeout").unwrap_or(defaults.timeouts.stall);
        if !STALL_SECONDS.contains(&stall_timeout.as_secs()) {
            let (least, most) = STALL_SECONDS.into_inner();
            section.problem("stall_timeout", format!("must be from {least}s to {most}s"));
        }
        Self {
            ca_file: section.path("ca_file"),
            server_side_encryption,
            kms_key_id,
            request_payer: section.choice("request_payer", &[("requester", S3RequestPayer::Requester)]),
            multipart_threshold_bytes,
            multipart_part_bytes,
            stall_timeout,
        }
    }
}
