//! How a coordinator reads a run's source where it has to: as a worker would, from the same specification.

use warifu_common::object_store::{ObjectLocation, PinnedObject};
use warifu_dataset::{Checkpoint, CutRules, Header, Item, Shape};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::MapRunSpec;
use warifu_model::template::{BatchHole, PayloadHole, RunTemplates, TemplateFacts};

/// The object that a run reads, for the object store.
pub(crate) fn pinned_object(pin: &SourcePin) -> PinnedObject {
    PinnedObject {
        location: ObjectLocation::new(&pin.bucket, &pin.key),
        version_id: pin.version_id.clone(),
        etag: pin.etag.clone(),
        size: pin.size_bytes,
    }
}

/// A pinned object, as a run keeps it.
pub(crate) fn source_pin(pinned: PinnedObject) -> SourcePin {
    SourcePin {
        bucket: pinned.location.bucket,
        key: pinned.location.key,
        version_id: pinned.version_id,
        etag: pinned.etag,
        size_bytes: pinned.size,
    }
}

/// A checkpoint before everything.
pub(crate) fn start(offset: u64) -> Checkpoint {
    Checkpoint { batch: 0, item: 0, offset, newlines: 0 }
}

/// What handlers are given of a run's items.
pub(crate) struct RunEvents {
    templates: RunTemplates,
    facts: TemplateFacts,
}

/// Items of one batch with their global indexes, and the batch's global number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventItems<'a> {
    pub(crate) batch_number: u64,
    pub(crate) items: &'a [(u64, Item)],
}

impl RunEvents {
    /// Of a run whose specification was checked.
    pub(crate) fn new(spec: &MapRunSpec, facts: TemplateFacts) -> Self {
        let templates = RunTemplates::new(spec, &facts);
        Self { templates: templates.expect("templates are checked when a specification is read"), facts }
    }

    /// How batches of the run are cut.
    pub(crate) fn cut_rules(&self, spec: &MapRunSpec, header: Header, max_record_bytes: u64) -> CutRules {
        self.templates.cut_rules(spec, header, max_record_bytes)
    }

    /// `{"BatchInput": …, "Items": […]}`, compact, as batches are measured.
    pub(crate) fn batch(&self, event: EventItems<'_>) -> String {
        let mut json = b"{".to_vec();
        if let Some(input) = &self.templates.batch_input {
            json.extend_from_slice(br#""BatchInput":"#);
            input.write(&mut json, |hole, out| self.fill(*hole, event, out));
            json.push(b',');
        }
        json.extend_from_slice(br#""Items":["#);
        for (place, (index, item)) in event.items.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            self.write_item(*index, item, &mut json);
        }
        json.extend_from_slice(b"]}");
        String::from_utf8_lossy(&json).into_owned()
    }

    /// An item as `itemSelector` shapes it; one that cannot be shaped as it is in the data.
    pub(crate) fn write_item(&self, index: u64, item: &Item, json: &mut Vec<u8>) {
        match self.templates.item.as_ref().filter(|shape| shape.unmatched(item).is_none()) {
            Some(shape) => shape.write_item(index, item, json),
            None => item.write_json(json),
        }
    }

    /// What the handler gets: the batch, or what `payload` makes of it.
    pub(crate) fn payload(&self, event: EventItems<'_>) -> String {
        let batch = self.batch(event);
        match &self.templates.payload {
            Some(payload) => self.reshaped(payload, event, &batch),
            None => batch,
        }
    }

    fn reshaped(&self, payload: &Shape<PayloadHole>, event: EventItems<'_>, batch: &str) -> String {
        let mut json = Vec::new();
        payload.write(&mut json, |hole, out| match hole {
            PayloadHole::Batch(hole) => self.fill(*hole, event, out),
            PayloadHole::Event(path) => {
                out.extend_from_slice(path.find_in_text(batch).unwrap_or("null").as_bytes());
            }
        });
        String::from_utf8_lossy(&json).into_owned()
    }

    fn fill(&self, hole: BatchHole, event: EventItems<'_>, out: &mut Vec<u8>) {
        hole.write(&self.facts.map_run, event.batch_number, event.items.len(), out);
    }
}
