//! Who gets a try, when, and until when somebody is waited for.

use std::time::Duration;

use warifu_model::protocol::{CoordinatorMessage, ReportVerdict, WorkerMessage};
use warifu_model::spec::MapRunSpec;
use warifu_model::*;

use crate::testing::job::spec;
use crate::testing::story::{Story, W1, W2, WAIT, held, name, report, rival, run, stream, worker_id};
use crate::{Config, Event};

const HOUR: f64 = 3_600.0;

/// A run that takes every slot that it gets, and is not compensated.
fn greedy() -> MapRunSpec {
    MapRunSpec { max_concurrency: None, compensation: None, ..spec() }
}

#[test]
fn a_worker_that_knows_no_compensation_is_told_of_none() {
    let mut story = Story::begin();
    story.hello_with(W1, &[name("h")], Vec::new(), false);
    story.hello_with(W2, &[name("h")], Vec::new(), true);
    story.step(Event::StreamClosed { stream: stream(W1) });
    story.pass(1.0, &[W1, W2]);
    let told = |worker| {
        story.sent.iter().find_map(|(to, message)| match message {
            CoordinatorMessage::OpenRun(context) if *to == stream(worker) => {
                Some(context.spec.compensation.is_some())
            }
            _ => None,
        })
    };
    // The first one is told to read the head; when it is gone, the second one is.
    assert_eq!((told(W1), told(W2)), (Some(false), Some(true)));
}

#[test]
fn hours_without_a_leader_do_not_end_what_was_never_tried() {
    for offers in [true, false] {
        let mut story = Story::begin();
        story.hello_with(W1, &[name("h")], Vec::new(), true);
        story.stop();
        story.pass(5.0, &[W1]);
        assert_eq!(story.compensation().state, CompensationState::Pending);
        story.nobody_leads_for(2.0 * HOUR);
        story.new_leader(false);
        story.pass(WAIT as f64 - 5.0, &[]);
        assert_eq!(story.state(), MapRunState::Stopping, "it waits for a worker as long as ever");
        if offers {
            story.hello(W2, Vec::new());
            story.pass(1.0, &[W2]);
            let grant = story.grant();
            story.report(W2, &grant, None);
            assert_eq!(story.compensation().state, CompensationState::Succeeded);
        } else {
            story.pass(10.0, &[]);
            let ended = story.compensation();
            assert_eq!(ended.state, CompensationState::NotRun);
            assert!(ended.error.unwrap().cause.contains("offered the handler undo for 60 s"));
        }
    }
}

#[test]
fn without_a_free_slot_it_is_waited_for_an_hour_by_one_leader() {
    let mut story = Story::begin();
    story.create_over_rows(rival(), 1, greedy());
    story.pass(0.5, &[]);
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let busy = story.grant();
    assert_eq!(busy.map_run, rival());
    story.begins(W1, &busy);
    story.stop();
    story.pass(HOUR - 60.0, &[W1]);
    assert_eq!(story.compensation().state, CompensationState::Pending);
    story.pass(70.0, &[W1]);
    let ended = story.compensation();
    assert_eq!((ended.state, story.state()), (CompensationState::NotRun, MapRunState::Aborted));
    assert!(
        ended.error.unwrap().cause.contains("no worker had a free slot for the handler undo within 3600 s")
    );
}

#[test]
fn once_it_was_tried_a_worker_is_waited_for_until_its_hour_is_over() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    story.report(W1, &grant, Some("Http.503"));
    story.step(Event::StreamClosed { stream: stream(W1) });
    story.pass(HOUR - 60.0, &[]);
    assert_eq!(story.state(), MapRunState::Stopping, "{:?}", story.compensation());
    story.pass(70.0, &[]);
    let ended = story.compensation();
    assert_eq!((ended.state, ended.attempts), (CompensationState::Failed, 1));
    assert_eq!(ended.error.unwrap().error, "Http.503");
}

