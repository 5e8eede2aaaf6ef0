//! Slots wanted: by the rules alone, and of runs as they go.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_model::HandlerName;
use warifu_model::protocol::WorkerMessage;
use warifu_model::spec::MapRunSpec;

use super::{SlotDemand, Unscanned, Work};
use crate::Config;
use crate::testing::job::{retried_after, spec};
use crate::testing::story::{Story, W1, W2, at, name, report, rival, to_be_retried};

fn demand(slots: u64) -> SlotDemand {
    SlotDemand { slots, is_active: true }
}

#[test]
fn a_run_wants_a_slot_for_each_batch_that_could_run_within_its_limits() {
    let none = Work::default;
    let cases = [
        ("idle", none(), SlotDemand::default()),
        ("backlog", Work { runnable: 40, ..none() }, demand(40)),
        ("limit reached", Work { runnable: 40, held: 5, limit: Some(5), ..none() }, demand(5)),
        ("backlog below the limit", Work { runnable: 3, limit: Some(5), ..none() }, demand(3)),
        (
            "draining workers finish the last batches",
            Work { held_by_draining: 4, limit: Some(8), ..none() },
            demand(0),
        ),
        (
            "what draining workers hold takes room",
            Work { runnable: 40, held_by_draining: 4, limit: Some(6), ..none() },
            demand(2),
        ),
        (
            "draining workers hold more than a limit that was lowered",
            Work { runnable: 40, held_by_draining: 4, limit: Some(2), ..none() },
            demand(0),
        ),
        ("not all is scanned", Work { runnable: 4, unscanned: 60, ..none() }, demand(64)),
        ("not all is scanned, with a limit", Work { unscanned: 60, limit: Some(9), ..none() }, demand(9)),
        ("a stopping run ends what runs", Work { ends: true, held: 3, limit: Some(9), ..none() }, demand(3)),
        ("a stopping run without any", Work { ends: true, limit: Some(9), ..none() }, SlotDemand::default()),
        ("a rate needs few", Work { runnable: 1000, pace: Some(2.5), ..none() }, demand(4)),
        (
            "a rate that needs more than there is",
            Work { runnable: 5, pace: Some(100.0), ..none() },
            demand(5),
        ),
        ("handlers that take no time", Work { runnable: 1000, pace: Some(0.0), ..none() }, demand(1)),
        ("all at once", Work { runnable: u64::MAX, unscanned: u64::MAX, ..none() }, demand(u64::MAX)),
    ];
    for (case, work, wanted) in cases {
        let mut sum = SlotDemand::default();
        sum.add(&work);
        assert_eq!(sum, wanted, "{case}");
    }
}

#[test]
fn runs_add_up_and_one_that_waits_does_not_make_another_inactive() {
    let mut sum = SlotDemand::default();
    for work in [
        Work { runnable: 7, limit: Some(5), ..Work::default() },
        Work::default(),
        Work { runnable: 3, ..Work::default() },
    ] {
        sum.add(&work);
    }
    assert_eq!(sum, demand(8));
}

#[test]
fn batches_that_are_not_found_yet_are_estimated() {
    let unread = Unscanned { bytes: 1000, most_bytes: 300, most_items: 10, ..Unscanned::default() };
    let half = Unscanned { bytes: 500, scanned_bytes: 500, batches: 50, items: 400, ..unread.clone() };
    let cases = [
        ("everything is known", Unscanned { is_known: true, ..unread.clone() }, 0),
        ("unread: no fewer than fill up batches", unread.clone(), 4),
        ("unread, empty: somebody has to look", Unscanned { bytes: 0, ..unread.clone() }, 1),
        ("unread, with maxItems", Unscanned { items_left: Some(15), ..unread.clone() }, 2),
        ("as many a byte as before", half.clone(), 50),
        ("rounded up", Unscanned { bytes: 1, ..half.clone() }, 1),
        ("with maxItems", Unscanned { items_left: Some(80), ..half.clone() }, 10),
        ("scanned, but nothing counted yet", Unscanned { batches: 0, items: 0, ..half.clone() }, 2),
        ("enormous", Unscanned { bytes: u64::MAX, scanned_bytes: 1, ..half }, u64::MAX),
    ];
    for (case, unscanned, batches) in cases {
        assert_eq!(unscanned.batches(), batches, "{case}");
    }
}

