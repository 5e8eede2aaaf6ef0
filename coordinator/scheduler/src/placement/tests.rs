//! Who gets what of a run of several shards: those that scanned it, as far as they can.

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_model::RangeSet;
use warifu_model::protocol::{CoordinatorMessage, Grant, ScanOrder, WorkerMessage};
use warifu_model::spec::MapRunSpec;

use crate::testing::job::{retried_after, spec};
use crate::testing::story::{Story, W1, W2, report, stream, to_be_retried};
use crate::{Config, Event, StreamId};

/// Batches of a shard: a worker with one slot first gets four of them.
const BATCHES: usize = 10;

/// A worker that comes later.
const W3: u128 = 3;

/// Two workers that scan: the second one shard 0, the first one shard 1. Retries come after ten minutes.
fn begin(shards: usize) -> Story {
    begin_within(shards, None)
}

fn begin_within(shards: usize, max_concurrency: Option<u32>) -> Story {
    let item_processor = retried_after(Duration::from_secs(600));
    let spec = MapRunSpec { item_processor, max_concurrency, compensation: None, ..spec() };
    let mut story = Story::over_shards(shards, BATCHES, spec, Config::default());
    story.slots = if max_concurrency.is_some() { 2 } else { 1 };
    story.hello(W2, vec![]);
    story.hello(W1, vec![]);
    story
}

/// The same, with shard 0 scanned; and the orders to scan that are not carried out yet.
fn begin_with_the_first_scanned(
    shards: usize,
    max_concurrency: Option<u32>,
) -> (Story, Vec<(StreamId, ScanOrder)>) {
    let mut story = begin_within(shards, max_concurrency);
    let mut orders = story.scan_orders();
    story.scans(orders.remove(0));
    (story, orders)
}

/// Who was granted how many batches of which shard since the last call.
fn grants(story: &mut Story) -> Vec<(StreamId, u32, usize)> {
    let granted = story.sent.extract_if(.., |(_, message)| matches!(message, CoordinatorMessage::Grant(_)));
    let grant = |(stream, message)| match message {
        CoordinatorMessage::Grant(grant) => Some((stream, grant.shard.shard.0, grant.batches.len())),
        _ => None,
    };
    granted.filter_map(grant).collect()
}

/// Who was told to scan which shards.
fn told(orders: &[(StreamId, ScanOrder)]) -> Vec<(StreamId, u32)> {
    orders.iter().map(|(stream, order)| (*stream, order.shard.0)).collect()
}

#[test]
fn a_worker_gets_what_it_scanned_and_one_that_scans_waits_for_its_own() {
    let mut story = begin(2);
    let mut orders = story.scan_orders();
    assert_eq!(told(&orders), [(stream(W2), 0), (stream(W1), 1)]);
    story.scans(orders.remove(0));
    story.pass(1.0, &[W1, W2]);
    // The first worker would come first by its number.
    let granted = grants(&mut story);
    assert!(granted.iter().all(|(to, shard, _)| (*to, *shard) == (stream(W2), 0)), "{granted:?}");
    assert!(granted.iter().map(|(_, _, batches)| batches).sum::<usize>() < BATCHES, "{granted:?}");
    story.scans(orders.remove(0));
    story.pass(1.0, &[W1, W2]);
    let granted = grants(&mut story);
    assert!(granted.contains(&(stream(W1), 1, 4)), "{granted:?}");
    assert!(granted.iter().all(|(to, shard, _)| (*to == stream(W2)) == (*shard == 0)), "{granted:?}");
}

#[test]
fn what_a_worker_scanned_that_is_gone_is_for_those_that_scan_too() {
    let (mut story, _) = begin_with_the_first_scanned(2, None);
    story.pass(1.0, &[W1, W2]);
    grants(&mut story);
    story.step(Event::StreamClosed { stream: stream(W2) });
    story.pass(1.0, &[W1]);
    let granted = grants(&mut story);
    assert!(granted.contains(&(stream(W1), 0, 4)), "{granted:?}");
}

#[test]
fn a_worker_scans_no_more_than_its_part_ahead_unless_all_wait_for_it() {
    let mut story = begin(8);
    let mut orders = story.scan_orders();
    for shard in [0, 2] {
        let at = orders.iter().position(|(_, order)| order.shard.0 == shard).unwrap();
        story.scans(orders.remove(at));
        story.pass(1.0, &[W1, W2]);
        orders.extend(story.scan_orders());
    }
    // One composed shard that is not leased to its end, and one that cannot be composed without shard 1.
    assert_eq!(told(&orders), [(stream(W1), 1)]);
    story.pass(60.0, &[W2]);
    assert_eq!(told(&story.scan_orders()), [(stream(W2), 1)]);
}

