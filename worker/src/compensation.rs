//! A run's compensation as a batch: one item that says what happened, made here and read from nowhere.
//!
//! A compensation reaches its slot as any batch does, over the lease's shelf, so that every handler and both event formats
//! work unchanged. All values are strings, as those of every item are.

use std::sync::Arc;

use warifu_common::dataset::{Batch, ByteRange, Header, RecordFormat};
use warifu_common::model::protocol::RunContext;
use warifu_common::model::{CompensationCall, HandlerName};
use warifu_common::object_store::ObjectLocation;

use crate::attempt::ShardStart;
use crate::handler::COMPENSATION_NUMBER;
use crate::made_batch::batch_of_record;

/// Where the batch stands in place of a shard.
pub(crate) const PLACE: ShardStart =
    ShardStart { item: COMPENSATION_NUMBER, batch: COMPENSATION_NUMBER, line: 0 };

/// The handler that is called for a lease of `run`.
pub(crate) fn handler_of(run: &RunContext, is_compensation: bool) -> &HandlerName {
    let compensation = run.spec.compensation.as_ref().filter(|_| is_compensation);
    compensation.map_or(&run.spec.item_processor.handler, |compensation| &compensation.handler)
}

/// The batch that the handler gets.
pub(crate) fn batch(run: &RunContext, call: &CompensationCall) -> Arc<Batch> {
    let (names, values): (Vec<_>, Vec<_>) = item(run, call).into_iter().unzip();
    let text = record(&values);
    let header =
        Header { names: names.into_iter().map(str::to_owned).collect(), range: ByteRange::new(0, 0) };
    batch_of_record(RecordFormat::default(), header, &text)
}

/// Names and values in the order in which handlers see them.
fn item(run: &RunContext, call: &CompensationCall) -> [(&'static str, String); 12] {
    let counts = &call.item_counts;
    let results = call.result_location.as_ref().map(|location| {
        let (bucket, key) = (&location.bucket, &location.manifest_key);
        ObjectLocation::new(bucket, key).to_string()
    });
    [
        ("mapRunId", run.map_run.to_string()),
        ("redrive", run.redrive.to_string()),
        ("reason", call.trigger.name().to_owned()),
        ("error", call.error.error.clone()),
        ("cause", call.error.cause.clone()),
        ("total", counts.total.to_string()),
        ("pending", counts.pending.to_string()),
        ("succeeded", counts.succeeded.to_string()),
        ("failed", counts.failed.to_string()),
        ("timedOut", counts.timed_out.to_string()),
        ("aborted", counts.aborted.to_string()),
        ("resultLocation", results.unwrap_or_default()),
    ]
}

/// A CSV record of quoted fields.
fn record(values: &[String]) -> String {
    let quoted = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use warifu_common::model::{CompensationTrigger, ItemCounts, ResultLocation, RunError};

    use super::*;
    use crate::testing::context;

    fn call(cause: &str) -> CompensationCall {
        CompensationCall {
            trigger: CompensationTrigger::ToleranceExceeded,
            error: RunError { error: "States.X".into(), cause: cause.into() },
            item_counts: ItemCounts { total: 9, failed: 2, succeeded: 7, ..ItemCounts::default() },
            result_location: Some(ResultLocation {
                bucket: "b".into(),
                manifest_key: "r/manifest.json".into(),
            }),
        }
    }

    #[test]
    fn the_item_says_what_happened_whatever_its_texts_hold() {
        for cause in ["", "a \"quoted\", cause\r\nof two lines", "\u{feff}割符", "\"", "\n"] {
            let batch = batch(&context(b"a\n"), &call(cause));
            let [item] = &batch.items[..] else { panic!("{batch:?}") };
            assert_eq!(item.get("cause").as_deref(), Some(cause));
            assert_eq!(item.get("reason").as_deref(), Some("TOLERANCE_EXCEEDED"));
            assert_eq!(item.get("resultLocation").as_deref(), Some("s3://b/r/manifest.json"));
            assert_eq!((item.get("failed"), item.get("timedOut")), (Some("2".into()), Some("0".into())));
            assert_eq!(batch.ordinal, 0);
        }
    }
}
