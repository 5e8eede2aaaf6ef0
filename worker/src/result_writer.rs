//! Puts the lines of a report's batches into result files and uploads them.
//!
//! A part holds outcomes of one lease, has a name of its own for ever (`SUCCEEDED_TERM-EPOCH-K`), and counts only once the
//! coordinator has accepted the report that names it. What a crash leaves behind is never looked at.

use std::sync::Arc;

use bytes::Bytes;
use warifu_common::model::protocol::RunFault;
use warifu_common::model::{LeaseId, PartRef, ReportNumber};
use warifu_common::object_store::{ObjectLocation, ObjectStore};
use warifu_common::result_file::FileForm;
use warifu_session::StoredParts;

use crate::fault;
use crate::lines::{BatchLines, Lines};
use crate::run::OpenRun;
use crate::source::with_patience;

/// The parts of one report, before they are stored.
pub(crate) struct PartsOrder {
    pub(crate) run: Arc<OpenRun>,
    pub(crate) lease: LeaseId,
    pub(crate) number: ReportNumber,
    pub(crate) lines: Vec<BatchLines>,
}

/// Encodes and uploads the parts of a report.
pub(crate) async fn store_parts(
    store: Arc<dyn ObjectStore>,
    order: PartsOrder,
) -> Result<StoredParts, RunFault> {
    let context = Arc::clone(&order.run.context);
    let (succeeded, failed) = order.file_lines();
    let (inline_outputs, inline_outputs_truncated) = order.inline_outputs(context.inline_output_bytes);
    let (bucket, prefix) = context.results.as_ref().unwrap_or(&context.failures);
    let upload = Upload { store: &*store, bucket, prefix, order: &order };
    Ok(StoredParts {
        succeeded: upload.store_part("SUCCEEDED", succeeded).await?,
        failed: upload.store_part("FAILED", failed).await?,
        inline_outputs,
        inline_outputs_truncated,
    })
}

impl PartsOrder {
    fn file_lines(&self) -> (FileLines, FileLines) {
        (
            self.lines.iter().map(|lines| &lines.succeeded).collect(),
            self.lines.iter().map(|lines| &lines.failed).collect(),
        )
    }

    fn inline_outputs(&self, max_bytes: u64) -> (Vec<String>, bool) {
        let mut left = max_bytes;
        let mut taken = Vec::new();
        let mut truncated = self.lines.iter().any(|lines| lines.inline_truncated);
        for output in self.lines.iter().flat_map(|lines| &lines.inline) {
            let size = output.len() as u64 + 1;
            if size > left {
                truncated = true;
                break;
            }
            left -= size;
            taken.push(output.clone());
        }
        (taken, truncated)
    }

    fn form(&self) -> FileForm {
        FileForm::of(self.run.context.spec.result_writer.as_ref())
    }
}

/// The lines of a file as its batches left them, one after another.
#[derive(Debug, Default)]
struct FileLines {
    parts: Vec<Bytes>,
    /// Items that they stand for.
    count: u64,
}

impl<'a> FromIterator<&'a Lines> for FileLines {
    fn from_iter<I: IntoIterator<Item = &'a Lines>>(lines: I) -> Self {
        let mut file = Self::default();
        for lines in lines {
            file.count += lines.count;
            if !lines.text.is_empty() {
                file.parts.push(lines.text.clone());
            }
        }
        file
    }
}

struct Upload<'a> {
    store: &'a dyn ObjectStore,
    bucket: &'a str,
    prefix: &'a str,
    order: &'a PartsOrder,
}

impl Upload<'_> {
    async fn store_part(&self, class: &str, lines: FileLines) -> Result<Option<PartRef>, RunFault> {
        // Outputs that are empty arrays leave nothing to write.
        if lines.parts.is_empty() {
            return Ok(None);
        }
        let form = self.order.form();
        let name = part_name(class, self.order.lease, self.order.number, form);
        let location = ObjectLocation::new(self.bucket, format!("{}{name}", self.prefix));
        let body = encode(form, lines.parts).await?;
        let stored = with_patience(|| self.store.put(&location, body.clone(), form.content_type())).await;
        let stored = stored.map_err(|error| fault::results_unwritable(&error))?;
        Ok(Some(PartRef { name, size_bytes: stored.size, item_count: lines.count }))
    }
}

fn part_name(class: &str, lease: LeaseId, number: ReportNumber, form: FileForm) -> String {
    format!("{class}_{lease}-{number}.{}", form.extension())
}

