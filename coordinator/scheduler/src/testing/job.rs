//! What the run of a story is to do.

use std::collections::BTreeMap;
use std::time::Duration;

use warifu_dataset::HeaderLocation;
use warifu_model::spec::{
    Compression, Delimiter, ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, ResultWriter,
};
use warifu_model::{Compensation, CompensationTrigger, Tolerance};

use super::story::name;

/// One batch of one item at a time, compensated for whatever it ends by.
pub(crate) fn spec() -> MapRunSpec {
    let on =
        [CompensationTrigger::ToleranceExceeded, CompensationTrigger::Error, CompensationTrigger::Stopped];
    MapRunSpec {
        item_reader: ItemReader {
            bucket: "b".into(),
            key: "k".into(),
            version_id: None,
            expected_bucket_owner: None,
            objects: Default::default(),
            form: Default::default(),
            encoding: Default::default(),
            header_location: HeaderLocation::FirstRow,
            delimiter: Delimiter::Comma,
            lenient_quotes: false,
            max_items: None,
            range: None,
        },
        items: None,
        item_selector: None,
        item_batcher: ItemBatcher {
            configured: true,
            max_items_per_batch: 1,
            max_input_bytes_per_batch: 1 << 18,
            batch_input: None,
            auto_size: None,
        },
        item_processor: ItemProcessor {
            handler: name("h"),
            timeout: Duration::from_secs(30),
            retry: Vec::new(),
            payload: None,
            output_path: None,
        },
        max_concurrency: Some(1),
        adaptive_concurrency: None,
        max_items_per_second: None,
        tolerance: Tolerance::default(),
        timeout: None,
        result_writer: Some(ResultWriter {
            bucket: "out".into(),
            prefix: String::new(),
            compression: Compression::None,
            ..ResultWriter::default()
        }),
        compensation: Some(Compensation { handler: name("undo"), on: on.into() }),
        input: Default::default(),
        labels: BTreeMap::new(),
        trace_parent: None,
    }
}