fn limited(max_concurrency: Option<u32>) -> MapRunSpec {
    MapRunSpec { max_concurrency, compensation: None, ..spec() }
}

fn of(story: &Story, handlers: &[&str]) -> SlotDemand {
    let handlers: BTreeSet<HandlerName> = handlers.iter().map(|handler| name(handler)).collect();
    story.scheduler.slot_demand(at(story.seconds).at, &handlers)
}

#[test]
fn a_fleet_grows_from_zero_and_may_shrink_to_it() {
    let mut story = Story::over_rows(20, limited(None), Config::default());
    assert_eq!(of(&story, &[]), demand(1), "nobody has read it: somebody has to");
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    assert_eq!(of(&story, &[]), demand(20), "all of it is found");
    assert_eq!(of(&story, &["h", "other"]), demand(20));
    assert_eq!(of(&story, &["other"]), SlotDemand::default());
    let mut granted = story.grants();
    while let Some(grant) = granted.pop() {
        story.report(W1, &grant, None);
        granted.extend(story.grants());
    }
    story.gives_back_the_slot(W1);
    assert_eq!(of(&story, &[]), SlotDemand::default());
}

#[test]
fn two_runs_share_a_fleet() {
    let mut story = Story::over_rows(20, limited(Some(3)), Config::default());
    story.create_over_rows(rival(), 4, limited(Some(50)));
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    assert_eq!(of(&story, &[]), demand(3 + 4));
}

#[test]
fn what_a_draining_worker_finishes_takes_room_and_keeps_the_fleet_active() {
    let mut story = Story::over_rows(20, limited(Some(3)), Config::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let grant = story.grant();
    story.begins(W1, &grant);
    story.says(W1, WorkerMessage::Draining);
    assert_eq!(of(&story, &[]), demand(2));
}

#[test]
fn a_stopping_run_wants_what_it_ends_and_then_nothing() {
    let mut story = Story::over_rows(20, limited(Some(3)), Config::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let grant = story.grant();
    story.begins(W1, &grant);
    story.stop();
    assert_eq!(of(&story, &[]), demand(1));
    story.report(W1, &grant, None);
    story.gives_back_the_slot(W1);
    story.pass(1.0, &[W1]);
    assert_eq!(of(&story, &[]), SlotDemand::default());
}

/// A run of one batch that failed and waits for its next attempt.
fn waiting_for(interval: Duration) -> SlotDemand {
    let spec = MapRunSpec { item_processor: retried_after(interval), ..limited(Some(3)) };
    let mut story = Story::over_rows(1, spec, Config::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let grant = story.grant();
    story.begins(W1, &grant);
    story.says(W1, WorkerMessage::Report(to_be_retried(report(&grant, 1, None))));
    story.gives_back_the_slot(W1);
    story.pass(1.0, &[W1]);
    of(&story, &[])
}

#[test]
fn a_retry_wants_a_slot_when_a_new_worker_would_come_in_time_for_it() {
    assert_eq!(waiting_for(Duration::from_secs(30)), demand(1));
    assert_eq!(waiting_for(Duration::from_secs(600)), SlotDemand::default());
}

#[test]
fn a_run_with_a_rate_wants_what_its_rate_keeps_busy() {
    let spec = MapRunSpec { max_items_per_second: Some(3.0), ..limited(None) };
    let mut story = Story::over_rows(100, spec, Config::default());
    for worker in [W1, W2] {
        story.hello(worker, Vec::new());
    }
    story.pass(1.0, &[W1, W2]);
    // Batches of one item, of which none has ended: taken to need a second each.
    assert_eq!(of(&story, &[]), demand(4));
}

#[test]
fn a_compensation_wants_one_slot_of_its_handler() {
    let mut story = Story::over_rows(5, spec(), Config::default());
    story.stop();
    assert_eq!(of(&story, &["undo"]), demand(1));
    assert_eq!(of(&story, &["h"]), SlotDemand::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    assert_eq!(of(&story, &[]), demand(1));
    let grant = story.grant();
    story.report(W1, &grant, None);
    story.gives_back_the_slot(W1);
    assert_eq!(of(&story, &[]), SlotDemand::default());
}
