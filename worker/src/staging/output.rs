//! The one object that a source is rewritten as.

use warifu_common::dataset::SourcedLines;
use warifu_common::model::protocol::RunFault;
use warifu_common::object_store::{Buffer, ObjectLocation, PinnedObject, Upload};

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
    /// What is not written yet: the one part that is held.
    part: Buffer,
    parts: usize,
    size: u64,
    limit: u64,
    /// Where each line says which object it comes from: what writes that before the lines of the object in hand.
    sourced: Option<SourcedLines>,
    /// What it made of the last bytes.
    lines: Vec<u8>,
}

impl Output {
    pub(super) fn new(shop: Shop, location: ObjectLocation, source: String, limit: u64) -> Self {
        Self {
            shop,
            location,
            source,
            upload: None,
            part: Buffer::with_capacity(0),
            parts: 0,
            size: 0,
            limit,
            sourced: None,
            lines: Vec::new(),
        }
    }

    /// What is written from now on are lines of the object at `source`, and each says so.
    pub(super) fn name_source(&mut self, source: &str) {
        self.sourced = Some(SourcedLines::new(source));
    }

    /// Writes a part of the object in hand.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), RunFault> {
        let Some(sourced) = &mut self.sourced else { return self.append(bytes) };
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        sourced.feed(bytes, &mut lines);
        let appended = self.append(&lines);
        self.lines = lines;
        appended
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), RunFault> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            let (source, limit) = (&self.source, self.limit);
            return Err(fault::unreadable_here(format!(
                "{source} takes more than {limit} bytes when it is rewritten to be cut; if it is no decompression bomb, \
                 raise [limits] max_staged_bytes of the coordinator"
            )));
        }
        while !bytes.is_empty() {
            if self.part.room() == 0 {
                self.send_part()?;
                self.part = Buffer::with_capacity(FIRST_PART_BYTES << (self.parts / PARTS_OF_A_SIZE).min(3));
            }
            bytes = self.part.fill(bytes);
        }
        Ok(())
    }

    /// Makes the object.
    pub(super) fn finish(mut self) -> Result<PinnedObject, RunFault> {
        if self.parts == 0 {
            return self.put();
        }
        self.send_part()?;
        let upload = self.upload.take().expect("parts were sent");
        self.shop.runtime.block_on(upload.complete()).map_err(|error| fault::staging_failed(&error))
    }

    fn put(&mut self) -> Result<PinnedObject, RunFault> {
        let body = self.take_part().freeze();
        let store = &self.shop.store;
        let location = &self.location;
        let written = self.shop.wait(|| store.put(location, body.clone(), "application/octet-stream"));
        let pinned = written.and_then(|_| self.shop.wait(|| store.pin(location, None, None)));
        pinned.map_err(|error| fault::staging_failed(&error))
    }

    fn take_part(&mut self) -> Buffer {
        std::mem::replace(&mut self.part, Buffer::with_capacity(0))
    }

    /// Writes the part that is held, if there is one.
    fn send_part(&mut self) -> Result<(), RunFault> {
        let part = self.take_part().freeze();
        if part.is_empty() {
            return Ok(());
        }
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
