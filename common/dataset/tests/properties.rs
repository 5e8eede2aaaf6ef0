//! Properties: any bytes, any cuts, any limits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "shared with other test binaries and the fuzz target")]
mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::{Case, Selected, check};
use warifu_dataset::{Dialect, HeaderLocation};

/// What CSV is made of, and what it is easily confused by.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"\"",
        b"\"",
        b"\"\"",
        b",",
        b",",
        b"|",
        b";",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r\n",
        b"a",
        b"bc",
        b"\xef\xbb\xbf",
        "あ".as_bytes(),
        "é".as_bytes(),
        "🦀".as_bytes(),
        b"\xff",
        b"\x01",
        b"\\",
        b"\x7f",
    ];
    vec(select(words), 0..120).prop_map(|words| words.concat())
}

/// Mostly well-formed records.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let fields: Vec<&str> =
        vec!["", "1", "ab", "\"x,y\"", "\"line\r\nbreak\"", "\"say \"\"hi\"\"\"", "日本", "a\"b"];
    let row = vec(select(fields), 1..5).prop_map(|fields| fields.join(","));
    let end = select(vec!["\n", "\r\n", "\r", "\n\n"]);
    vec((row, end), 0..40)
        .prop_map(|rows| rows.into_iter().map(|(row, end)| row + end).collect::<String>().into_bytes())
}

fn any_object() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => soup(), 3 => records(), 1 => vec(any::<u8>(), 0..200)]
}

fn any_location() -> impl Strategy<Value = HeaderLocation> {
    let names = |count: usize| (0..count).map(|column| format!("k\"{column}")).collect();
    prop_oneof![
        1 => Just(HeaderLocation::FirstRow),
        2 => (0..4_usize).prop_map(move |count| HeaderLocation::Given(names(count))),
    ]
}

fn any_selector() -> impl Strategy<Value = Vec<Selected>> {
    let entries = vec![
        Selected::Index,
        Selected::Item,
        Selected::Column("k\"0"),
        Selected::Column("k\"1"),
        Selected::Column("a"),
        Selected::Text("x\"y あ"),
        Selected::Text(""),
    ];
    vec(select(entries), 0..5)
}

prop_compose! {
    fn any_case()(
        delimiter in prop_oneof![3 => Just(b','), 1 => select(Dialect::DELIMITERS.to_vec())],
        lenient_quotes in any::<bool>(),
        location in any_location(),
        shard_size in prop_oneof![1..8_u64, 1..300_u64],
        items_per_batch in prop_oneof![9 => 0..7_u32, 1 => Just(u32::MAX)],
        input_bytes in prop_oneof![Just(262_144), 0..400_u64],
        max_items in proptest::option::weighted(0.3, 0..20_u64),
        count_from in prop_oneof![2 => Just(0), 1 => 0..150_u64],
        end in prop_oneof![2 => Just(u64::MAX), 1 => 0..300_u64],
        max_record_bytes in prop_oneof![3 => Just(1 << 20), 1 => 1..30_u64],
        feed in prop_oneof![1..10_usize, Just(1 << 20)],
        forced_guess in proptest::option::of(0..3_usize),
        first_limit in proptest::option::weighted(0.2, 0..6_u64),
        selector in proptest::option::weighted(0.4, any_selector()),
    ) -> Case {
        Case {
            dialect: Dialect { delimiter, lenient_quotes },
            location, shard_size, items_per_batch, input_bytes, max_items, count_from, end, max_record_bytes, feed,
            forced_guess, first_limit, selector,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scan_and_compose_then_reading_gives_what_the_csv_crate_gives(object in any_object(), case in any_case()) {
        check(&object, &case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Large enough for several checkpoints, and for entries that agree late.
    #[test]
    fn objects_of_many_checkpoints_are_read_alike(
        pattern in any_object(),
        quiet in 0..6000_usize,
        case in any_case(),
        shard_size in 5_000..900_000_u64,
    ) {
        let unit = [pattern.as_slice(), &vec![b'x'; quiet], b"\n"].concat();
        let object = unit.repeat(400_000_usize.div_ceil(unit.len()));
        let names = HeaderLocation::Given(vec!["a".into(), "b".into()]);
        let feed = 200_000;
        check(&object, &Case { shard_size, location: names, feed, items_per_batch: 40, max_items: None, ..case });
    }

    /// Batches that certainly fit, that may fit and that do not, beside records that are too large: in one shard, over chunks.
    #[test]
    fn batches_that_are_counted_and_batches_that_are_measured_are_cut_alike(
        pattern in any_object(),
        lengths in vec(prop_oneof![4 => 0..40_usize, 1 => 0..3_000_usize], 1..30),
        case in any_case(),
        items_per_batch in 1..60_u32,
        input_bytes in prop_oneof![500..60_000_u64, Just(262_144)],
        max_record_bytes in prop_oneof![Just(1 << 20), 100..4_000_u64],
        shard_size in 5_000..200_000_u64,
    ) {
        let record = |length: &usize| [&b"x".repeat(*length), b",\"\n\"\n".as_slice()].concat();
        let unit = [lengths.iter().map(record).collect::<Vec<_>>().concat(), pattern, b"\n".to_vec()].concat();
        let object = unit.repeat(60_000_usize.div_ceil(unit.len()));
        let names = HeaderLocation::Given(vec!["a".into(), "b".into()]);
        let case = Case { shard_size, location: names, items_per_batch, input_bytes, max_record_bytes, ..case };
        check(&object, &Case { feed: 200_000, count_from: 0, end: u64::MAX, ..case });
    }
}
