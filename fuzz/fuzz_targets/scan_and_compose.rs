//! The comparison of the data set crate's properties, from arbitrary bytes: the first twelve choose dialect, cuts and limits.

#![no_main]

#[path = "../../common/dataset/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{Case, Selected, check};
use warifu_dataset::{Dialect, HeaderLocation};

fuzz_target!(|input: &[u8]| {
    if let Some((choices, object)) = input.split_first_chunk::<12>() {
        check(object, &case(choices));
    }
});

fn case(choices: &[u8; 12]) -> Case {
    let [dialect, header, shard_size, items, json_low, json_high, max_items, count_from, end, record, feed, flags] =
        *choices;
    let delimiter = Dialect::DELIMITERS[usize::from(dialect >> 1) % 5];
    let chosen = |bit: u8| flags & (1 << bit) != 0;
    Case {
        dialect: Dialect { delimiter, lenient_quotes: dialect & 1 == 0 },
        location: location(header),
        shard_size: u64::from(shard_size) + 1,
        items_per_batch: u32::from(items % 16),
        input_bytes: if chosen(0) { u64::from(u16::from_le_bytes([json_low, json_high])) } else { 262_144 },
        max_items: chosen(1).then_some(u64::from(max_items)),
        count_from: if chosen(2) { u64::from(count_from) } else { 0 },
        end: if chosen(3) { u64::from(end) } else { u64::MAX },
        max_record_bytes: if chosen(4) { u64::from(record) } else { 1 << 20 },
        feed: usize::from(feed) + 1,
        forced_guess: chosen(5).then_some(usize::from(items >> 4)),
        first_limit: chosen(6).then_some(u64::from(max_items)),
        selector: chosen(7).then(|| vec![Selected::Index, Selected::Item, Selected::Column("a")]),
    }
}

/// Zero to six names, or the first row.
fn location(choice: u8) -> HeaderLocation {
    match choice % 8 {
        7 => HeaderLocation::FirstRow,
        count => HeaderLocation::Given((0..count).map(|column| format!("k\"{column}")).collect()),
    }
}
