//! Specifications: what users ask for, checked, with defaults filled in — and back.
//!
//! Reading collects every violation and goes on. What this version cannot do yet is refused with "… is not supported
//! yet", never ignored. Writing fills defaults in: what it writes reads back as the same specification.

mod batcher;
mod check;
mod compensation;
#[cfg(test)]
mod input_tests;
mod items;
mod labels;
mod limits;
mod processor;
mod reader;
mod templates;
#[cfg(test)]
mod tests;
mod to_wire;
mod writer;

use std::time::Duration;

use prost::Message as _;
use warifu_model::spec::{MAX_SPEC_BYTES, MapRunSpec};

use super::codec;
use super::v1;
use super::violation::{InvalidRequest, Violations};

pub(super) use compensation::trigger as compensation_trigger;
pub use limits::limits_update;

impl TryFrom<&v1::MapRunSpec> for MapRunSpec {
    type Error = InvalidRequest;

    fn try_from(spec: &v1::MapRunSpec) -> Result<Self, InvalidRequest> {
        let mut violations = Violations::default();
        check_size(spec, &mut violations);
        let input = check::free_form(spec.input.as_ref(), "spec.input", &mut violations).unwrap_or_default();
        let items = items::read(&spec.items, &mut violations);
        let wire_reader = spec.item_reader.as_ref();
        let item_reader = match &items {
            Some(_) => items::in_place_of(wire_reader, &mut violations),
            None => {
                let resolved = wire_reader.map(|reader| templates::resolved(reader, &input, &mut violations));
                reader::read(resolved.as_ref(), &mut violations)
            }
        };
        let item_selector =
            check::free_form(spec.item_selector.as_ref(), "spec.item_selector", &mut violations);
        let item_batcher = batcher::read(spec.item_batcher.as_ref(), &mut violations);
        let item_processor = processor::read(spec.item_processor.as_ref(), &mut violations);
        let adaptive_concurrency = limits::adaptive_concurrency(spec, &mut violations);
        let max_items_per_second = limits::max_items_per_second(spec, &mut violations);
        let tolerance = limits::tolerance(spec, &mut violations);
        let result_writer = writer::read(spec.result_writer.as_ref(), &mut violations);
        let compensation = compensation::read(spec.compensation.as_ref(), &mut violations);
        let labels = labels::read(&spec.labels, &mut violations);
        let (Some(item_reader), Some(item_processor)) = (item_reader, item_processor) else {
            return Err(violations.into_error());
        };
        let spec = MapRunSpec {
            item_reader,
            items,
            item_selector,
            item_batcher,
            item_processor,
            max_concurrency: limits::max_concurrency(spec),
            adaptive_concurrency,
            max_items_per_second,
            tolerance,
            timeout: (spec.timeout_seconds > 0).then(|| Duration::from_secs(spec.timeout_seconds.into())),
            result_writer,
            compensation,
            input,
            labels,
            trace_parent: None,
        };
        templates::check(&spec, &mut violations);
        violations.into_result(spec)
    }
}

/// The specification that a request must have.
pub fn required_spec(spec: Option<&v1::MapRunSpec>, field: &str) -> Result<MapRunSpec, InvalidRequest> {
    spec.ok_or_else(|| InvalidRequest::one(field, "is required"))?.try_into()
}

/// More bytes of JSON than any of a message becomes: two bytes of a field are its name and a number or the name of a value, one byte
/// of a list such a name, one byte of a text six.
const MAX_JSON_BYTES_OF_ONE: usize = 64;

fn check_size(spec: &v1::MapRunSpec, violations: &mut Violations) {
    // To make JSON of a message, the descriptors of all must be read: most of what a process does for its first run.
    if spec.encoded_len() <= MAX_SPEC_BYTES / MAX_JSON_BYTES_OF_ONE {
        return;
    }
    let json_bytes = codec::to_json(spec).to_string().len();
    violations.require(json_bytes <= MAX_SPEC_BYTES, "spec", || {
        format!("takes {json_bytes} bytes as JSON; at most {MAX_SPEC_BYTES} are allowed: put large data into an object")
    });
}
