//! A run whose concurrency is chosen, in a scheduler with workers.

use std::time::Duration;

use warifu_model::protocol::{BatchReport, CallOutcome, CoordinatorMessage, FailedItems, WorkerMessage};
use warifu_model::spec::{LimitsUpdate, MapRunSpec};
use warifu_model::*;

use super::controller::CallEnd;
use super::end_of_call;
use crate::record::OpenBatch;
use crate::testing::job::spec;
use crate::testing::story::{Story, W1, W2, report, run};
use crate::{Config, Event, RequestId};

fn adaptive(max_concurrency: Option<u32>, target_duration: Option<Duration>) -> MapRunSpec {
    let adaptive_concurrency = Some(AdaptiveConcurrency { target_duration });
    let tolerance = Tolerance { count: None, percentage: Some(100.0) };
    MapRunSpec { max_concurrency, adaptive_concurrency, tolerance, compensation: None, ..spec() }
}

fn begin(rows: usize, spec: MapRunSpec) -> Story {
    let mut story = Story::over_rows(rows, spec, Config::default());
    story.slots = 16;
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story
}

/// Workers do what they are granted, in calls that take so long for each slot that is held beyond `capacity`.
fn work(story: &mut Story, seconds: f64, capacity: u32, failure: Option<&str>) -> Vec<u32> {
    let end = story.seconds + seconds;
    let mut limits = Vec::new();
    while story.seconds < end {
        story.pass(1.2, &[W1, W2]);
        for (stream, message) in std::mem::take(&mut story.sent) {
            let CoordinatorMessage::Grant(grant) = message else { continue };
            let slots = story.scheduler.slots(&run()).unwrap();
            let waiting = f64::from(slots.held) / f64::from(capacity);
            let worker = u128::from(stream.0);
            story.begins(worker, &grant);
            let failure = failure.map(|error| CallFailure::system(error, "why"));
            let mut report = report(&grant, 1, failure);
            for entry in &mut report.entries {
                entry.handler_time = Duration::from_secs_f64(0.1 * waiting.max(1.0));
            }
            story.says(worker, WorkerMessage::Report(report));
            if grant.slots > 0 {
                story.says(worker, WorkerMessage::Shrink { map_run: run(), slots: grant.slots });
            }
            limits.push(slots.limit);
        }
    }
    limits
}

fn update(story: &mut Story, max_concurrency: Option<u32>) {
    let update = LimitsUpdate { max_concurrency: Some(max_concurrency), ..LimitsUpdate::default() };
    story.step(Event::UpdateRequested { request: RequestId(9), map_run: run(), update });
    story.pass(0.1, &[W1, W2]);
}

fn limit(story: &Story) -> AdaptedLimit {
    story.scheduler.map_run(&run()).unwrap().adapted_limit.expect("it runs")
}

/// Slots that were given since the last look.
fn slots_given(story: &Story) -> u32 {
    let slots = story.sent.iter().map(|(_, message)| match message {
        CoordinatorMessage::Grant(grant) => grant.slots,
        CoordinatorMessage::Slots { slots, .. } => *slots,
        _ => 0,
    });
    slots.sum()
}

#[test]
fn a_run_begins_with_one_batch_at_once_and_rises_to_its_ceiling() {
    let mut story = begin(100_000, adaptive(Some(20), None));
    story.pass(0.5, &[W1, W2]);
    assert_eq!(slots_given(&story), 1);
    assert_eq!(limit(&story), AdaptedLimit { limit: 1, reason: LimitReason::Starting });
    let limits = work(&mut story, 60.0, u32::MAX, None);
    assert!(limits.iter().all(|limit| (1..=20).contains(limit)), "{limits:?}");
    assert_eq!(limit(&story), AdaptedLimit { limit: 20, reason: LimitReason::MaxConcurrency });
    let view = story.scheduler.map_run(&run()).unwrap();
    assert_eq!(view.spec.adaptive_concurrency, Some(AdaptiveConcurrency::default()));
}

#[test]
fn it_stays_near_what_the_handler_bears_and_failures_bring_it_down() {
    let mut story = begin(100_000, adaptive(None, None));
    work(&mut story, 120.0, 6, None);
    assert!((5..=10).contains(&limit(&story).limit), "{:?}", limit(&story));
    assert!(matches!(limit(&story).reason, LimitReason::Latency { .. }), "{:?}", limit(&story));
    work(&mut story, 30.0, 6, Some("Http.503"));
    assert_eq!(limit(&story).limit, 1);
    assert!(matches!(limit(&story).reason, LimitReason::Failures { .. }), "{:?}", limit(&story));
    work(&mut story, 120.0, 6, None);
    assert!((5..=10).contains(&limit(&story).limit), "{:?}", limit(&story));
}

