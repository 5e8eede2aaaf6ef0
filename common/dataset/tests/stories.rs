//! What a run over an object comes to, told one case at a time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "shared with other test binaries and the fuzz target")]
mod support;

use support::{Case, Outcome, check, scan_shard};
use warifu_dataset::{
    ByteRange, Composed, Composer, DataProblem, Dialect, EntryState, Header, HeaderLocation, ShardPlan,
};

fn first_row() -> Case {
    Case { location: HeaderLocation::FirstRow, items_per_batch: 25, ..Case::default() }
}

fn strict() -> Case {
    Case { dialect: Dialect::default(), ..first_row() }
}

fn rows(count: usize) -> Vec<u8> {
    let rows: String = (0..count).map(|row| format!("{row},user {row}\n")).collect();
    format!("id,name\n{rows}").into_bytes()
}

fn counts(outcome: &Outcome) -> (u64, u32) {
    (outcome.items, outcome.shards.iter().map(|shard| shard.batches).sum())
}

#[test]
fn three_rows_under_japanese_headers_are_three_items() {
    let object = "番号,名前\n1,山田\n2,\"佐藤\n花子\"\n3,鈴木\n".as_bytes();
    for shard_size in 1..=object.len() as u64 {
        assert_eq!(check(object, &Case { shard_size, ..first_row() }).unwrap().items, 3);
    }
}

#[test]
fn a_hundred_items_by_twenty_five_are_four_batches() {
    assert_eq!(counts(&check(&rows(100), &first_row()).unwrap()), (100, 4));
    assert_eq!(counts(&check(&rows(101), &first_row()).unwrap()), (101, 5));
}

#[test]
fn ragged_rows_empty_lines_and_lines_of_blanks_are_read_as_the_crate_does() {
    let object = b"a,b\n1\n\n1,2,3\n   \n\r\n,\n,,,";
    assert_eq!(check(object, &first_row()).unwrap().items, 5);
}

#[test]
fn an_object_without_records_has_no_items() {
    for object in [&b""[..], b"a,b", b"a,b\r\n", b"\n\n", b"\xef\xbb\xbfa,b\n\n\n"] {
        assert_eq!(counts(&check(object, &strict()).unwrap()), (0, 0));
    }
}

#[test]
fn max_items_ends_the_fold_where_it_is_reached() {
    let object = rows(100);
    let outcome = check(&object, &Case { max_items: Some(30), shard_size: 100, ..first_row() }).unwrap();
    assert_eq!(outcome.items, 30);
    assert!(outcome.shards.len() < 6, "later shards are not needed");
    assert_eq!(counts(&check(&object, &Case { max_items: Some(30), ..first_row() }).unwrap()), (30, 2));
    assert_eq!(check(&object, &Case { max_items: Some(0), ..first_row() }).unwrap().items, 0);
}

#[test]
fn a_range_counts_the_records_that_begin_in_it() {
    let object = b"h\naa\nbb\ncc\ndd\n";
    let range = |count_from, end| Case { count_from, end, shard_size: 4, ..first_row() };
    assert_eq!(check(object, &range(0, u64::MAX)).unwrap().items, 4);
    assert_eq!(check(object, &range(2, 5)).unwrap().items, 1);
    assert_eq!(check(object, &range(3, 6)).unwrap().items, 1, "bb begins at 5");
    assert_eq!(check(object, &range(3, 5)).unwrap().items, 0);
    assert_eq!(check(object, &range(14, 14)).unwrap().items, 0);
}

#[test]
fn a_record_that_is_too_large_is_named_as_soon_as_it_is_known() {
    let object = [b"h\nok\n\"".as_slice(), &[b'x'; 500], b"\"\nok\n"].concat();
    let case = Case { max_record_bytes: 100, shard_size: 30, ..strict() };
    let outcome = check(&object, &case).unwrap();
    // It begins in the first shard, [2, 32), and exceeds the limit within the fourth, [92, 122).
    let expected = DataProblem::RecordTooLarge { start: 5, length_at_least: 117, limit: 100 };
    assert_eq!(outcome.problem, Some(expected));
    assert_eq!(outcome.shards.len(), 3);
    let beyond = Case { max_items: Some(1), ..case };
    assert_eq!(check(&object, &beyond).unwrap().problem, None, "not beyond maxItems");
}

#[test]
fn a_quote_open_at_the_end_is_named_with_its_offset_unless_quotes_are_lenient() {
    let object = b"h,i\n1,2\n3,\"4\n5,6\n7,8\n";
    for shard_size in 1..=object.len() as u64 {
        let outcome = check(object, &Case { shard_size, ..strict() }).unwrap();
        assert_eq!(outcome.problem, Some(DataProblem::QuoteOpenAtEnd { quote_offset: 10, record_start: 8 }));
        assert_eq!(check(object, &Case { shard_size, ..first_row() }).unwrap().items, 2);
        let cut_off = Case { shard_size, max_items: Some(1), ..strict() };
        assert_eq!(check(object, &cut_off).unwrap().problem, None, "not beyond maxItems");
    }
}

