//! The files that a manifest names: read from the store's log of parts, written as the manifest's lists.

use bytes::Bytes;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;
use warifu_common::object_store::MAX_PUT_BYTES;
use warifu_model::PartRef;
use warifu_scheduler::ManifestOrder;
use warifu_scheduler::record::PartsRecord;

use crate::state_store::{StateStore, StoreError};

/// What a file takes in a manifest beside prefix and name: spelling, indentation, and a short size.
const ENTRY_BYTES: usize = 60;

/// The files of a run that count.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Those with succeeded outputs, of all redrives.
    pub(super) succeeded: Vec<PartRef>,
    /// Those with final failures, of this redrive.
    pub(super) failed: Vec<PartRef>,
    /// There are more than a manifest can name.
    pub(super) left_out: bool,
}

/// A manifest would be larger than an object may be.
#[derive(Debug, thiserror::Error)]
#[error("it would name more result files than fit into {} MiB", MAX_PUT_BYTES >> 20)]
pub(super) struct TooManyParts;

impl Parts {
    /// Reads what `order` names, page by page. No more is kept than a manifest can name.
    pub(crate) async fn read(store: &dyn StateStore, order: &ManifestOrder) -> Result<Self, StoreError> {
        let mut parts = Self::default();
        let (mut entry, mut room) = (0, usize::try_from(MAX_PUT_BYTES).unwrap_or(usize::MAX));
        while entry < order.part_entries && !parts.left_out {
            let page = store.parts(&order.map_run, entry, order.part_entries).await?;
            entry += page.len() as u64;
            for record in page {
                parts.take(record, order, &mut room);
            }
        }
        Ok(parts)
    }

    fn take(&mut self, record: PartsRecord, order: &ManifestOrder, room: &mut usize) {
        // What failed before a redrive was run again by it.
        let failed = if record.redrive == order.redrive { record.failed } else { Vec::new() };
        let files = record.succeeded.iter().chain(&failed);
        let bytes: usize = files.map(|part| ENTRY_BYTES + order.prefix.len() + part.name.len()).sum();
        match room.checked_sub(bytes) {
            Some(rest) => *room = rest,
            None => return self.left_out = true,
        }
        self.succeeded.extend(record.succeeded);
        self.failed.extend(failed);
    }
}

/// `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Manifest<'a> {
    #[serde(rename = "DestinationBucket")]
    pub(super) bucket: &'a str,
    #[serde(rename = "MapRunArn")]
    pub(super) arn: String,
    #[serde(rename = "ResultFiles")]
    pub(super) files: ResultFiles<'a>,
    pub(super) summary: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct ResultFiles<'a> {
    pub(super) succeeded: Files<'a>,
    pub(super) failed: Files<'a>,
    pub(super) pending: Files<'a>,
}

impl Manifest<'_> {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers can be written as JSON");
        bytes.push(b'\n');
        bytes.into()
    }
}

/// Files below a prefix, by name: the order in which parts were counted would differ after a recovery.
pub(super) struct Files<'a> {
    prefix: &'a str,
    parts: Vec<PartRef>,
}

impl<'a> Files<'a> {
    pub(super) fn new(order: &'a ManifestOrder, mut parts: Vec<PartRef>) -> Self {
        parts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self { prefix: &order.prefix, parts }
    }
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.parts.iter().map(|part| File { prefix: self.prefix, part }))
    }
}

struct File<'a> {
    prefix: &'a str,
    part: &'a PartRef,
}

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut file = serializer.serialize_struct("File", 2)?;
        file.serialize_field("Key", &format_args!("{}{}", self.prefix, self.part.name))?;
        file.serialize_field("Size", &self.part.size_bytes)?;
        file.end()
    }
}