#[test]
fn the_next_try_goes_to_another_worker_than_the_last_one() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story.stop();
    let first = story.grant();
    assert_eq!(story.compensation().worker, Some(worker_id(W1)));
    story.report(W1, &first, Some("Http.503"));
    story.gives_back_the_slot(W1);
    story.pass(5.0, &[W1, W2]);
    assert_eq!(story.compensation().worker, Some(worker_id(W2)));
    let to_second = story
        .sent
        .iter()
        .any(|(to, message)| *to == stream(W2) && matches!(message, CoordinatorMessage::Grant(_)));
    assert!(to_second);
}

#[test]
fn a_lost_try_names_the_worker_that_had_it() {
    let mut story = Story::begin();
    story.hello(W1, Vec::new());
    story.stop();
    let grant = story.grant();
    // As if it had been counted for another one.
    story.status.as_mut().unwrap().compensation.as_mut().unwrap().worker = Some(worker_id(W2));
    story.new_leader(true);
    story.hello(W1, vec![held(&grant, 1)]);
    story.says(W1, WorkerMessage::Returned { lease: grant.lease, batches: RangeSet::from_range(0..1) });
    story.pass(0.5, &[W1]);
    assert_eq!(story.compensation().worker, Some(worker_id(W1)));
}

/// The one worker's one slot is taken by a batch of the rival, and the other run's compensation is due.
fn contended() -> (Story, protocol::Grant) {
    let mut story = Story::begin();
    story.create_over_rows(rival(), 100, greedy());
    story.pass(0.5, &[]);
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let busy = story.grants().remove(0);
    assert_eq!(busy.map_run, rival());
    (story, busy)
}

fn ends_batches(story: &mut Story, grant: &protocol::Grant) {
    story.says(W1, WorkerMessage::Report(report(grant, 1, None)));
    story.says(W1, WorkerMessage::Shrink { map_run: grant.map_run.clone(), slots: 1 });
}

#[test]
fn a_try_gets_the_next_free_slot_though_another_run_wants_it() {
    let (mut story, busy) = contended();
    story.stop();
    story.begins(W1, &busy);
    assert!(story.grants().is_empty(), "the slot is taken, and the rival gets nothing ahead");
    ends_batches(&mut story, &busy);
    story.pass(0.1, &[W1]);
    let grants = story.grants();
    assert_eq!(grants.first().map(|grant| &grant.map_run), Some(&run()), "{grants:?}");
    assert_eq!(story.compensation().state, CompensationState::Running);
}

#[test]
fn while_the_next_try_is_yet_to_come_other_runs_go_on() {
    let config = Config { compensation_first_pause: Duration::from_secs(30), ..Config::default() };
    let mut story = Story::of(spec(), config);
    story.hello(W1, Vec::new());
    story.stop();
    let first = story.grant();
    story.create_over_rows(rival(), 100, greedy());
    assert_eq!(story.report(W1, &first, Some("Http.503")), Some(ReportVerdict::Accepted));
    story.gives_back_the_slot(W1);
    story.pass(1.0, &[W1]);
    let busy = story.grants().remove(0);
    story.begins(W1, &busy);
    story.pass(1.0, &[W1]);
    let ahead = story.grants();
    assert_eq!(ahead.first().map(|grant| (&grant.map_run, grant.slots)), Some((&rival(), 0)), "{ahead:?}");
}

#[test]
fn a_high_error_rate_is_told_before_the_compensation_begins() {
    let mut story = Story::over_rows(1, spec(), Config::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let grant = story.grant();
    story.begins(W1, &grant);
    story.report(W1, &grant, Some("E"));
    story.gives_back_the_slot(W1);
    story.pass(1.0, &[W1]);
    let status = story.status.clone().unwrap();
    assert_eq!(
        (status.state, story.compensation().state),
        (MapRunState::Stopping, CompensationState::Running)
    );
    assert_eq!(status.warnings.last().unwrap().reason, "ERROR_RATE_HIGH", "{:?}", status.warnings);
}
