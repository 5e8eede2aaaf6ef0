//! Sources of many objects: listings, and what manifests name.

use serde::Deserialize;
use warifu_common::dataset::{CsvToJsonLines, Dialect, HeaderLocation};
use warifu_common::model::object_address;
use warifu_common::model::protocol::RunFault;
use warifu_common::model::template::ItemSource;
use warifu_common::object_store::{ListedObject, ObjectError, ObjectLocation, PinnedObject};

use super::output::Output;
use super::stage::Staging;
use crate::fault;

/// Objects that are listed at once.
const LIST_PAGE: usize = 1_000;

/// The longest manifest: it is held in memory.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// How bucket names are written in an S3 Inventory's manifest; the partition may differ.
const BUCKET_ARN: &str = ":s3:::";

/// `manifest.json` of S3 Inventory, as far as it matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InventoryManifest {
    destination_bucket: String,
    file_format: String,
    file_schema: String,
    files: Vec<InventoryFile>,
}

#[derive(Deserialize)]
struct InventoryFile {
    key: String,
}

impl Staging<'_> {
    /// Each object is an item, in AWS's words.
    pub(super) fn list(&self, output: &mut Output) -> Result<(), RunFault> {
        self.each_listed(|object| output.write(&listed_item(&object)))
    }

    /// Each object's items, one object after another.
    pub(super) fn flatten(&self, output: &mut Output) -> Result<(), RunFault> {
        let bucket = &self.run.context.spec.item_reader.bucket;
        self.each_listed(|object| {
            // A folder that a console made is an object of no bytes.
            if object.size == 0 {
                return Ok(());
            }
            let location = ObjectLocation::new(bucket, object.key);
            let pinned = self.pin(&location)?;
            // Not all stores list ETags.
            if !object.etag.is_empty() && pinned.etag != object.etag {
                let place = location.to_string();
                return Err(fault::source_unreadable(&ObjectError::Changed {
                    place,
                    pinned: object.etag,
                    seen: Some(pinned.etag),
                }));
            }
            self.begin(&pinned, output);
            self.lines_of(&pinned, output)
        })
    }

    /// The rows of the data files that an S3 Inventory's manifest names.
    pub(super) fn inventory(&self, output: &mut Output) -> Result<(), RunFault> {
        let place = &self.run.object.location;
        let text = self.manifest()?;
        let manifest: InventoryManifest = serde_json::from_slice(&text).map_err(|error| {
            fault::unreadable_here(format!("{place} is no manifest of S3 Inventory: {error}"))
        })?;
        if manifest.file_format != "CSV" {
            let format = &manifest.file_format;
            return Err(fault::unreadable_here(format!(
                "{place} names {format} files; only CSV is supported"
            )));
        }
        let names: Vec<String> = manifest.file_schema.split(',').map(|name| name.trim().to_owned()).collect();
        let bucket = match manifest.destination_bucket.split_once(BUCKET_ARN) {
            Some((_, bucket)) => bucket,
            None => &manifest.destination_bucket,
        };
        for file in manifest.files {
            let object = self.pin(&ObjectLocation::new(bucket, file.key))?;
            let location = HeaderLocation::Given(names.clone());
            self.begin(&object, output);
            self.csv(&object, CsvToJsonLines::new(Dialect::default(), location, self.run.limits()), output)?;
        }
        Ok(())
    }

    /// The items of the objects that a list names, an address a line.
    pub(super) fn named(&self, output: &mut Output) -> Result<(), RunFault> {
        let place = &self.run.object.location;
        let text = self.manifest()?;
        let text = std::str::from_utf8(&text)
            .map_err(|error| fault::unreadable_here(format!("{place} is no list of objects: {error}")))?;
        let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty());
        for (line, number) in lines {
            let location = line
                .parse()
                .map_err(|error| fault::unreadable_here(format!("{place}, line {number}: {error}")))?;
            let object = self.pin(&location)?;
            self.begin(&object, output);
            self.lines_of(&object, output)?;
        }
        Ok(())
    }

    /// Whatever is written next comes from `object`. Lines say so where the run's templates ask for it.
    fn begin(&self, object: &PinnedObject, output: &mut Output) {
        if self.run.context.template_facts().source == ItemSource::OfItem {
            output.name_source(&object_address(&object.location.bucket, &object.location.key));
        }
    }

    /// Pins one of the source's objects, if the cluster lets jobs read it. The owner that the job expects is that of the
    /// bucket that it names.
    fn pin(&self, location: &ObjectLocation) -> Result<PinnedObject, RunFault> {
        let checked = self.run.context.allowed.check_object(&location.bucket, &location.key);
        checked.map_err(|error| fault::unreadable_here(format!("{}: {error}", self.run.object.location)))?;
        let reader = &self.run.context.spec.item_reader;
        let owner = reader.expected_bucket_owner.as_deref().filter(|_| location.bucket == reader.bucket);
        self.shop.pin(location, owner)
    }

    fn manifest(&self) -> Result<Vec<u8>, RunFault> {
        let mut text = Vec::new();
        let place = &self.run.object.location;
        let checked = self.run.context.allowed.check_object(&place.bucket, &place.key);
        checked.map_err(|error| fault::unreadable_here(error.to_string()))?;
        self.shop.read_object(&self.run.object, |bytes| {
            text.extend_from_slice(bytes);
            if text.len() as u64 > MAX_MANIFEST_BYTES {
                let cause = format!("{place} is longer than a manifest may be, {MAX_MANIFEST_BYTES} bytes");
                return Err(fault::unreadable_here(cause));
            }
            Ok(())
        })?;
        Ok(text)
    }

    /// Visits what lies under the prefix, in the order of keys.
    fn each_listed(
        &self,
        mut visit: impl FnMut(ListedObject) -> Result<(), RunFault>,
    ) -> Result<(), RunFault> {
        let reader = &self.run.context.spec.item_reader;
        let checked = self.run.context.allowed.check_prefix(&reader.bucket, &reader.key);
        checked.map_err(|error| fault::unreadable_here(error.to_string()))?;
        let (store, mut after) = (&self.shop.store, String::new());
        loop {
            if self.shop.cancel.is_cancelled() {
                return Err(fault::unreadable_here("the run is over"));
            }
            let page = self
                .shop
                .wait(|| store.list_after(&reader.bucket, &reader.key, &after, LIST_PAGE))
                .map_err(|error| fault::source_unreadable(&error))?;
            let is_last = page.len() < LIST_PAGE;
            for object in page {
                after.clone_from(&object.key);
                visit(object)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// A listed object as AWS hands it to a child, and a line feed.
fn listed_item(object: &ListedObject) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (etag, key) = (text(&object.etag), text(&object.key));
    let class = text(object.storage_class.as_deref().unwrap_or("STANDARD"));
    let (time, size) = (object.last_modified_seconds as f64, object.size);
    format!(r#"{{"Etag":{etag},"Key":{key},"LastModified":{time:E},"Size":{size},"StorageClass":{class}}}"#)
        .into_bytes()
        .into_iter()
        .chain([b'\n'])
        .collect()
}
