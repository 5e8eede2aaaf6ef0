//! `itemBatcher`.

use warifu_model::spec::{ItemBatcher, LARGEST_MAX_INPUT_BYTES_PER_BATCH};
use warifu_model::{AutoSize, DEFAULT_MOST_ITEMS};

use super::check;
use crate::wire::v1;
use crate::wire::violation::Violations;

/// How the job wants its batches; defaults where it does not say.
pub(super) fn read(batcher: Option<&v1::ItemBatcher>, violations: &mut Violations) -> ItemBatcher {
    let defaults = ItemBatcher::default();
    let Some(batcher) = batcher else { return defaults };
    let auto_size = auto_size(batcher, violations);
    let given = auto_size.map_or(batcher.max_items_per_batch, |auto| auto.max_items);
    let input = "spec.item_batcher.batch_input";
    let batch_input = check::free_form(batcher.batch_input.as_ref(), input, violations);
    let read = ItemBatcher {
        configured: true,
        max_items_per_batch: or_default(given, defaults.max_items_per_batch),
        auto_size,
        max_input_bytes_per_batch: or_default(
            batcher.max_input_bytes_per_batch,
            defaults.max_input_bytes_per_batch,
        ),
        batch_input,
    };
    check_bytes(&read, violations);
    read
}

fn auto_size(batcher: &v1::ItemBatcher, violations: &mut Violations) -> Option<AutoSize> {
    let auto = batcher.auto_size?;
    let field = "spec.item_batcher.auto_size";
    violations.require(batcher.max_items_per_batch == 0, field, || {
        "stands beside maxItemsPerBatch; give one of them".to_owned()
    });
    let min_items = or_default(auto.min_items, 1);
    let max_items = or_default(auto.max_items, DEFAULT_MOST_ITEMS);
    violations.require(min_items <= max_items, field, || {
        format!("minItems is {min_items}, more than maxItems, which is {max_items}")
    });
    Some(AutoSize { min_items, max_items })
}

fn or_default<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

fn check_bytes(batcher: &ItemBatcher, violations: &mut Violations) {
    let limit = batcher.max_input_bytes_per_batch;
    let field = "spec.item_batcher.max_input_bytes_per_batch";
    violations.require(limit <= LARGEST_MAX_INPUT_BYTES_PER_BATCH, field, || {
        format!("is {limit}; at most {LARGEST_MAX_INPUT_BYTES_PER_BATCH} bytes are allowed")
    });
}
