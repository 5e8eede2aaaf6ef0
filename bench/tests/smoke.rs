//! The bench over small files, so that it does not rot: each of its parts checks what it measures.

use std::process::Command;

fn bench(arguments: &[&str]) -> (String, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("there is room");
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-bench"));
    command.args(arguments).args(["--quick", "--directory"]).arg(directory.path());
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), directory)
}

#[test]
fn scans_of_all_files_are_exact_and_make_a_table() {
    let (said, directory) = bench(&["scan"]);
    for file in ["ordinary", "look-alike", "long"] {
        assert!(said.contains(&format!("scan of {file}")), "{said}");
    }
    let results = std::fs::read(directory.path().join("results.json")).expect("it is written");
    let results: serde_json::Value = serde_json::from_slice(&results).expect("it is JSON");
    assert!(results["results"].as_array().is_some_and(|rows| rows.len() >= 6), "{results}");
}

#[test]
fn the_scale_simulation_says_what_a_batch_costs() {
    let (said, directory) = bench(&["scale"]);
    assert!(said.contains("scheduler, 100000 items, 10000 slots"), "{said}");
    assert!(directory.path().join("scale.md").exists());
}

#[test]
fn the_limit_program_ships_every_record() {
    let (said, _directory) = bench(&["limit"]);
    assert!(said.contains("limit program"), "{said}");
}

#[test]
fn readers_are_told_right_from_wrong_and_missing_ones_are_skipped() {
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_in.sh");
    // Our own programs need not be built for this test: there are none in this directory.
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let (said, directory) = bench(&["readers", "--python", stand_in, "--programs", programs]);
    assert!(said.contains("polars-scan: skipped") && said.contains("Warifu: skipped"), "{said}");
    assert!(said.contains("duckdb on long: a line is too long"), "{said}");
    let table = std::fs::read_to_string(directory.path().join("readers.md")).expect("it is written");
    for row in [
        "| *records that there are* |  | 10000 | 10000 | 2000 |",
        "| Spark 4 | `header` | **10001**, 2 pieces | **10001**, 2 pieces | **2001**, 2 pieces |",
        "| DuckDB 2 | defaults | error (InvalidInputException) | error (InvalidInputException) | error (InvalidInputException) |",
        "| Dask | `dataframe.read_csv` | error (killed) | error (killed) | error (killed) |",
        "| DataFusion 1 | 8 partitions | right | right | right |",
    ] {
        assert!(table.lines().any(|line| line == row), "no {row} in\n{table}");
    }
    assert!(!table.contains("Polars") && !table.contains("Warifu"), "{table}");
}

#[test]
fn what_a_run_reads_from_s3_stands_beside_ranged_gets() {
    let (said, _directory) = bench(&["ranged"]);
    assert!(said.contains("bytes that a run fetched") && said.contains("ranged GETs"), "{said}");
    // Measured, or skipped with a word.
    assert!(said.contains("SeaweedFS"), "{said}");
}

#[test]
fn a_cluster_over_etcd_runs_and_says_what_it_took() {
    let (said, _directory) = bench(&["cluster"]);
    for row in [
        "`noop` as a cluster",
        "gzip results",
        "etcd",
        "most memory of a worker",
        "most memory of the coordinator",
    ] {
        assert!(said.contains(row), "no {row}: {said}");
    }
}

#[test]
fn upserts_of_the_sql_handler_stand_beside_pgbench_with_the_same_statement() {
    let (said, _directory) = bench(&["sql"]);
    assert!(said.contains("5 connections, 25 a batch") && said.contains("pgbench, same statement"), "{said}");
}
