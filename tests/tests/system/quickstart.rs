//! `warifu quickstart`: a newcomer's first command ends with a proof, and bad rows are shown with reason and place.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Dev, Finished, Process, count, eventually, read_results, run, scratch, text, warifu};

/// Rows that take longer to write than anything that is waited for here.
const ENDLESS_ROWS: &str = "1000000";
/// How long a worker process may take to start, to be killed, or to notice that it is alone.
const WORKER_DEADLINE: Duration = Duration::from_secs(60);

fn quickstart(arguments: &[&str], data_dir: &Path) -> Finished {
    start(arguments, data_dir).finish()
}

fn start(arguments: &[&str], data_dir: &Path) -> Process {
    let arguments = ["quickstart", "--data-dir", text(data_dir)].into_iter().chain(arguments.iter().copied());
    Process::start(warifu(arguments))
}

#[test]
fn quickstart_ends_with_the_proof_that_every_row_is_in_the_table_once() {
    let directory = scratch();
    let data = directory.path().join("data");
    let finished = quickstart(&["--rows", "2000"], &data).expect(0);
    let proof = "rows in file 2000 · rows in table 2000 · duplicates 0 · missing 0";
    assert!(finished.stdout.lines().any(|line| line == proof), "{}", finished.stdout);
    assert!(finished.stdout.contains("Try next:"), "{}", finished.stdout);
    // The proof is not taken at its word.
    let database = data.join("users.db");
    let rows = count(&database, "SELECT COUNT(DISTINCT user_id) FROM user_stats");
    assert_eq!(rows, 2_000);
    let results = read_results(&data.join("s3/output"));
    assert_eq!((results.succeeded.len(), results.failed.len()), (2_000, 0));
    eprintln!("quickstart --rows 2000 took {:?}", finished.took);
}

#[test]
fn bad_rows_are_shown_with_reason_and_line_and_the_commands_that_follow() {
    let directory = scratch();
    let data = directory.path().join("data");
    let finished = quickstart(&["--rows", "2000", "--bad-rows", "3"], &data).expect(0);
    let said = &finished.stdout;
    assert!(said.contains("3 rows rejected"), "{said}");
    let proof = "rows in file 2000 · rows in table 1997 · rejected 3 · duplicates 0 · missing 0";
    assert!(said.lines().any(|line| line == proof), "{said}");
    for command in ["warifu failures quickstart", "-o csv --with-errors", "warifu redrive quickstart"] {
        assert!(said.contains(command), "no `{command}` in\n{said}");
    }
    let csv = std::fs::read_to_string(data.join("s3/input/users.csv")).unwrap();
    let bad: Vec<(usize, &str)> = csv
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| line.contains(",many,") || line.contains(",-1,"))
        .collect();
    assert_eq!(bad.len(), 3);
    for (line_number, line) in bad {
        let index = line_number - 2;
        let shown = said
            .lines()
            .find(|shown| shown.split_whitespace().next() == Some(&index.to_string()))
            .unwrap_or_else(|| panic!("item {index} is not shown:\n{said}"));
        let reason = if line.contains(",many,") { "Sql.22P02" } else { "Sql.23514" };
        assert!(shown.contains(reason), "{shown}");
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(words[1], line_number.to_string(), "the line of item {index}: {shown}");
        assert_eq!(words[2], csv.find(line).unwrap().to_string(), "the byte of item {index}: {shown}");
    }
}

#[test]
fn a_directory_that_is_in_use_is_not_taken_for_a_quickstart() {
    let directory = scratch();
    std::fs::write(directory.path().join("mine.txt"), "precious").unwrap();
    quickstart(&["--rows", "10"], directory.path()).expect(2).says(&["not empty"]);
    run(["quickstart", "--rows", "0"]).expect(2);
}