#[test]
fn a_field_that_begins_with_u_feff_keeps_it_at_any_cut() {
    let object = "h,i\n\u{feff}a,b\n\u{feff},\u{feff}\n".as_bytes();
    for shard_size in 1..=object.len() as u64 {
        assert_eq!(check(object, &Case { shard_size, ..first_row() }).unwrap().items, 2);
    }
}

#[test]
fn bytes_of_json_close_a_batch_exactly_at_the_limit() {
    // {"BatchInput":{},"Items":[{"h":"aaaa"},{"h":"aaaa"}]}: 28 + 12 + 1 + 12
    let object = b"h\naaaa\naaaa\naaaa\naaaa\n";
    let batches = |input_bytes| counts(&check(object, &Case { input_bytes, ..first_row() }).unwrap()).1;
    assert_eq!((batches(52), batches(53), batches(65), batches(66)), (4, 2, 2, 2));
    assert_eq!((batches(78), batches(79), batches(0)), (2, 1, 4));
}

#[test]
fn a_file_of_consistent_rows_is_guessed_right() {
    let row = |row: usize| format!("{row},\"a, b\nc, {row}\",\"say \"\"x\"\"\",end\r\n");
    let object = format!("w,x,y,z\r\n{}", (0..4000).map(row).collect::<String>());
    let outcome = check(object.as_bytes(), &Case { shard_size: 5000, ..first_row() }).unwrap();
    assert_eq!((outcome.items, outcome.rescans), (4000, 0));
}

#[test]
fn shards_within_long_fields_of_lines_like_records_are_guessed_right() {
    let field = "1,2,3\n".repeat(20_000);
    let row = |row: usize| format!("{row},\"{field}\",end\n7,8,9\n10,\"a, b\",11\n12,\"c\",13\n");
    let object = format!("x,y,z\n{}", (0..4).map(row).collect::<String>());
    for shard_size in [10_000, 50_000, 200_000] {
        let outcome = check(object.as_bytes(), &Case { shard_size, ..first_row() }).unwrap();
        let within = outcome.shards.windows(2).filter(|pair| pair[1].entry == EntryState::Quoted).count();
        assert_eq!(outcome.items, 16);
        assert!(within > 1, "cuts fall into fields");
        // Of a shard without a quote nobody can tell.
        let unknown =
            outcome.shards.iter().filter(|shard| !holds_quotes(object.as_bytes(), shard.range)).count();
        assert!(outcome.rescans <= unknown, "{} of {unknown} in shards of {shard_size}", outcome.rescans);
    }
}

#[test]
fn fields_of_some_lines_like_records_are_guessed_right() {
    let lines =
        |row: usize| (0..5).map(|line| format!("\nU{row},{line},7,like a record")).collect::<String>();
    let row = |row: usize| format!("U{row},{row},5,\"a note{}\"\n", lines(row));
    let object = format!("w,x,y,z\n{}", (0..3000).map(row).collect::<String>());
    let outcome = check(object.as_bytes(), &Case { shard_size: 7000, ..first_row() }).unwrap();
    assert_eq!((outcome.items, outcome.rescans), (3000, 0));
}

#[test]
fn quotes_in_text_without_quoted_fields_are_guessed_right() {
    let row = |row: usize| format!("{row},a 6\" pipe,7\" and 8\" pipes\n");
    let object = format!("x,y,z\n{}", (0..4000).map(row).collect::<String>());
    let outcome = check(object.as_bytes(), &Case { shard_size: 5000, ..first_row() }).unwrap();
    assert_eq!((outcome.items, outcome.rescans), (4000, 0));
}

fn holds_quotes(object: &[u8], range: ByteRange) -> bool {
    object[range.start as usize..range.end as usize].contains(&b'"')
}

#[test]
fn a_fold_goes_on_from_what_was_stored_of_it() {
    let object = b"\"a\nb\",c\nd,\"e\n\nf\"\n".repeat(3);
    let plan = ShardPlan::whole(0, object.len() as u64, 5);
    let header = Header { names: vec!["x".into(), "y".into()], range: ByteRange::new(0, 0) };
    let rules = strict().rules(header);
    let mut composer = Composer::new(&plan, Some(5), rules.format, &strict().limits());
    while !composer.is_complete() {
        let known = (Some(composer.entry()), composer.item_limit());
        let scan = scan_shard(&object, &plan, &rules, composer.next_shard(), known);
        assert!(matches!(composer.compose(&scan), Composed::Shard(_)), "a known entry settles its shard");
        let stored = serde_json::to_string(&composer).unwrap();
        composer = serde_json::from_str(&stored).unwrap();
        assert!(stored.len() < 512, "it is small");
    }
    assert_eq!(composer.items(), 5);
}
