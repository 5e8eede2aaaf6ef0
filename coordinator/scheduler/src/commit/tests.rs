//! How soon transactions follow each other.

use warifu_model::MapRunState;
use warifu_model::protocol::WorkerMessage;
use warifu_model::spec::MapRunSpec;

use crate::Config;
use crate::testing::job::spec;
use crate::testing::story::{Story, W1, report};

#[test]
fn a_short_run_waits_for_its_own_transactions_alone() {
    let mut story = Story::over_rows(1, MapRunSpec { compensation: None, ..spec() }, Config::default());
    story.hello(W1, vec![]);
    let grant = story.grant();
    story.begins(W1, &grant);
    story.says(W1, WorkerMessage::Report(report(&grant, 1, None)));
    story.gives_back_the_slot(W1);
    assert_eq!((story.state(), story.seconds), (MapRunState::Succeeded, 0.0));
}

#[test]
fn after_some_at_once_transactions_keep_to_their_interval() {
    let config = Config { max_span_batches: 1, ..Config::default() };
    let mut story = Story::over_rows(100, MapRunSpec { compensation: None, ..spec() }, config);
    story.hello(W1, vec![]);
    let mut reported = 0;
    while reported < 100 {
        let grants = story.grants();
        if grants.is_empty() {
            break;
        }
        for grant in grants {
            reported += 1;
            story.begins(W1, &grant);
            story.says(W1, WorkerMessage::Report(report(&grant, 1, None)));
            story.gives_back_the_slot(W1);
        }
    }
    // What was reported after the tenth transaction is counted by none: a worker's batches are granted without one.
    let counted = |story: &Story| story.status.as_ref().unwrap().item_counts.succeeded;
    assert!((1..20).contains(&counted(&story)), "{} of {reported}", counted(&story));
    story.pass(0.1, &[W1]);
    assert_eq!(counted(&story), reported);
}
