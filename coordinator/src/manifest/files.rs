//! Files of a run's results, as the coordinator writes them: one object after another, each bounded.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinError;
use warifu_common::object_store::{MAX_PUT_BYTES, ObjectError, ObjectLocation, ObjectStore};
use warifu_common::result_file::FileForm;
use warifu_model::PartRef;
use warifu_scheduler::ManifestOrder;

/// A file begins anew when its entries reach this; half of what one request may carry.
const MAX_FILE_BYTES: usize = (MAX_PUT_BYTES / 2) as usize;

/// The largest manifest of an earlier redrive that is kept aside: no larger one can have been written.
const MAX_MANIFEST_BYTES: u64 = MAX_PUT_BYTES;

/// Attempts at each object, on top of those that the store makes itself, and the wait between them.
const ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_secs(2);

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const JSON_TYPE: &str = "application/json";

/// Why results cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The place does not take them.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A bug.
    #[error("a result file could not be encoded; report this as a bug")]
    Encode(#[source] JoinError),
}

/// A place to write files to.
pub(super) struct Writer<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) order: &'a ManifestOrder,
}

impl Writer<'_> {
    /// Copies the manifest that is there to `Redrive-k/`, once: after a crash it may already be the new one.
    pub(super) async fn keep_earlier_manifest(&self) -> Result<(), ObjectError> {
        if self.order.redrive == 0 {
            return Ok(());
        }
        let kept = format!("Redrive-{}/{MANIFEST}", self.order.redrive);
        if self.get(&kept).await?.is_some() {
            return Ok(());
        }
        match self.get(MANIFEST).await? {
            Some(earlier) => self.put(&kept, earlier, JSON_TYPE).await,
            // The run was stopped before it could write one.
            None => Ok(()),
        }
    }

    /// Writes an object, again if need be.
    pub(super) async fn put(&self, name: &str, body: Bytes, content_type: &str) -> Result<(), ObjectError> {
        let location = self.location(name);
        let mut attempt = 1;
        loop {
            match self.objects.put(&location, body.clone(), content_type).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::warn!(map_run_id = %self.order.map_run, %error, attempt, "writing results failed, trying again");
                    attempt += 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        match self.objects.get(&self.location(name), MAX_MANIFEST_BYTES).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn location(&self, name: &str) -> ObjectLocation {
        ObjectLocation::new(&self.order.bucket, self.key(name))
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.order.prefix)
    }
}

/// Entries of one kind, in as many files as they need; names carry the redrive, so that none replaces an earlier one.
pub(super) struct EntryFiles<'a> {
    writer: &'a Writer<'a>,
    kind: &'static str,
    form: FileForm,
    files: Vec<PartRef>,
    text: Vec<u8>,
    items: u64,
}

impl<'a> EntryFiles<'a> {
    pub(super) fn new(writer: &'a Writer<'a>, kind: &'static str) -> Self {
        let form = FileForm::of(writer.order.spec.result_writer.as_ref());
        Self { writer, kind, form, files: Vec::new(), text: Vec::new(), items: 0 }
    }

    /// Adds an entry that stands for `items`: `write` appends one JSON text with a line feed.
    pub(super) async fn add(
        &mut self,
        items: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), WriteError> {
        write(&mut self.text);
        self.items += items;
        if self.text.len() >= MAX_FILE_BYTES { self.end_file().await } else { Ok(()) }
    }

    /// Writes the rest.
    pub(super) async fn finish(mut self) -> Result<Vec<PartRef>, WriteError> {
        if !self.text.is_empty() {
            self.end_file().await?;
        }
        Ok(self.files)
    }

    async fn end_file(&mut self) -> Result<(), WriteError> {
        let suffix = if self.files.is_empty() { String::new() } else { format!("-{}", self.files.len()) };
        let (kind, redrive, form) = (self.kind, self.writer.order.redrive, self.form);
        let name = format!("{kind}_{redrive}{suffix}.{}", form.extension());
        let text = Bytes::from(std::mem::take(&mut self.text));
        let encoding = tokio::task::spawn_blocking(move || form.encode(&[text]));
        let body = encoding.await.map_err(WriteError::Encode)?;
        let size_bytes = body.len() as u64;
        self.writer.put(&name, body, form.content_type()).await?;
        self.files.push(PartRef { name, size_bytes, item_count: std::mem::take(&mut self.items) });
        Ok(())
    }
}
