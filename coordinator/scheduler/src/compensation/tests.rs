//! One run that is stopped, its compensation, and everything that can happen to it.

pub(crate) mod story;

use std::time::Duration;

use warifu_model::protocol::{CoordinatorMessage, ReportVerdict, WorkerMessage};
use warifu_model::*;

use self::story::{Story, W1, W2, WAIT, at, held, name, run, spec, stream, worker_id};
use crate::{Config, Effects, Event, RequestId};

#[test]
fn a_try_is_counted_then_granted_and_its_success_ends_the_run_as_it_would_have_ended() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.pass(1.0, &[]);
    story.stop();
    let grant = story.grant();
    let call = grant.compensation.clone().unwrap();
    assert_eq!(
        (call.trigger, call.error.error.as_str()),
        (CompensationTrigger::Stopped, error_name::ABORTED)
    );
    assert_eq!(call.result_location.unwrap().bucket, "out");
    assert_eq!((grant.slots, grant.shard.shard, grant.batches[0].attempt), (1, ShardNumber::COMPENSATION, 1));
    let counted = story.compensation();
    assert_eq!((counted.state, counted.attempts), (CompensationState::Running, 1));
    assert_eq!((story.state(), counted.worker), (MapRunState::Stopping, Some(worker_id(W1))));

    assert_eq!(story.report(W1, &grant, None), Some(ReportVerdict::Accepted));
    let ended = story.compensation();
    assert_eq!((ended.state, ended.attempts, ended.error), (CompensationState::Succeeded, 1, None));
    assert!(ended.start_time.is_some() && ended.stop_time.is_some());
    let status = story.status.clone().unwrap();
    assert_eq!(
        (status.state, status.error.unwrap().error.as_str()),
        (MapRunState::Aborted, error_name::ABORTED)
    );
    assert_eq!(status.item_counts, ItemCounts::default());
    assert_eq!((story.manifests, status.result_location.unwrap().bucket.as_str()), (1, "out"));
    let again = story.report(W1, &grant, None);
    assert!(matches!(again, Some(ReportVerdict::Refused { .. })), "{again:?}");
}

#[test]
fn nothing_is_granted_before_the_count_is_durable() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    let cause = String::new();
    let mut events = vec![Event::StopRequested { request: RequestId(2), map_run: run(), cause }];
    let mut commits = 0;
    for _ in 0..100 {
        story.seconds += 0.1;
        let event = events.pop().unwrap_or(Event::DeadlineReached);
        let mut effects = Effects::new();
        story.scheduler.step(at(story.seconds), event, &mut effects);
        events.extend(story.carry_out(effects));
        if !story.grants().is_empty() {
            break;
        }
        commits += u32::from(story.status.as_ref().is_some_and(|status| {
            status.compensation.as_ref().is_some_and(|compensation| compensation.attempts == 1)
        }));
    }
    assert!(commits >= 1, "it was written before it was granted");
}

#[test]
fn it_is_called_only_for_its_reasons_and_never_for_a_run_that_did_not_begin() {
    let mut other = spec();
    other.compensation.as_mut().unwrap().on = [CompensationTrigger::ToleranceExceeded].into();
    let queued = Config { max_active_map_runs: 0, ..Config::default() };
    for (spec, config) in [(other, Config::default()), (spec(), queued)] {
        let mut story = Story::of(spec, config);
        story.hello(W1, Vec::new());
        story.stop();
        assert_eq!((story.state(), story.grants().len()), (MapRunState::Aborted, 0));
        assert!(story.status.unwrap().compensation.is_none());
    }
}

#[test]
fn a_try_that_fails_is_followed_by_others_at_growing_distance_up_to_ten() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let mut granted_at = Vec::new();
    for attempt in 1..=10 {
        let grant = story.grant();
        granted_at.push(story.seconds);
        assert_eq!((grant.batches[0].attempt, grant.batches[0].round), (attempt, 0));
        assert_eq!(story.report(W1, &grant, Some("Http.503")), Some(ReportVerdict::Accepted));
        story.gives_back_the_slot(W1);
        let waited_from = story.seconds;
        while story.sent.iter().all(|(_, message)| !matches!(message, CoordinatorMessage::Grant(_)))
            && story.state() == MapRunState::Stopping
        {
            assert!(story.seconds < waited_from + 600.0, "nothing happens after try {attempt}");
            story.pass(0.5, &[W1]);
        }
    }
    let pauses: Vec<f64> = granted_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]) && pauses[8] > 500.0, "{pauses:?}");
    let ended = story.compensation();
    assert_eq!((ended.state, ended.attempts), (CompensationState::Failed, 10));
    assert_eq!(ended.error.unwrap().error, "Http.503");
    assert_eq!((story.state(), story.grants().len()), (MapRunState::Aborted, 0));
}

#[test]
fn no_try_begins_an_hour_after_it_was_due() {
    let config = Config { compensation_first_pause: Duration::from_secs(1_000), ..Config::default() };
    let mut story = Story::of(spec(), config);
    story.hello(W1, Vec::new());
    story.stop();
    for _ in 0..2 {
        let grant = story.grant();
        story.report(W1, &grant, Some("E"));
        story.gives_back_the_slot(W1);
        story.pass(2_010.0, &[W1]);
    }
    // The next pause would be 4,000 s: it is known at once that there is no next try.
    assert_eq!((story.state(), story.compensation().attempts), (MapRunState::Aborted, 2));
    assert_eq!(story.compensation().state, CompensationState::Failed);
}