#[test]
fn a_lower_ceiling_holds_at_once_and_a_higher_one_is_used() {
    let mut story = begin(100_000, adaptive(Some(20), None));
    work(&mut story, 60.0, u32::MAX, None);
    update(&mut story, Some(3));
    assert_eq!(limit(&story), AdaptedLimit { limit: 3, reason: LimitReason::MaxConcurrency });
    let limits = work(&mut story, 10.0, u32::MAX, None);
    assert!(limits.iter().all(|limit| *limit == 3), "{limits:?}");
    update(&mut story, None);
    work(&mut story, 60.0, u32::MAX, None);
    assert!(limit(&story).limit > 20, "{:?}", limit(&story));
}

#[test]
fn a_new_leader_goes_on_with_the_limit_that_is_stored() {
    let mut story = begin(100_000, adaptive(Some(20), None));
    work(&mut story, 60.0, u32::MAX, None);
    let stored = story.status.as_ref().unwrap().adapted.unwrap();
    assert_eq!(stored.limit.limit, 20);
    story.new_leader(false);
    assert_eq!(limit(&story), AdaptedLimit { limit: 20, reason: LimitReason::MaxConcurrency });
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story.pass(0.5, &[W1, W2]);
    assert_eq!(slots_given(&story), 20);
}

/// The ceiling is unlimited, and yet slots that nobody has accounted for count.
#[test]
fn in_an_adoption_window_nothing_is_given_beyond_the_limit() {
    let mut story = begin(100_000, adaptive(None, None));
    work(&mut story, 30.0, u32::MAX, None);
    story.new_leader(true);
    story.pass(6.0, &[]);
    story.hello(W1, Vec::new());
    story.pass(0.5, &[W1]);
    assert_eq!(slots_given(&story), 0, "the other worker may hold as many as the limit allows");
    story.hello(W2, Vec::new());
    story.pass(0.5, &[W1, W2]);
    assert_eq!(slots_given(&story), limit(&story).limit.min(32));
}

#[test]
fn a_target_is_met_with_as_few_as_will_do() {
    // 12,000 batches of 100 ms are 1,200 s of work: four at once do it in 300 s.
    let mut story = begin(12_000, adaptive(Some(20), Some(Duration::from_secs(300))));
    let limits = work(&mut story, 20.0, u32::MAX, None);
    assert!(limits.iter().all(|limit| *limit <= 5), "{limits:?}");
    assert_eq!(limit(&story).reason, LimitReason::TargetDuration);
}

#[test]
fn ends_of_calls_are_told_apart() {
    use CallOutcome::{Aborted, Answered, Failed, TimedOut};
    let failed = |failure: CallFailure| {
        vec![FailedItems { items: RangeSet::from_range(0..1), failure, places: Vec::new() }]
    };
    let system = || failed(CallFailure::system("Http.503", "busy"));
    let business = || failed(CallFailure::business("Http.404", "unknown"));
    let lost = || failed(CallFailure::system(error_name::WORKER_LOST, "lost"));
    let (none, some) = (RangeSet::new(), RangeSet::from_range(0..1));
    let part = OpenBatch { undecided: some.clone(), ..OpenBatch::default() };
    let whole = OpenBatch { undecided: RangeSet::from_range(0..2), ..OpenBatch::default() };
    for (call, failed, undecided, open, expected) in [
        (Answered, vec![], &none, None, Some(CallEnd::Answered)),
        (Answered, vec![], &none, Some(&whole), Some(CallEnd::Answered)),
        (Answered, vec![], &none, Some(&part), Some(CallEnd::AnsweredInPart)),
        (Answered, business(), &some, None, Some(CallEnd::Answered)),
        (Answered, system(), &none, None, Some(CallEnd::Failed)),
        (Failed, system(), &none, None, Some(CallEnd::Failed)),
        (Failed, vec![], &some, None, Some(CallEnd::Failed)),
        (Failed, business(), &none, None, Some(CallEnd::AnsweredInPart)),
        (Failed, lost(), &none, None, None),
        (TimedOut, vec![], &some, None, Some(CallEnd::Failed)),
        (TimedOut, system(), &none, None, Some(CallEnd::Failed)),
        (Aborted, vec![], &none, None, None),
    ] {
        let entry = BatchReport {
            batch: BatchOrdinal(0),
            attempt: 1,
            round: 0,
            first_item: 0,
            item_count: 2,
            bytes: warifu_dataset::ByteRange::new(0, 1),
            call,
            failed,
            undecided: undecided.clone(),
            retriers: Vec::new(),
            handler_time: Duration::ZERO,
        };
        assert_eq!(end_of_call(&entry, open), expected, "{entry:?}");
    }
}
