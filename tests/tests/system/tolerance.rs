//! Tolerated failures: just within the limit a run succeeds, just over it fails, and what is left is told exactly.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Finished, Process, Results, eventually, read_results, run, scratch, text, warifu};

/// Fails each item whose column says so, and returns the others.
const FAIL_SOME: &str =
    r#"sed 's/.*"fail":"1".*/{"warifu:error":{"errorType":"Told","errorMessage":"to fail"}}/'"#;
/// Fails the whole batch if one of its items says so.
const FAIL_BATCH: &str = r#"if grep -q '"fail":"1"'; then echo refused >&2; exit 3; fi"#;

/// A row of the table: limits, failing items among all, and whether the run succeeds.
struct Case {
    count: Option<u64>,
    percentage: Option<&'static str>,
    failing: u64,
    items: u64,
    succeeds: bool,
}

const fn case(
    count: Option<u64>,
    percentage: Option<&'static str>,
    failing: u64,
    items: u64,
    succeeds: bool,
) -> Case {
    Case { count, percentage, failing, items, succeeds }
}

const CASES: [Case; 22] = [
    // Both absent: the first failed item ends the run. An explicit 0 is the same.
    case(None, None, 0, 100, true),
    case(None, None, 1, 100, false),
    case(Some(0), None, 0, 100, true),
    case(Some(0), None, 1, 100, false),
    case(None, Some("0"), 1, 100, false),
    // The count: equal is within.
    case(Some(5), None, 5, 100, true),
    case(Some(5), None, 6, 100, false),
    case(Some(100), None, 100, 100, true),
    case(Some(99), None, 100, 100, false),
    // The percentage: equal is within.
    case(None, Some("5"), 5, 100, true),
    case(None, Some("5"), 6, 100, false),
    case(None, Some("5"), 2, 40, true),
    case(None, Some("5"), 3, 40, false),
    case(None, Some("2.5"), 2, 100, true),
    case(None, Some("2.5"), 3, 100, false),
    case(None, Some("100"), 100, 100, true),
    case(None, Some("33.4"), 1, 3, true),
    case(None, Some("33.3"), 1, 3, false),
    // Either limit suffices to fail.
    case(Some(10), Some("5"), 5, 100, true),
    case(Some(10), Some("5"), 6, 100, false),
    case(Some(5), Some("10"), 6, 100, false),
    case(Some(5), Some("10"), 5, 100, true),
];

/// A file in which `failing` items, spread evenly, say that they fail.
fn write_items(path: &std::path::Path, failing: u64, items: u64) {
    let fails = |item: u64| (item + 1) * failing / items > item * failing / items;
    let rows: String = (0..items).map(|item| format!("{item},{}\n", u8::from(fails(item)))).collect();
    std::fs::write(path, format!("id,fail\n{rows}")).unwrap();
}

struct Ended {
    finished: Finished,
    run: Value,
    results: Results,
}

fn run_case(case: &Case, handler: &str, batch_size: u64) -> Ended {
    let directory = scratch();
    let (csv, output) = (directory.path().join("in.csv"), directory.path().join("out"));
    write_items(&csv, case.failing, case.items);
    let (count, batch_size) = (case.count.map(|count| count.to_string()), batch_size.to_string());
    let mut arguments = vec!["run", text(&csv), "--exec", handler, "--output", text(&output)];
    arguments.extend(["--batch-size", &batch_size, "--max-concurrency", "3", "-o", "json"]);
    if let Some(count) = &count {
        arguments.extend(["--tolerated-failure-count", count]);
    }
    if let Some(percentage) = case.percentage {
        arguments.extend(["--tolerated-failure-percentage", percentage]);
    }
    let finished = run(arguments).expect(if case.succeeds { 0 } else { 1 });
    let run = finished.json();
    Ended { finished, run, results: read_results(&output) }
}

/// Items by state must be what the files hold, and add up.
#[track_caller]
fn expect_counts_to_match_files(run: &Value, results: &Results) {
    let counts = &run["itemCounts"];
    let number = |state: &str| counts[state].as_u64().unwrap();
    assert_eq!(number("succeeded"), results.succeeded.len() as u64, "{counts}");
    assert_eq!(number("failed"), results.failed_as("FAILED").len() as u64, "{counts}");
    assert_eq!(number("timedOut"), results.failed_as("TIMED_OUT").len() as u64, "{counts}");
    assert_eq!(number("aborted"), results.failed_as("ABORTED").len() as u64, "{counts}");
    assert_eq!(number("running"), 0, "{counts}");
    let states = ["pending", "succeeded", "failed", "timedOut", "aborted", "pendingRedrive"];
    assert_eq!(number("total"), states.iter().map(|state| number(state)).sum::<u64>(), "{counts}");
    if results.pending.iter().all(Option::is_some) {
        assert_eq!(number("pending"), results.pending_indexes().len() as u64, "{counts}");
    }
}

