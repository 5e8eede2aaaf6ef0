//! Every short string of the five bytes that matter, every shard size.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(unreachable_pub, reason = "shared with other test binaries and the fuzz target")]
mod support;

use support::{Case, check, machine, scan_shard};
use warifu_dataset::{Dialect, HeaderLocation, ShardPlan};

const ALPHABET: [u8; 5] = *b"a,\"\r\n";

/// Calls `visit` with every string of `length` letters.
fn for_each_string(length: u32, mut visit: impl FnMut(&[u8])) {
    let mut string = vec![0; length as usize];
    for number in 0..5_usize.pow(length) {
        let mut rest = number;
        for byte in &mut string {
            *byte = ALPHABET[rest % 5];
            rest /= 5;
        }
        visit(&string);
    }
}

fn check_all_shard_sizes(length: u32, lenient_quotes: bool) {
    for_each_string(length, |string| {
        for shard_size in 1..=u64::from(length) {
            let dialect = Dialect { delimiter: b',', lenient_quotes };
            check(string, &Case { dialect, shard_size, items_per_batch: 2, ..Case::default() });
        }
    });
}

#[test]
fn all_strings_up_to_six_letters_read_alike_in_shards_of_every_size() {
    (1..=6).for_each(|length| check_all_shard_sizes(length, true));
}

#[test]
fn all_strings_up_to_five_letters_read_alike_with_strict_quotes() {
    (1..=5).for_each(|length| check_all_shard_sizes(length, false));
}

#[test]
fn all_strings_of_seven_letters_read_alike_in_shards_of_one_byte() {
    for_each_string(7, |string| {
        check(string, &Case { shard_size: 1, items_per_batch: 2, ..Case::default() });
    });
}

#[test]
fn all_strings_of_eight_letters_have_right_exits_at_every_cut() {
    let rules = Case::default().rules(warifu_dataset::Header {
        names: vec!["a".into(), "b".into()],
        range: warifu_dataset::ByteRange::new(0, 0),
    });
    for_each_string(8, |string| {
        for cut in 1..8 {
            let plan = ShardPlan { count_from: cut, ..ShardPlan::whole(0, 8, 8) };
            machine::check_exits(string, &scan_shard(string, &plan, &rules, 1, (None, None)), b',', false);
        }
    });
}

#[test]
fn all_strings_up_to_six_letters_with_a_header_row_read_alike() {
    for length in 1..=6 {
        for_each_string(length, |string| {
            let object = [b"h,i\n", string].concat();
            let location = HeaderLocation::FirstRow;
            check(&object, &Case { shard_size: 2, location, ..Case::default() });
            let location = HeaderLocation::FirstRow;
            check(string, &Case { shard_size: 3, location, ..Case::default() });
        });
    }
}

/// A minute of work, and worth it: what it walks is every way in which a cut can fall.
#[test]
fn all_strings_of_seven_and_eight_letters_read_alike() {
    check_all_shard_sizes(7, true);
    check_all_shard_sizes(7, false);
    for lenient_quotes in [true, false] {
        for_each_string(8, |string| {
            let dialect = Dialect { delimiter: b',', lenient_quotes };
            check(string, &Case { dialect, shard_size: 1, items_per_batch: 2, ..Case::default() });
        });
    }
}
