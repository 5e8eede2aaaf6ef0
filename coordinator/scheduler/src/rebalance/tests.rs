//! When batches that are not begun are asked back, and for whom.

use std::time::Duration;

use warifu_model::protocol::{CoordinatorMessage, WorkerMessage};
use warifu_model::spec::MapRunSpec;

use crate::Config;
use crate::testing::job::spec;
use crate::testing::story::{Story, W1, W2, report, stream};

/// Batches of a shard: fewer than a worker's first lease takes.
const BATCHES: usize = 10;

/// A worker that comes when nothing is left to scan.
const W3: u128 = 3;

/// A run of so many shards, and workers with eight slots.
fn begin(shards: usize) -> Story {
    let spec = MapRunSpec { max_concurrency: None, compensation: None, ..spec() };
    let mut story = Story::over_shards(shards, BATCHES, spec, Config::default());
    story.slots = 8;
    story
}

/// How many batches a worker was granted since the last call, or the last look for what was asked back.
fn granted(story: &mut Story) -> usize {
    story.grants().iter().map(|grant| grant.batches.len()).sum()
}

/// Whether batches of a worker were asked back since then.
fn is_asked_back(story: &mut Story, worker: u128) -> bool {
    let sent = std::mem::take(&mut story.sent);
    sent.iter().any(|(to, message)| {
        *to == stream(worker) && matches!(message, CoordinatorMessage::Revoke { cancel: false, .. })
    })
}

#[test]
fn a_worker_that_will_soon_have_a_shard_of_its_own_is_given_none_of_anothers() {
    let mut story = begin(2);
    story.hello(W2, vec![]);
    story.hello(W1, vec![]);
    let first = story.scan_orders().remove(0);
    assert_eq!((first.0, first.1.shard.0), (stream(W2), 0));
    story.scans(first);
    assert_eq!(granted(&mut story), BATCHES);
    // The first worker is scanning the other shard.
    story.pass(2.0, &[W1, W2]);
    assert!(!is_asked_back(&mut story, W2));
    story.hello(W3, vec![]);
    story.pass(0.5, &[W1, W2, W3]);
    assert!(is_asked_back(&mut story, W2));
}

/// After how many tenths of a second an idle worker gets some of what another one has not begun, if calls take so long.
fn asked_back_after(handler_time: Duration) -> Option<u32> {
    let mut story = begin(3);
    story.hello(W2, vec![]);
    let first = story.scan_orders().remove(0);
    story.scans(first);
    let second = story.scan_orders().remove(0);
    let grant = story.grant();
    story.begins(W2, &grant);
    let mut report = report(&grant, 1, None);
    report.entries.iter_mut().for_each(|entry| entry.handler_time = handler_time);
    story.says(W2, WorkerMessage::Report(report));
    story.sent.clear();
    story.scans(second);
    assert!(granted(&mut story) > 2);
    story.hello(W3, vec![]);
    (1..20).find(|_| {
        story.pass(0.1, &[W2, W3]);
        is_asked_back(&mut story, W2)
    })
}

#[test]
fn what_would_be_done_at_once_is_asked_back_later() {
    let (soon, later) =
        (asked_back_after(Duration::from_secs(1)), asked_back_after(Duration::from_millis(1)));
    assert_eq!((soon, later), (Some(1), Some(2)));
}