async fn encode(form: FileForm, parts: Vec<Bytes>) -> Result<Bytes, RunFault> {
    if form == FileForm::default() {
        return Ok(form.encode(&parts));
    }
    tokio::task::spawn_blocking(move || form.encode(&parts))
        .await
        .map_err(|_| fault::unreadable_here("a result file could not be encoded; report this as a bug"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use warifu_common::model::error_name;
    use warifu_common::model::spec::{Compression, OutputType, ResultWriter};

    use super::*;
    use crate::testing::{MemoryStore, context, lease_id, open_run};

    fn lines(text: &'static str) -> Lines {
        Lines { text: Bytes::from_static(text.as_bytes()), count: text.lines().count() as u64 }
    }

    fn order(compression: Compression, lines: Vec<BatchLines>) -> PartsOrder {
        let mut context = context(b"a\n");
        context.spec.result_writer = Some(ResultWriter {
            bucket: "output".into(),
            prefix: "results/".into(),
            compression,
            ..ResultWriter::default()
        });
        PartsOrder { run: open_run(context), lease: lease_id(9), number: ReportNumber(2), lines }
    }

    #[tokio::test]
    async fn a_part_holds_the_lines_of_its_reports_batches() {
        let store = Arc::new(MemoryStore::default());
        let batches = vec![
            BatchLines { succeeded: lines("1\n2\n"), ..BatchLines::default() },
            BatchLines { succeeded: lines("3\n"), failed: lines("4\n"), ..BatchLines::default() },
        ];
        let parts = store_parts(store.clone(), order(Compression::None, batches)).await.unwrap();
        let part = |name: &str, size_bytes, item_count| {
            Some(PartRef { name: name.to_owned(), size_bytes, item_count })
        };
        assert_eq!(parts.succeeded, part("SUCCEEDED_3-9-2.jsonl", 6, 3));
        assert_eq!(parts.failed, part("FAILED_3-9-2.jsonl", 2, 1));
        assert_eq!(store.text("results/run-1/SUCCEEDED_3-9-2.jsonl").unwrap(), "1\n2\n3\n");
        assert_eq!(store.text("results/run-1/FAILED_3-9-2.jsonl").unwrap(), "4\n");
    }

    #[tokio::test]
    async fn nothing_is_uploaded_for_nothing() {
        let store = Arc::new(MemoryStore::default());
        let parts =
            store_parts(store.clone(), order(Compression::None, vec![BatchLines::default()])).await.unwrap();
        assert_eq!((parts.succeeded, parts.failed), (None, None));
        assert!(store.objects.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn gzip_parts_are_gzip() {
        let store = Arc::new(MemoryStore::default());
        let batches = vec![BatchLines { succeeded: lines("1\n"), ..BatchLines::default() }];
        let parts = store_parts(store.clone(), order(Compression::Gzip, batches)).await.unwrap();
        assert_eq!(parts.succeeded.unwrap().name, "SUCCEEDED_3-9-2.jsonl.gz");
        let objects = store.objects.lock().unwrap();
        let mut text = String::new();
        let body = objects.values().next().unwrap();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "1\n");
    }

    #[tokio::test]
    async fn a_part_of_json_is_an_array_and_nothing_is_stored_for_items_without_text() {
        let store = Arc::new(MemoryStore::default());
        let failed = Lines { text: Bytes::new(), count: 3 };
        let batches = vec![
            BatchLines { succeeded: lines("1\n2\n"), failed, ..BatchLines::default() },
            BatchLines { succeeded: lines("3\n"), ..BatchLines::default() },
        ];
        let mut order = order(Compression::None, batches);
        let mut context = context(b"a\n");
        context.spec.result_writer = Some(ResultWriter {
            bucket: "output".into(),
            prefix: "results/".into(),
            output_type: OutputType::Json,
            ..ResultWriter::default()
        });
        order.run = open_run(context);
        let parts = store_parts(store.clone(), order).await.unwrap();
        assert_eq!((parts.succeeded.unwrap().item_count, parts.failed), (3, None));
        assert_eq!(store.text("results/run-1/SUCCEEDED_3-9-2.json").unwrap(), "[1,2,3]");
    }

    #[tokio::test]
    async fn results_that_cannot_be_written_end_the_run() {
        let store = Arc::new(MemoryStore::default());
        *store.failures_left.lock().unwrap() = 1;
        let batches = vec![BatchLines { failed: lines("1\n"), ..BatchLines::default() }];
        let fault = store_parts(store, order(Compression::None, batches)).await.unwrap_err();
        assert_eq!(fault.error, error_name::RESULT_WRITER_FAILED);
    }
}
