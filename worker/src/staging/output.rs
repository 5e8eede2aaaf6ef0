//! The one object that a source is rewritten as.

use bytes::Bytes;
use warifu_common::model::protocol::RunFault;
use warifu_common::object_store::{ObjectLocation, PinnedObject, Upload};

use super::input::Shop;
use crate::fault;

/// Bytes of the first parts. Later ones are larger, so that ten thousand parts hold 293 GiB.
const FIRST_PART_BYTES: usize = 8 << 20;

/// After so many parts they are twice as large.
const PARTS_OF_A_SIZE: usize = 2_500;

/// The object, part by part. An object of less than a part is written at once.
pub(super) struct Output {
    shop: Shop,
    location: ObjectLocation,
    /// What is rewritten, for errors.
    source: String,
    upload: Option<Box<dyn Upload>>,
    part: Vec<u8>,
    parts: usize,
    size: u64,
    limit: u64,
}

impl Output {
    pub(super) fn new(shop: Shop, location: ObjectLocation, source: String, limit: u64) -> Self {
        Self { shop, location, source, upload: None, part: Vec::new(), parts: 0, size: 0, limit }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RunFault> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            let (source, limit) = (&self.source, self.limit);
            return Err(fault::unreadable_here(format!(
                "{source} takes more than {limit} bytes when it is rewritten to be cut; if it is no decompression bomb, \
                 raise [limits] max_staged_bytes of the coordinator"
            )));
        }
        self.part.extend_from_slice(bytes);
        let part_bytes = FIRST_PART_BYTES << (self.parts / PARTS_OF_A_SIZE).min(3);
        if self.part.len() >= part_bytes {
            self.send_part()?;
        }
        Ok(())
    }

    /// Makes the object.
    pub(super) fn finish(mut self) -> Result<PinnedObject, RunFault> {
        if self.parts == 0 {
            return self.put();
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        let upload = self.upload.take().expect("parts were sent");
        self.shop.runtime.block_on(upload.complete()).map_err(|error| fault::staging_failed(&error))
    }

    fn put(&mut self) -> Result<PinnedObject, RunFault> {
        let body = Bytes::from(std::mem::take(&mut self.part));
        let store = &self.shop.store;
        let location = &self.location;
        let written = self.shop.wait(|| store.put(location, body.clone(), "application/octet-stream"));
        let pinned = written.and_then(|_| self.shop.wait(|| store.pin(location, None, None)));
        pinned.map_err(|error| fault::staging_failed(&error))
    }

    fn send_part(&mut self) -> Result<(), RunFault> {
        let part = Bytes::from(std::mem::take(&mut self.part));
        let (store, location) = (&self.shop.store, &self.location);
        if self.upload.is_none() {
            let begun = self.shop.wait(|| store.begin_upload(location, "application/octet-stream"));
            self.upload = Some(begun.map_err(|error| fault::staging_failed(&error))?);
        }
        self.parts += 1;
        let upload = self.upload.as_mut().expect("it was just begun");
        self.shop.runtime.block_on(upload.put_part(part)).map_err(|error| fault::staging_failed(&error))
    }
}

/// What was not finished is given up.
impl Drop for Output {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.shop.runtime.block_on(upload.abort());
        }
    }
}
