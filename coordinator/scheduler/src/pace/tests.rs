//! A run with a rate: what is granted when, whatever happens to its leader, its workers and its limits.

use warifu_model::protocol::{CoordinatorMessage, Grant, WorkerMessage};
use warifu_model::spec::{ItemBatcher, LimitsUpdate, MapRunSpec};
use warifu_model::*;

use super::items_of;
use crate::testing::job::spec;
use crate::testing::story::{Story, W1, W2, report, run};
use crate::{Config, Event, RequestId, StreamId};

/// Time and items of what was granted.
type Granted = Vec<(f64, u64)>;

fn paced(rate: f64, max_items: u32) -> MapRunSpec {
    let item_batcher = ItemBatcher { max_items_per_batch: max_items, ..spec().item_batcher };
    MapRunSpec {
        max_items_per_second: Some(rate),
        max_concurrency: None,
        item_batcher,
        compensation: None,
        ..spec()
    }
}

/// Workers with handlers that take no time, for so long: what they were granted.
fn work(story: &mut Story, seconds: f64) -> Granted {
    let end = story.seconds + seconds;
    let mut granted = Vec::new();
    while story.seconds < end {
        while !story.sent.is_empty() {
            for (stream, message) in std::mem::take(&mut story.sent) {
                if let CoordinatorMessage::Grant(grant) = message {
                    granted.push((story.seconds, do_at_once(story, stream, &grant)));
                }
            }
        }
        let deadline = story.scheduler.next_deadline().map_or(end, |at| (at.0 + 1) as f64 / 1e6);
        story.seconds = deadline.clamp(story.seconds, end);
        story.step(Event::DeadlineReached);
        for worker in [W1, W2] {
            story.says(worker, WorkerMessage::Heartbeat { nonce: 1 });
        }
    }
    granted
}

/// Returns the items.
fn do_at_once(story: &mut Story, stream: StreamId, grant: &Grant) -> u64 {
    assert_eq!(grant.slots as usize, grant.batches.len(), "all of it begins at once");
    let worker = u128::from(stream.0);
    story.begins(worker, grant);
    let report = report(grant, story.max_items(), None);
    let items = report.entries.iter().map(|entry| u64::from(entry.item_count)).sum();
    story.says(worker, WorkerMessage::Report(report));
    story.says(worker, WorkerMessage::Shrink { map_run: run(), slots: grant.slots });
    items
}

fn begin(rows: usize, spec: MapRunSpec) -> Story {
    let mut story = Story::over_rows(rows, spec, Config::default());
    story.slots = 4;
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story
}

fn items(granted: &[(f64, u64)]) -> u64 {
    granted.iter().map(|(_, items)| items).sum()
}

/// No ten seconds may have more than the rate allows, but for one batch.
#[track_caller]
fn expect_within(granted: &Granted, rate: f64, batch: u32) {
    for (at, (start, _)) in granted.iter().enumerate() {
        let window: Vec<_> =
            granted[at..].iter().take_while(|(time, _)| *time < start + 10.0).copied().collect();
        let most = rate * 10.0 * 1.05 + f64::from(batch);
        assert!(items(&window) as f64 <= most, "{} items in 10 s from {start}", items(&window));
    }
}

fn update(story: &mut Story, rate: Option<f64>) {
    let update = LimitsUpdate { max_items_per_second: Some(rate), ..LimitsUpdate::default() };
    story.step(Event::UpdateRequested { request: RequestId(9), map_run: run(), update });
    story.pass(0.1, &[W1, W2]);
}

#[test]
fn the_rate_is_kept_and_reached_however_fast_handlers_are() {
    for (rate, batch) in [(50.0, 5), (500.0, 25), (3.0, 1), (7.0, 25), (20_000.0, 25)] {
        let rows = (rate * 40.0) as usize;
        let mut story = begin(rows, paced(rate, batch));
        let granted = work(&mut story, 30.0);
        expect_within(&granted, rate, batch);
        let (reached, wanted) = (items(&granted) as f64, rate * 30.0);
        assert!(reached > wanted * 0.95 - f64::from(batch), "{reached} of {wanted} at {rate} a second");
        let view = story.scheduler.map_run(&run()).unwrap();
        assert_eq!(view.limited_by, Some(LimitedBy::Rate), "at {rate} a second");
    }
}

