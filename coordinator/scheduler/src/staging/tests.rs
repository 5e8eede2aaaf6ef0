//! Sources that are rewritten first: who is asked, what counts, what is deleted.

use std::collections::BTreeSet;

use warifu_dataset::{Header, Probe};
use warifu_model::protocol::{CoordinatorMessage, RunFault, SourcePin, StagedSource, WorkerMessage};
use warifu_model::spec::{ItemReader, MapRunSpec};
use warifu_model::{InputForm, MapRunState};

use crate::testing::job::spec;
use crate::testing::story::{Story, W1, W2, at, name, run, stream};
use crate::{Config, Event, RequestId, SlotDemand};

/// A run whose source is JSON, running.
fn story() -> Story {
    let mut spec = spec();
    spec.compensation = None;
    spec.item_reader.form = InputForm::Json { items_pointer: String::new() };
    Story::of(spec, Config::default())
}

fn staged(key: &str) -> WorkerMessage {
    let source = SourcePin {
        bucket: "system".into(),
        key: key.into(),
        version_id: None,
        etag: key.into(),
        size_bytes: 20,
    };
    let probe = Probe { header: Header::none(), data_start: 0, newlines_before_data: 0 };
    WorkerMessage::Staged { map_run: run(), staged: Ok(StagedSource { source, probe }) }
}

/// Workers that were told to stage, since the last call.
fn stagers(story: &mut Story) -> Vec<u128> {
    let is_stage = |message: &CoordinatorMessage| matches!(message, CoordinatorMessage::Stage { .. });
    let sent = std::mem::take(&mut story.sent);
    let streams =
        sent.iter().filter(|(_, message)| is_stage(message)).map(|(stream, _)| u128::from(stream.0));
    streams.collect()
}

#[test]
fn one_worker_stages_and_another_takes_over_when_it_is_lost() {
    let mut story = story();
    story.hello(W1, Vec::new());
    story.hello(W2, Vec::new());
    story.pass(1.0, &[W1, W2]);
    assert_eq!(stagers(&mut story), [W1]);
    story.step(Event::StreamClosed { stream: stream(W1) });
    story.pass(1.0, &[W2]);
    assert_eq!(stagers(&mut story), [W2]);
    story.says(W2, staged("two"));
    story.pass(1.0, &[W2]);
    assert_eq!(story.plan.as_ref().unwrap().staged.as_ref().unwrap().key, "two");
    // The first one was only slow: its answer comes too late, and changes nothing.
    story.hello(W1, Vec::new());
    story.says(W1, staged("one"));
    story.pass(1.0, &[W1, W2]);
    assert_eq!(story.plan.as_ref().unwrap().staged.as_ref().unwrap().key, "two");
    assert_eq!(story.state(), MapRunState::Running);
}

#[test]
fn what_was_staged_outlives_the_leader_and_is_scanned() {
    let mut story = story();
    story.hello(W1, Vec::new());
    story.says(W1, staged("one"));
    story.pass(1.0, &[W1]);
    story.new_leader(false);
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    let sent = &story.sent;
    let opened = sent.iter().any(|(_, message)| match message {
        CoordinatorMessage::OpenRun(context) => context.source.key == "one",
        _ => false,
    });
    assert!(opened, "{sent:?}");
    assert!(sent.iter().any(|(_, message)| matches!(message, CoordinatorMessage::Scan(_))), "{sent:?}");
    assert_eq!(stagers(&mut story), []);
}

#[test]
fn a_leader_that_follows_before_the_answer_has_it_staged_again() {
    let mut story = story();
    story.hello(W1, Vec::new());
    assert_eq!(stagers(&mut story), [W1]);
    story.new_leader(false);
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    assert_eq!(stagers(&mut story), [W1]);
}

#[test]
fn a_source_that_cannot_be_staged_ends_the_run_and_leaves_nothing() {
    let mut story = story();
    story.hello(W1, Vec::new());
    let fault = RunFault { error: "States.ItemReaderFailed".into(), cause: "k is no valid gzip".into() };
    story.says(W1, WorkerMessage::Staged { map_run: run(), staged: Err(fault) });
    story.pass(1.0, &[W1]);
    assert_eq!(story.state(), MapRunState::Failed);
    let error = story.status.as_ref().unwrap().error.as_ref().unwrap();
    assert_eq!(
        (error.error.as_str(), error.cause.as_str()),
        ("States.ItemReaderFailed", "k is no valid gzip")
    );
    // All but the source itself, which lies elsewhere.
    assert_eq!(story.cleaned, [Some("k".to_owned())]);
}

#[test]
fn the_end_deletes_what_is_not_read_and_a_deletion_the_rest() {
    let mut story = story();
    story.hello(W1, Vec::new());
    story.says(W1, staged("one"));
    story.pass(1.0, &[W1]);
    story.stop();
    assert_eq!((story.state(), story.cleaned.clone()), (MapRunState::Aborted, vec![Some("one".to_owned())]));
    // A worker that did not hear of the end leaves another one.
    story.says(W1, staged("late"));
    assert_eq!(story.cleaned.len(), 2);
    story.step(Event::DeleteRequested { request: RequestId(3), map_run: run() });
    story.pass(1.0, &[W1]);
    assert_eq!(story.cleaned.last(), Some(&None));
    assert!(story.scheduler.map_run(&run()).is_none());
}

#[test]
fn only_a_worker_that_has_the_reader_is_asked_for_the_items_that_it_gives() {
    let spec =
        MapRunSpec { item_reader: ItemReader::of_handler(name("pages"), None), compensation: None, ..spec() };
    let mut story = Story::of(spec, Config::default());
    story.hello(W1, Vec::new());
    story.pass(1.0, &[W1]);
    assert_eq!(stagers(&mut story), []);
    let demand = |story: &Story, handler| {
        let handlers = BTreeSet::from([name(handler)]);
        story.scheduler.slot_demand(at(story.seconds).at, &handlers)
    };
    assert_eq!(demand(&story, "pages"), SlotDemand { slots: 1, is_active: true });
    assert_eq!(demand(&story, "another"), SlotDemand::default());
    story.hello_with(W2, &[name("h"), name("pages")], Vec::new(), true);
    story.pass(1.0, &[W1, W2]);
    assert_eq!(stagers(&mut story), [W2]);
    story.says(W2, staged("pages"));
    story.pass(1.0, &[W1, W2]);
    assert_eq!(demand(&story, "pages"), SlotDemand::default(), "it has given all of them");
}
