//! When somebody is told, and how often.

use warifu_model::ItemCounts;

use super::*;
use crate::testing::status;

const MIN: u64 = 100;

fn run() -> MapRunId {
    MapRunId::new("run-1").unwrap()
}

/// The run as it is after so many items; those that failed share one name.
fn counted(status: &mut StatusRecord, succeeded: u64, failed: u64) {
    status.item_counts = ItemCounts { succeeded, failed, ..ItemCounts::default() };
    status.errors = [((FailureKind::System, "Http.503".to_owned()), failed)].into();
}

#[test]
fn a_rate_is_told_from_a_hundred_items_on_and_at_the_end_from_the_first() {
    for (succeeded, failed, at_end, level) in [
        (0, 1, false, None),
        (0, 99, false, None),
        (0, 99, true, Some(AlertLevel::High)),
        (95, 5, false, None),
        (94, 6, false, Some(AlertLevel::Medium)),
        (90, 10, false, Some(AlertLevel::Medium)),
        (89, 11, false, Some(AlertLevel::High)),
        (0, 0, true, None),
        (9, 1, true, Some(AlertLevel::Medium)),
    ] {
        let mut status = status();
        counted(&mut status, succeeded, failed);
        let alert = raise(&mut status, &run(), if at_end { 1 } else { MIN });
        assert_eq!(alert.map(|alert| alert.level), level, "{failed} of {}", succeeded + failed);
    }
}

#[test]
fn each_level_is_told_once_and_a_worse_one_replaces_its_warning() {
    let mut status = status();
    status.warnings.push(Warning { reason: "OTHER".into(), message: String::new() });
    let mut told = Vec::new();
    for (succeeded, failed) in [(94, 6), (93, 7), (1_000, 7), (940, 60), (88, 12), (940, 60), (50, 50)] {
        counted(&mut status, succeeded, failed);
        told.extend(raise(&mut status, &run(), MIN).map(|alert| (alert.level, failed)));
    }
    assert_eq!(told, [(AlertLevel::Medium, 6), (AlertLevel::High, 12)]);
    let reasons: Vec<_> = status.warnings.iter().map(|warning| warning.reason.as_str()).collect();
    assert_eq!(reasons, ["OTHER", "ERROR_RATE_HIGH"]);
    assert_eq!(without_alerts(&status.warnings).len(), 1);
}

#[test]
fn the_warning_names_rate_items_top_error_and_what_to_do() {
    let mut status = status();
    counted(&mut status, 88, 12);
    let alert = raise(&mut status, &run(), MIN).unwrap();
    assert_eq!(alert.failure_counts, FailureCounts { business: 0, system: 12 });
    assert_eq!(
        status.warnings[0].message,
        "12.0 % of 100 decided items failed or timed out, more than 10 %, most often with Http.503 (SYSTEM, 12): what is \
         around the items is at fault, mend it and redrive the run"
    );
}