#[test]
fn without_a_worker_that_offers_the_handler_it_is_not_run_and_the_run_ends() {
    let handlers = [name("h")];
    let mut story = Story::begin();
    story.hello_with(W1, &handlers, Vec::new(), true);
    story.hello_with(W2, &[name("h"), name("undo")], Vec::new(), false);
    story.stop();
    story.pass(WAIT as f64 - 5.0, &[W1, W2]);
    assert_eq!(
        (story.state(), story.compensation().state),
        (MapRunState::Stopping, CompensationState::Pending)
    );
    story.pass(10.0, &[W1, W2]);
    let ended = story.compensation();
    assert_eq!((ended.state, ended.attempts, story.grants().len()), (CompensationState::NotRun, 0, 0));
    assert!(ended.error.unwrap().cause.contains("undo for 60 s"));
    assert_eq!((story.state(), ended.start_time), (MapRunState::Aborted, None));
}

#[test]
fn a_worker_that_comes_in_time_takes_it() {
    let mut story = Story::begin();
    story.stop();
    story.pass(WAIT as f64 - 5.0, &[]);
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let grant = story.grant();
    story.report(W1, &grant, None);
    assert_eq!(story.compensation().state, CompensationState::Succeeded);
}

#[test]
fn a_try_whose_worker_is_lost_is_followed_by_one_with_the_same_key() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story.stop();
    let first = story.grant();
    let (holder, other) =
        if story.compensation().worker == Some(worker_id(W1)) { (W1, W2) } else { (W2, W1) };
    story.step(Event::StreamClosed { stream: stream(holder) });
    story.pass(19.0, &[other]);
    assert!(story.grants().is_empty(), "its session may still be valid");
    story.pass(5.0, &[other]);
    let second = story.grant();
    assert_eq!((second.batches[0].attempt, second.batches[0].round), (2, first.batches[0].round));
    assert_eq!(story.compensation().error.unwrap().error, error_name::WORKER_LOST);
    let late = story.report(holder, &first, None);
    assert!(!matches!(late, Some(ReportVerdict::Accepted)), "{late:?}");
    assert_eq!(story.state(), MapRunState::Stopping);
    story.report(other, &second, None);
    assert_eq!((story.compensation().attempts, story.state()), (2, MapRunState::Aborted));
}

#[test]
fn a_try_that_is_given_back_is_lost_and_another_follows() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let first = story.grant();
    story.says(W1, WorkerMessage::Returned { lease: first.lease, batches: RangeSet::from_range(0..1) });
    story.gives_back_the_slot(W1);
    story.pass(5.0, &[W1]);
    assert_eq!(story.grant().batches[0].attempt, 2);
}

#[test]
fn a_new_leader_adopts_the_try_where_it_runs() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    story.new_leader(true);
    story.hello(W1, vec![held(&grant, 1)]);
    story.pass(30.0, &[W1]);
    assert!(story.grants().is_empty(), "it runs");
    assert_eq!(story.report(W1, &grant, None), Some(ReportVerdict::Accepted));
    assert_eq!((story.compensation().attempts, story.state()), (1, MapRunState::Aborted));
    assert_eq!(story.manifests, 1, "the manifest was written before");
}

#[test]
fn a_new_leader_waits_for_the_last_ones_try_until_nobody_can_have_it() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    story.new_leader(true);
    story.hello(W2, Vec::new());
    story.pass(20.0, &[W2]);
    assert!(story.grants().is_empty(), "w1 may still have it");
    story.pass(10.0, &[W2]);
    assert_eq!(story.grant().batches[0].attempt, 2);
    // It comes too late, and with a try that is over.
    story.hello(W1, vec![held(&grant, 1)]);
    assert!(!matches!(story.report(W1, &grant, None), Some(ReportVerdict::Accepted)));
    assert_eq!(story.state(), MapRunState::Stopping);
}

#[test]
fn a_try_of_another_number_is_not_adopted() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    story.new_leader(true);
    story.hello(W1, vec![held(&grant, 2)]);
    let kept = story.sent.iter().find_map(|(_, message)| match message {
        CoordinatorMessage::Welcome(welcome) => Some(welcome.kept.len()),
        _ => None,
    });
    assert_eq!(kept, Some(0));
}

#[test]
fn a_single_process_that_starts_again_takes_its_try_for_lost() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    story.grant();
    story.new_leader(false);
    story.pass(1.0, &[]);
    story.hello(W2, Vec::new());
    story.pass(5.0, &[W2]);
    let grant = story.grant();
    assert_eq!(grant.batches[0].attempt, 2);
    story.report(W2, &grant, None);
    assert_eq!(story.state(), MapRunState::Aborted);
}

#[test]
fn what_has_ended_is_not_begun_again_by_a_new_leader() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    story.report(W1, &grant, None);
    // As if the leader had died between the two transactions.
    let status = story.status.as_mut().unwrap();
    (status.state, status.stopping_to) = (MapRunState::Stopping, Some(MapRunState::Aborted));
    story.new_leader(true);
    story.pass(30.0, &[]);
    assert_eq!((story.state(), story.grants().len()), (MapRunState::Aborted, 0));
    assert_eq!(story.manifests, 1);
}

#[test]
fn a_run_that_fails_because_its_results_cannot_be_written_is_compensated() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.unwritable_manifests = 1;
    story.stop();
    let grant = story.grant();
    let call = grant.compensation.clone().unwrap();
    // What it was stopped for stays its reason; the error is the one that the run ends with.
    assert_eq!((call.trigger, call.result_location), (CompensationTrigger::Stopped, None));
    assert_eq!(call.error.error, error_name::RESULT_WRITER_FAILED);
    story.report(W1, &grant, None);
    assert_eq!(story.state(), MapRunState::Failed);
}
