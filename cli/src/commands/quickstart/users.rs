//! The users of the quick start: a CSV that looks like a real one, the same at every start.

use std::fmt::Write as _;

/// The header: what people in the field have in their files, not what suits a parser.
pub(super) const HEADER: [&str; 3] = ["ユーザーID", "ログイン回数", "投稿回数"];

/// What a rejected row is rejected for, in turn.
const BAD_LOGIN_COUNTS: [&str; 2] = ["many", "-1"];

/// Bytes that a row takes at most: `u0000000,000,0000` and its end.
const ROW_BYTES: usize = 24;

/// A CSV with `rows` rows, of which `bad_rows`, spread evenly, hold what the table does not take.
pub(super) fn users_csv(rows: u64, bad_rows: u64) -> String {
    let mut csv = String::with_capacity(ROW_BYTES * (rows as usize + 2));
    _ = writeln!(csv, "{}", HEADER.join(","));
    let mut bad_so_far = 0;
    for row in 0..rows {
        _ = write!(csv, "u{row:07},");
        if is_bad(row, rows, bad_rows) {
            csv.push_str(BAD_LOGIN_COUNTS[bad_so_far % BAD_LOGIN_COUNTS.len()]);
            bad_so_far += 1;
        } else {
            _ = write!(csv, "{}", mixed(row) % 500);
        }
        _ = writeln!(csv, ",{}", mixed(row ^ 0x5555) % 2_000);
    }
    csv
}

/// Exactly `bad_rows` of `rows` rows are bad: those at which the share of bad rows reaches the next whole number.
fn is_bad(row: u64, rows: u64, bad_rows: u64) -> bool {
    let bad_rows = u128::from(bad_rows);
    let bad_before = |row: u64| u128::from(row) * bad_rows / u128::from(rows);
    bad_before(row + 1) > bad_before(row)
}

/// A number without visible order (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_as_many_rows_and_bad_rows_as_asked_for() {
        for (rows, bad_rows) in [(1, 0), (1, 1), (10, 3), (1_000, 7), (20, 20)] {
            let csv = users_csv(rows, bad_rows);
            let bad = csv.lines().skip(1).filter(|line| line.contains(",many,") || line.contains(",-1,"));
            assert_eq!(bad.count() as u64, bad_rows, "{rows} rows, {bad_rows} bad");
            assert_eq!(csv.lines().count() as u64, rows + 1);
        }
    }

    #[test]
    fn rows_look_like_users_in_ascending_order() {
        let csv = users_csv(3, 0);
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("ユーザーID,ログイン回数,投稿回数"));
        assert!(lines.next().is_some_and(|line| line.starts_with("u0000000,")), "{csv}");
        assert!(lines.next().is_some_and(|line| line.starts_with("u0000001,")), "{csv}");
    }
}
