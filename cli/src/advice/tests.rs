//! A table of runs: which rules speak, just over their thresholds, and which do not, just under.

use adapted_limit::Reason as LimitReason;
use limited_by::Type as LimitedBy;
use map_run::State;
use warifu_common::wire::v1::{Counts, ErrorSample, ItemBatcher, ItemProcessor, MapRunSpec, Progress};

use super::*;

/// Nine batches of 25 items in progress, two minutes to go, each batch half a second.
fn running(limited_by: LimitedBy) -> MapRun {
    MapRun {
        name: "mapRuns/users".into(),
        state: State::Running.into(),
        spec: Some(MapRunSpec {
            item_batcher: Some(ItemBatcher { max_items_per_batch: 25, ..ItemBatcher::default() }),
            item_processor: Some(ItemProcessor {
                handler: "stats".into(),
                timeout_seconds: 30,
                ..ItemProcessor::default()
            }),
            max_concurrency: 9,
            ..MapRunSpec::default()
        }),
        item_counts: Some(Counts { total: 100_000, pending: 60_000, succeeded: 40_000, ..Counts::default() }),
        batch_counts: Some(Counts { total: 4_000, pending: 2_391, running: 9, ..Counts::default() }),
        progress: Some(Progress {
            items_per_second: 450.0,
            eta: Some(prost_types::Duration { seconds: 120, nanos: 0 }),
            limited_by: limited_by.into(),
            ..Progress::default()
        }),
        ..MapRun::default()
    }
}

fn with_progress(mut run: MapRun, change: impl FnOnce(&mut Progress)) -> MapRun {
    change(run.progress.as_mut().unwrap());
    run
}

fn with_spec(mut run: MapRun, change: impl FnOnce(&mut MapRunSpec)) -> MapRun {
    change(run.spec.as_mut().unwrap());
    run
}

/// 100 of its items failed, `count` of them as `error`.
fn failing(error: &str, count: u64, message: &str) -> MapRun {
    let sample = ErrorSample { message: message.into(), ..ErrorSample::default() };
    let group = ErrorGroup { error: error.into(), count, samples: vec![sample], ..ErrorGroup::default() };
    MapRun {
        item_counts: Some(Counts { total: 100_000, failed: 100, succeeded: 99_900, ..Counts::default() }),
        error_groups: vec![group],
        ..with_progress(running(LimitedBy::Handler), |progress| progress.eta = None)
    }
}

fn failed(error: &str, cause: &str) -> MapRun {
    let error = RunError { error: error.into(), cause: cause.into() };
    MapRun { state: State::Failed.into(), error: Some(error), ..running(LimitedBy::Unspecified) }
}

fn adapted(reason: LimitReason) -> MapRun {
    let adapted = AdaptedLimit { limit: 2, reason: reason.into(), message: String::new() };
    MapRun { adapted_limit: Some(adapted), ..running(LimitedBy::Concurrency) }
}

#[test]
fn each_rule_speaks_on_its_own_side_of_its_threshold() {
    let fast = |run: MapRun, rate| with_progress(run, |progress| progress.items_per_second = rate);
    let ends_in = |run, seconds| {
        with_progress(run, |progress| progress.eta = Some(prost_types::Duration { seconds, nanos: 0 }))
    };
    let limit = |run, limit| with_spec(run, |spec| spec.max_concurrency = limit);
    let batches =
        |run, size| with_spec(run, |spec| spec.item_batcher.as_mut().unwrap().max_items_per_batch = size);
    let table: Vec<(&str, MapRun, &[&str])> = vec![
        ("the limit", running(LimitedBy::Concurrency), &["--max-concurrency 18"]),
        ("a chosen limit", adapted(LimitReason::Failures), &[]),
        ("one at its ceiling", adapted(LimitReason::MaxConcurrency), &["--max-concurrency 18"]),
        ("not for a last minute", ends_in(running(LimitedBy::Concurrency), 59), &[]),
        ("but for a whole one", ends_in(running(LimitedBy::Concurrency), 60), &["--max-concurrency 18"]),
        ("few slots", limit(running(LimitedBy::Workers), 17), &["all 9 slots are taken"]),
        ("far too few", limit(running(LimitedBy::Workers), 18), &["maxConcurrency 18 is never reached"]),
        ("no limit", limit(running(LimitedBy::Workers), 0), &["all 9 slots are taken"]),
        ("the handler", running(LimitedBy::Handler), &[]),
        (
            "short batches",
            fast(running(LimitedBy::Concurrency), 4_510.0),
            &["--max-concurrency", "maxItemsPerBatch: 250"],
        ),
        ("not so short ones", fast(running(LimitedBy::Concurrency), 4_490.0), &["--max-concurrency"]),
        ("large short ones", fast(batches(running(LimitedBy::Store), 101), 99_999.0), &[]),
        (
            "small short ones",
            fast(batches(running(LimitedBy::Store), 100), 99_999.0),
            &["maxItemsPerBatch: 1000"],
        ),
        ("timeouts", failing("States.Timeout", 25, ""), &["batches time out after 30 s"]),
        ("rare timeouts", failing("States.Timeout", 24, ""), &[]),
        ("killed", failing("Lambda.Signal.9", 100, ""), &["out of memory (`warifu logs users`)"]),
        ("no memory", failing("MemoryError", 100, ""), &["out of memory"]),
        (
            "no memory, said in words",
            failing("Lambda.Exit.134", 100, "JavaScript heap out of memory"),
            &["out of memory"],
        ),
        ("bad rows", failing("Sql.22P02", 100, "no int8"), &[]),
        (
            "not allowed to read",
            failed(ITEM_READER_FAILED, "not allowed to read s3://a/b: grant s3:GetObject"),
            &["grant them"],
        ),
        ("unreadable", failed(ITEM_READER_FAILED, "a quote is open at byte 7"), &[]),
        ("overloaded", failed(RESULT_WRITER_FAILED, "could not write s3://a/b now"), &["larger batches"]),
        (
            "not allowed to write",
            failed(RESULT_WRITER_FAILED, "not allowed to write s3://a/b"),
            &["grant them"],
        ),
    ];
    for (name, run, expected) in table {
        let given = advice(&run);
        assert_eq!(given.len(), expected.len(), "{name}: {given:?}");
        for (given, expected) in given.iter().zip(expected) {
            assert!(given.contains(expected), "{name}: {given}");
        }
    }
}

#[test]
fn work_that_nobody_can_do_leads_to_the_workers() {
    let mut run = with_progress(running(LimitedBy::Workers), |progress| {
        (progress.eta, progress.items_per_second) = (None, 0.0);
    });
    run.batch_counts = Some(Counts { total: 4, pending: 4, ..Counts::default() });
    assert!(matches!(advice(&run).as_slice(), [only] if only.contains("no worker runs the handler stats")));
}

#[test]
fn a_run_that_is_fine_gets_no_advice() {
    for state in [State::Queued, State::Stopping, State::Succeeded, State::Aborted] {
        let run = MapRun { state: state.into(), ..running(LimitedBy::Concurrency) };
        assert!(advice(&run).is_empty(), "{state:?}");
    }
    assert!(advice(&MapRun::default()).is_empty());
}