#[test]
fn a_batch_larger_than_a_seconds_items_runs_and_the_next_one_waits_the_longer() {
    let mut story = begin(100, paced(10.0, 25));
    let granted = work(&mut story, 9.0);
    let times: Vec<_> = granted.iter().map(|(time, _)| time - granted[0].0).collect();
    assert_eq!(times.len(), 4, "{granted:?}");
    assert!(times.windows(2).all(|pair| (2.2..2.6).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn a_run_that_ends_waits_for_no_pace() {
    let mut story = begin(7, paced(100.0, 5));
    work(&mut story, 2.0);
    assert_eq!(story.state(), MapRunState::Succeeded);
    assert_eq!(story.status.as_ref().unwrap().item_counts.succeeded, 7);
}

#[test]
fn a_new_leader_begins_as_if_a_batch_had_just_been_granted() {
    for window in [false, true] {
        let mut story = begin(2_000, paced(20.0, 10));
        let mut granted = work(&mut story, 10.0);
        for _ in 0..3 {
            let taken_at = story.seconds;
            story.new_leader(window);
            story.hello(W1, Vec::new());
            story.hello(W2, Vec::new());
            let more = work(&mut story, 10.0);
            assert!(more[0].0 >= taken_at + 0.5, "{} after {taken_at}", more[0].0);
            granted.extend(more);
        }
        expect_within(&granted, 20.0, 10);
    }
}

#[test]
fn a_rate_that_is_changed_holds_at_once() {
    let mut story = begin(20_000, paced(1.0, 10));
    work(&mut story, 5.0);
    // What is owed takes as long as it would have at the new rate, not the rest of ten seconds.
    update(&mut story, Some(100.0));
    let faster = work(&mut story, 10.0);
    assert!(faster[0].0 < 5.5 && items(&faster) > 950, "{} from {}", items(&faster), faster[0].0);
    expect_within(&faster, 100.0, 10);
    update(&mut story, Some(10.0));
    let slower = work(&mut story, 20.0);
    expect_within(&slower, 10.0, 10);
    assert!(items(&slower) >= 180, "{}", items(&slower));
}

#[test]
fn what_was_given_ahead_is_asked_back_when_a_run_gets_a_rate_and_may_be_given_again_without() {
    let mut story = begin(1_000, MapRunSpec { max_items_per_second: None, ..paced(1.0, 1) });
    story.pass(1.0, &[W1, W2]);
    let ahead: usize = story.grants().iter().map(|grant| grant.batches.len()).sum();
    assert!(ahead > 2, "{ahead} batches");
    update(&mut story, Some(5.0));
    let revoked = |story: &Story| {
        let asked = |message: &CoordinatorMessage| {
            matches!(message, CoordinatorMessage::Revoke { cancel: false, .. })
        };
        story.sent.iter().filter(|(_, message)| asked(message)).count()
    };
    assert!(revoked(&story) >= 2, "{:?}", story.sent);
    assert!(story.grants().is_empty());
    update(&mut story, None);
    story.pass(1.0, &[W1, W2]);
    assert_eq!(story.scheduler.map_run(&run()).unwrap().spec.max_items_per_second, None);
}

#[test]
fn a_worker_that_does_not_begin_what_it_has_gets_no_more() {
    let mut story = Story::over_rows(1_000, paced(100.0, 10), Config::default());
    story.slots = 8;
    story.hello(W1, Vec::new());
    story.pass(10.0, &[W1]);
    let granted: usize = story.grants().iter().map(|grant| grant.batches.len()).sum();
    assert_eq!(granted, 2, "a fifth of a second's items");
}

#[test]
fn workers_are_not_told_of_the_rate() {
    let story = begin(10, paced(5.0, 1));
    let told = story.sent.iter().find_map(|(_, message)| match message {
        CoordinatorMessage::OpenRun(context) => Some(context.spec.max_items_per_second),
        _ => None,
    });
    assert_eq!(told, Some(None));
}

#[test]
fn batches_pay_for_what_they_have() {
    for (batches, items, most, each) in [
        (1, 3, 5, &[3][..]),
        (3, 12, 5, &[5, 5, 2]),
        (2, 10, 5, &[5, 5]),
        // The last one is a record that crosses the shard's border.
        (6, 18, 4, &[4, 4, 4, 4, 1, 1]),
        (5, 17, 4, &[4, 4, 4, 4, 1]),
        (2, 2, 5, &[1, 1]),
        // Cut by bytes: nobody knows which has how many.
        (4, 9, 5, &[3, 3, 3, 3]),
        (4, 10, 5, &[3, 3, 3, 3]),
    ] {
        let paid: Vec<u64> = (0..batches).map(|batch| items_of(batch, batches, items, most)).collect();
        assert_eq!(paid, each, "{items} items in {batches} batches");
    }
}
