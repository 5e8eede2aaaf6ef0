//! `manifest.json`: which result files count.

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use warifu_common::object_store::ObjectLocation;

/// The statuses in the order in which they are shown.
const STATUSES: [&str; 3] = ["SUCCEEDED", "FAILED", "PENDING"];

/// A manifest as it was read.
pub(super) struct Manifest {
    bytes: Bytes,
    content: Value,
    bucket: String,
    files: Vec<ResultFile>,
}

/// A file that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResultFile {
    /// What the items in it came to.
    pub(super) status: String,
    /// Its key in the destination bucket.
    pub(super) key: String,
    /// Its bytes.
    pub(super) size: u64,
}

impl ResultFile {
    /// Its name without the prefix.
    pub(super) fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawManifest {
    destination_bucket: String,
    result_files: std::collections::BTreeMap<String, Vec<RawFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawFile {
    key: String,
    size: u64,
}

impl Manifest {
    /// Reads a manifest.
    pub(super) fn parse(bytes: Bytes) -> anyhow::Result<Self> {
        let content = serde_json::from_slice(&bytes)?;
        let mut raw: RawManifest = serde_json::from_slice(&bytes)?;
        let mut files = Vec::new();
        for status in STATUSES {
            for RawFile { key, size } in raw.result_files.remove(status).unwrap_or_default() {
                let name = key.rsplit('/').next().unwrap_or_default();
                // Names become file names of this machine.
                (!matches!(name, "" | "." | "..")).then_some(()).context("a key names no file")?;
                files.push(ResultFile { status: status.to_owned(), key, size });
            }
        }
        Ok(Self { bytes, content, bucket: raw.destination_bucket, files })
    }

    /// Where the files lie.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The files, by status.
    pub(super) fn files(&self) -> impl Iterator<Item = &ResultFile> {
        self.files.iter()
    }

    /// As it was read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The manifest and where it lies.
    pub(super) fn as_json(&self, location: &ObjectLocation) -> Value {
        json!({"bucket": location.bucket, "manifestKey": location.key, "manifest": self.content})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_status() {
        let text = r#"{"DestinationBucket": "output", "MapRunArn": "x", "ResultFiles": {
            "PENDING": [], "FAILED": [{"Key": "r/FAILED_1.jsonl", "Size": 5}],
            "SUCCEEDED": [{"Key": "r/SUCCEEDED_1.jsonl.gz", "Size": 7}]}, "Summary": {}}"#;
        let manifest = Manifest::parse(Bytes::from(text)).unwrap();
        let names: Vec<&str> = manifest.files().map(ResultFile::file_name).collect();
        assert_eq!(names, ["SUCCEEDED_1.jsonl.gz", "FAILED_1.jsonl"]);
        assert_eq!(manifest.bucket(), "output");
    }

    #[test]
    fn a_key_cannot_leave_the_directory() {
        let text =
            r#"{"DestinationBucket": "output", "ResultFiles": {"FAILED": [{"Key": "r/..", "Size": 5}]}}"#;
        assert!(Manifest::parse(Bytes::from(text)).is_err());
    }
}
