//! A batch of one record that this worker makes itself: handlers get it as any other.

use std::sync::Arc;

use warifu_common::dataset::{
    Batch, ByteRange, Checkpoint, CutRules, Header, RecordFormat, SpanReader, SpanShard, SpanStep,
};

/// The batch of `text`, which must be one whole record of `format`; of a CSV, the fields that `header` names.
pub(crate) fn batch_of_record(format: RecordFormat, header: Header, text: &str) -> Arc<Batch> {
    let bytes = text.len() as u64;
    let rules = CutRules {
        max_items: 1,
        max_input_bytes: u64::MAX,
        envelope_bytes: 0,
        header,
        format,
        sourced: false,
        max_record_bytes: bytes,
        shape: None,
    };
    let shard = SpanShard { range: ByteRange::new(0, bytes), ends_object: true, items: 1 };
    let start = Checkpoint { batch: 0, item: 0, offset: 0, newlines: 0 };
    match SpanReader::new(Arc::new(rules), shard, start).next_batch(text.as_bytes(), true) {
        Ok(SpanStep::Batch(batch)) => Arc::new(batch),
        step => unreachable!("what this worker writes is one record: {step:?}"),
    }
}
