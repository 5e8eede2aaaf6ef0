//! How a coordinator reads a run's source where it has to: as a worker would, from the same specification.

use warifu_common::object_store::{ObjectLocation, PinnedObject};
use warifu_dataset::{Checkpoint, CutRules, Dialect, Item, Probe};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::MapRunSpec;

/// The object that a run reads, for the object store.
pub(crate) fn pinned_object(pin: &SourcePin) -> PinnedObject {
    PinnedObject {
        location: ObjectLocation::new(&pin.bucket, &pin.key),
        version_id: pin.version_id.clone(),
        etag: pin.etag.clone(),
        size: pin.size_bytes,
    }
}

/// How a specification reads its object.
pub(crate) fn dialect(spec: &MapRunSpec) -> Dialect {
    Dialect { delimiter: spec.item_reader.delimiter.byte(), lenient_quotes: spec.item_reader.lenient_quotes }
}

/// How batches of a run are cut.
pub(crate) fn cut_rules(spec: &MapRunSpec, probe: Probe, max_record_bytes: u64) -> CutRules {
    CutRules {
        max_items: spec.item_batcher.max_items_per_batch,
        max_input_bytes: spec.item_batcher.max_input_bytes_per_batch,
        envelope_bytes: spec.item_batcher.envelope_bytes(),
        header: probe.header,
        dialect: dialect(spec),
        max_record_bytes,
    }
}

/// A checkpoint before everything.
pub(crate) fn start(offset: u64) -> Checkpoint {
    Checkpoint { batch: 0, item: 0, offset, newlines: 0 }
}

/// `{"BatchInput": …, "Items": […]}`, compact, as batches are measured.
pub(crate) fn event<'a>(spec: &MapRunSpec, items: impl Iterator<Item = &'a Item>) -> String {
    let mut json = b"{".to_vec();
    if let Some(input) = &spec.item_batcher.batch_input {
        json.extend_from_slice(br#""BatchInput":"#);
        json.extend_from_slice(serde_json::Value::Object(input.clone()).to_string().as_bytes());
        json.push(b',');
    }
    json.extend_from_slice(br#""Items":["#);
    for (index, item) in items.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        item.write_json(&mut json);
    }
    json.extend_from_slice(b"]}");
    String::from_utf8_lossy(&json).into_owned()
}
