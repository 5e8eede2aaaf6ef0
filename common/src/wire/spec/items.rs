//! `items`, in place of `itemReader`.

use prost_types::Value;
use serde_json::Value as Json;
use warifu_dataset::MAX_JSON_DEPTH;
use warifu_model::spec::ItemReader;

use super::check;
use crate::wire::codec::value_to_json;
use crate::wire::v1;
use crate::wire::violation::Violations;

/// The items that the job gives, if it gives any.
pub(super) fn read(items: &[Value], violations: &mut Violations) -> Option<Vec<Json>> {
    let read = |(index, item): (usize, &Value)| {
        let field = format!("spec.items[{index}]");
        violations.require(is_shallow(item, MAX_JSON_DEPTH), &field, || {
            format!("is nested deeper than {MAX_JSON_DEPTH} levels")
        });
        check::free_form_value(item, &field, violations);
        value_to_json(item)
    };
    (!items.is_empty()).then(|| items.iter().enumerate().map(read).collect())
}

/// What stands in place of a source that must not be there.
pub(super) fn in_place_of(
    reader: Option<&v1::ItemReader>,
    violations: &mut Violations,
) -> Option<ItemReader> {
    violations
        .require(reader.is_none(), "spec.items", || "stand beside itemReader; write one of them".to_owned());
    Some(ItemReader::inline())
}

fn is_shallow(value: &Value, levels: u32) -> bool {
    use prost_types::value::Kind;
    let inside = |mut values: Box<dyn Iterator<Item = &Value> + '_>| {
        levels > 0 && values.all(|value| is_shallow(value, levels - 1))
    };
    match &value.kind {
        Some(Kind::StructValue(object)) => inside(Box::new(object.fields.values())),
        Some(Kind::ListValue(list)) => inside(Box::new(list.values.iter())),
        _ => true,
    }
}
