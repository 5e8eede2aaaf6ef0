//! `warifu quickstart`: a newcomer's first command ends with a proof, and bad rows are shown with reason and place.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::{Dev, Finished, Process, read_results, run, scratch, text, warifu};

fn quickstart(arguments: &[&str], data_dir: &Path) -> Finished {
    let arguments = ["quickstart", "--data-dir", text(data_dir)].into_iter().chain(arguments.iter().copied());
    Process::start(warifu(arguments)).finish()
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
    let rows = crate::kill_process::count(&database, "SELECT COUNT(DISTINCT user_id) FROM user_stats");
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