#[test]
fn batches_that_wait_for_their_retry_do_not_keep_others_from_being_scanned() {
    let item_processor = retried_after(Duration::from_secs(600));
    let spec = MapRunSpec { item_processor, compensation: None, ..spec() };
    let mut story = Story::over_shards(12, 1, spec, Config::default());
    story.holds_scans = false;
    story.hello(W1, vec![]);
    let mut seen = BTreeSet::new();
    for _ in 0..24 {
        story.pass(0.2, &[W1]);
        for grant in story.grants() {
            seen.insert(grant.shard.shard.0);
            story.begins(W1, &grant);
            story.says(W1, WorkerMessage::Report(to_be_retried(report(&grant, 1, None))));
            story.gives_back_the_slot(W1);
        }
    }
    assert_eq!(seen, (0..12).collect());
}

#[test]
fn neither_a_retry_that_is_not_due_nor_one_who_scans_keeps_work_from_an_idle_worker() {
    let (mut story, _) = begin_with_the_first_scanned(2, None);
    story.pass(0.2, &[W1, W2]);
    let grant = story.grants().remove(0);
    story.begins(W2, &grant);
    let mut report = to_be_retried(report(&grant, 1, None));
    report.entries.truncate(1);
    story.says(W2, WorkerMessage::Report(report));
    story.pass(0.2, &[W1, W2]);
    grants(&mut story);
    story.hello(W3, vec![]);
    story.pass(0.2, &[W1, W2, W3]);
    let granted = grants(&mut story);
    assert!(granted.iter().any(|(to, shard, _)| (*to, *shard) == (stream(W3), 0)), "{granted:?}");
}

#[test]
fn of_a_run_with_a_limit_nobody_holds_all_slots_because_others_still_scan() {
    let (mut story, _) = begin_with_the_first_scanned(2, Some(2));
    story.pass(0.2, &[W1, W2]);
    let granted: Vec<_> = grants(&mut story).iter().map(|(to, shard, _)| (*to, *shard)).collect();
    assert!(granted.contains(&(stream(W1), 0)) && granted.contains(&(stream(W2), 0)), "{granted:?}");
}

#[test]
fn of_two_idle_workers_the_one_that_scanned_goes_first() {
    let (mut story, _) = begin_with_the_first_scanned(2, Some(1));
    story.pass(0.2, &[W1, W2]);
    let granted: BTreeSet<_> = grants(&mut story).iter().map(|(to, shard, _)| (*to, *shard)).collect();
    assert_eq!(granted, BTreeSet::from([(stream(W2), 0)]));
}

#[test]
fn of_two_workers_with_nothing_left_to_begin_the_one_that_scanned_goes_first() {
    let item_processor = retried_after(Duration::from_secs(600));
    let spec = MapRunSpec { item_processor, max_concurrency: Some(2), compensation: None, ..spec() };
    let mut story = Story::over_shards(2, BATCHES, spec, Config::default());
    story.slots = 1;
    // Only the second worker is there to scan.
    story.hello(W2, vec![]);
    let first = story.scan_orders().remove(0);
    story.scans(first);
    let mut orders = story.scan_orders();
    assert_eq!(told(&orders), [(stream(W2), 1)]);
    story.hello(W1, vec![]);
    for _ in 0..BATCHES {
        story.pass(0.2, &[W1, W2]);
        for (to, message) in std::mem::take(&mut story.sent) {
            if let CoordinatorMessage::Grant(grant) = message {
                story.begins(if to == stream(W1) { W1 } else { W2 }, &grant);
            }
        }
    }
    story.scans(orders.remove(0));
    story.pass(0.2, &[W1, W2]);
    let granted = grants(&mut story);
    assert!(granted.iter().all(|(_, shard, _)| *shard == 1), "{granted:?}");
    assert_eq!(granted.first().map(|(to, ..)| *to), Some(stream(W2)), "{granted:?}");
}

#[test]
fn a_batch_that_was_lost_twice_runs_alone_and_others_follow_it() {
    let spec = MapRunSpec { max_concurrency: None, compensation: None, ..spec() };
    let mut story = Story::over_rows(6, spec, Config::default());
    story.slots = 2;
    let has_the_first = |grant: &&Grant| grant.batches.iter().any(|granted| granted.batch.0 == 0);
    for worker in [W1, W2] {
        story.hello(worker, vec![]);
        story.pass(1.0, &[worker]);
        let lease = story.grants().iter().find(has_the_first).unwrap().lease;
        story.says(worker, WorkerMessage::Begun { lease, batches: RangeSet::from_range(0..1) });
        story.step(Event::StreamClosed { stream: stream(worker) });
        story.pass(25.0, &[]);
    }
    story.hello(W3, vec![]);
    story.pass(1.0, &[W3]);
    let alone = story.grant();
    assert_eq!(alone.batches.iter().map(|granted| granted.batch.0).collect::<Vec<_>>(), [0]);
    story.pass(5.0, &[W3]);
    assert_eq!(story.grants(), [], "a slot is free, and batches wait");
    story.report(W3, &alone, None);
    assert!(!story.grants().is_empty());
}