#[test]
fn the_commands_that_quickstart_names_work_on_what_it_left() {
    let directory = scratch();
    let data = directory.path().join("data");
    quickstart(&["--rows", "500", "--bad-rows", "2"], &data).expect(0);
    let dev = Dev::start_on(&data, &data.join("worker.toml"));
    assert_eq!(dev.json(["get", "quickstart"], 0)["itemCounts"]["failed"], 2);
    let failures = dev.json(["failures", "quickstart"], 0);
    assert_eq!(failures["itemFailures"].as_array().map(Vec::len), Some(2));
    let rejected = dev.run(["failures", "quickstart", "-o", "csv"]).expect(0).stdout;
    let csv = std::fs::read_to_string(data.join("s3/input/users.csv")).unwrap();
    let is_bad = |line: &&str| line.contains(",many,") || line.contains(",-1,");
    // The header first, the records in no promised order.
    assert!(rejected.ends_with('\n'));
    assert_eq!(rejected.lines().next(), csv.lines().next());
    let records: BTreeSet<&str> = rejected.lines().skip(1).collect();
    assert_eq!(records, csv.lines().filter(is_bad).collect());
    dev.stop();
}

#[test]
fn a_worker_that_is_killed_on_the_way_leaves_the_proof_as_it_is() {
    let directory = scratch();
    let data = directory.path().join("data");
    let finished = quickstart(&["--rows", "20000", "--kill-worker"], &data).expect(0);
    let proof = "rows in file 20000 · rows in table 20000 · duplicates 0 · missing 0";
    assert!(finished.stdout.lines().any(|line| line == proof), "{}", finished.stdout);
    assert!(finished.stdout.contains("killed worker-2 (process "), "{}", finished.stdout);
    // The program says how many batches it cut off; there must be some, or nothing was shown.
    let killed = finished.stderr.lines().find(|line| line.starts_with("killed worker-2 ")).unwrap();
    let cut_off: u64 = number_after(killed, "with SIGKILL: ").unwrap();
    assert!(cut_off > 0, "{killed}");
    let processes = [
        number_after(killed, "(process ").unwrap(),
        number_after(&finished.stderr, "started worker-2 again as process ").unwrap(),
    ];
    assert!(!processes.into_iter().any(is_quickstart_worker), "{}", finished.stderr);
    // Neither the proof nor the kill is taken at its word.
    let database = data.join("users.db");
    for (query, rows) in [
        ("SELECT COUNT(DISTINCT user_id) FROM user_stats", 20_000),
        ("SELECT COUNT(DISTINCT item_index) FROM audit_log WHERE status = 'SUCCEEDED'", 20_000),
        ("SELECT COUNT(*) FROM audit_log", 20_000),
    ] {
        assert_eq!(count(&database, query), rows, "{query}");
    }
    let results = read_results(&data.join("s3/output"));
    assert_eq!((results.succeeded.len(), results.failed.len()), (20_000, 0));
    eprintln!("quickstart --kill-worker took {:?}: {killed}", finished.took);
}

#[test]
fn too_little_work_to_kill_a_worker_at_is_an_error_not_a_show() {
    let directory = scratch();
    let data = directory.path().join("data");
    let finished = quickstart(&["--rows", "1", "--kill-worker"], &data).expect(2);
    finished.says(&["the run was over before worker-2 could be killed", "--rows"]);
}

#[test]
fn no_worker_process_outlives_its_quickstart() {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let directory = scratch();
        let data = directory.path().join("data");
        let process = start(&["--rows", ENDLESS_ROWS, "--kill-worker"], &data);
        let worker = eventually("the worker is started again", WORKER_DEADLINE, || {
            number_after(&process.stderr(), "started worker-2 again as process ")
        });
        assert!(is_quickstart_worker(worker), "{}", process.stderr());
        process.signal(signal);
        let status = process.finish().status;
        assert_eq!(status, if signal == Signal::SIGINT { 130 } else { 137 });
        eventually("the worker process is gone", WORKER_DEADLINE, || {
            (!is_quickstart_worker(worker)).then_some(())
        });
    }
}

/// The number that follows `words` in `text`.
fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    // What follows the number must be there, too: a line may be half written.
    let digits = rest.find(|character: char| !character.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

/// Whether a process is there, is not only waited for, and is what is meant.
fn is_quickstart_worker(process: u64) -> bool {
    // The arguments of a zombie are empty.
    let arguments = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    arguments.contains("quickstart-worker")
}
