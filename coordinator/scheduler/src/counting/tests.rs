//! Failures by name and kind, and the groups that users see.

use super::*;
use crate::testing::status;

/// Counts `items` failures of one name.
fn fail(status: &mut StatusRecord, failure: &CallFailure, items: u32) {
    let group =
        FailedItems { items: RangeSet::from_range(0..items), failure: failure.clone(), places: Vec::new() };
    count_failed(&mut OpenBatch::default(), status, CallOutcome::Answered, &group, WallTime(1));
}

#[test]
fn both_kinds_are_counted_exactly_whatever_their_names() {
    let mut status = status();
    for number in 0..3_000 {
        fail(&mut status, &CallFailure::business(format!("B{number}"), ""), 2);
        fail(&mut status, &CallFailure::system(format!("S{number}"), ""), 3);
    }
    assert_eq!(status.errors.len(), MAX_ERROR_NAMES + 2);
    assert_eq!((status.failure_counts().business, status.failure_counts().system), (6_000, 9_000));
    assert_eq!(status.item_counts.failed, 15_000);
}

#[test]
fn long_names_do_not_make_the_record_long() {
    let mut status = status();
    for number in 0..1_000 {
        fail(&mut status, &CallFailure::system(format!("{number:0256}"), ""), 1);
    }
    assert_eq!(status.errors.len(), MAX_ERROR_NAME_BYTES / 256 + 1);
    assert_eq!(status.failure_counts().system, 1_000);
}

#[test]
fn aborted_items_are_no_failures_of_either_kind() {
    let mut status = status();
    let group = FailedItems {
        items: RangeSet::from_range(0..4),
        failure: CallFailure::system("Warifu.Aborted", ""),
        places: Vec::new(),
    };
    count_failed(&mut OpenBatch::default(), &mut status, CallOutcome::Aborted, &group, WallTime(1));
    assert_eq!((status.item_counts.aborted, status.failure_counts().sum()), (4, 0));
    count_failed(&mut OpenBatch::default(), &mut status, CallOutcome::TimedOut, &group, WallTime(1));
    assert_eq!((status.item_counts.timed_out, status.failure_counts().system), (4, 4));
}

#[test]
fn the_most_frequent_names_have_groups_however_late_they_came_up() {
    let mut status = status();
    for number in 0..MAX_ERROR_GROUPS * 2 {
        fail(&mut status, &CallFailure::system(format!("Early{number}"), ""), 5);
    }
    let late = CallFailure::system("Late", "");
    for _report in 0..100 {
        fail(&mut status, &late, 3);
    }
    assert_eq!(status.error_groups.len(), MAX_ERROR_GROUPS);
    let group = status.error_groups.iter().find(|group| group.error == "Late").unwrap();
    assert_eq!(group.count, 300);
}