#[test]
fn a_run_succeeds_just_within_its_limits_and_fails_just_over_them() {
    for (number, case) in CASES.iter().enumerate() {
        let limits = format!("count {:?}, percentage {:?}", case.count, case.percentage);
        eprintln!("{number}: {} of {} fail under {limits}", case.failing, case.items);
        let Ended { finished, run, results } = run_case(case, FAIL_SOME, 10);
        expect_counts_to_match_files(&run, &results);
        if case.succeeds {
            assert_eq!(run["state"], "SUCCEEDED");
            assert_eq!(run["itemCounts"]["failed"], case.failing);
            assert_eq!(run["itemCounts"]["succeeded"], case.items - case.failing);
            assert_eq!(run["batchCounts"]["failed"], 0, "item failures alone leave a batch succeeded");
            assert!(results.pending.is_empty());
            continue;
        }
        assert_eq!(run["state"], "FAILED");
        assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
        assert_eq!(run["errorGroups"][0]["error"], "Told");
        finished.says(&["States.ExceedToleratedFailureThreshold", "Told", "to fail", "next "]);
    }
}

#[test]
fn a_handler_that_ends_with_another_status_than_zero_fails_its_whole_batch() {
    // Ten batches of ten; each failing item takes its batch with it.
    for (count, failing, failed_items) in [(20, 2, 20), (100, 10, 100)] {
        let case = case(Some(count), None, failing, 100, true);
        let Ended { run, results, .. } = run_case(&case, FAIL_BATCH, 10);
        assert_eq!(run["itemCounts"]["failed"], failed_items);
        assert_eq!(run["batchCounts"]["failed"], failing);
        expect_counts_to_match_files(&run, &results);
        for line in results.failed.values() {
            assert_eq!(line["error"], "Exec.Exit.3");
            assert_eq!(line["kind"], "SYSTEM");
            assert!(line["cause"].as_str().unwrap().contains("refused"), "{line}");
        }
    }
    let case = case(Some(19), None, 2, 100, false);
    let Ended { run, .. } = run_case(&case, FAIL_BATCH, 10);
    assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
}

#[test]
fn over_the_limit_batches_in_progress_are_cancelled_and_the_rest_stays_pending() {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let (csv, output, log) = (path("in.csv"), path("out"), path("log"));
    write_items(&csv, 0, 100);
    // The first that sees all four run fails; the others would run for an hour.
    let handler = format!(
        "echo $WARIFU_BATCH_NUMBER >>'{log}'; \
         while [ $(wc -l <'{log}') -lt 4 ]; do sleep 0.02; done; \
         if mkdir '{log}.fails'; then echo $WARIFU_BATCH_NUMBER >'{log}.fails/batch'; exit 3; fi; \
         sleep 3600",
        log = text(&log)
    );
    let arguments = [
        ["run", text(&csv)],
        ["--exec", &handler],
        ["--output", text(&output)],
        ["--batch-size", "5"],
        ["--max-concurrency", "4"],
        ["--tolerated-failure-count", "4"],
        ["-o", "json"],
    ];
    let process = Process::start(warifu(arguments.into_iter().flatten()));
    let run = process.finish_within(Duration::from_secs(40)).expect(1).json();
    let results = read_results(&output);
    expect_counts_to_match_files(&run, &results);
    assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
    let started: Vec<u64> =
        std::fs::read_to_string(&log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    // The slot that became free may have begun one more before the run was stopped.
    assert!([4, 5].contains(&started.len()), "{started:?}");
    let failed_batch = std::fs::read_to_string(path("log.fails/batch")).unwrap();
    let failed_batch: u64 = failed_batch.trim().parse().unwrap();
    let items_of = |batch: u64| batch * 5..batch * 5 + 5;
    assert_eq!(results.failed_as("FAILED"), items_of(failed_batch).collect::<Vec<u64>>());
    let aborted = results.failed_as("ABORTED");
    for batch in started.iter().filter(|batch| **batch != failed_batch) {
        assert!(items_of(*batch).all(|index| aborted.contains(&index)), "batch {batch} was cancelled");
    }
    assert!(aborted.len() <= 20, "{aborted:?}");
    let not_pending = 5 + aborted.len();
    assert_eq!(results.pending_indexes().len(), 100 - not_pending);
    // Cancelling reaches what the handler's shell started, too.
    eventually("no handler is left", Duration::from_secs(10), || {
        (!any_handler_left(text(&log))).then_some(())
    });
}

/// Whether a shell with `mark` in its command line runs.
fn any_handler_left(mark: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let own = std::process::id().to_string();
    processes.filter(|entry| entry.file_name() != own.as_str()).any(|entry| {
        let command_line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command_line).contains(mark)
    })
}
