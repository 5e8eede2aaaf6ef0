//! kill -9 of the one process, again and again: the same command goes on where it was, and every row is there once.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Process, Random, count, eventually, execute, read_results, scratch, text, warifu};

const ROWS: u64 = 200_000;
const KILLS: u64 = 20;
/// How long the run may take to write a twentieth of the rows; it takes a second or two.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// What each statement leaves behind besides the row itself: triggers note every row that is written, in the same
/// transaction, so that a row that is written twice with the same values shows.
const SCHEMA: &str = "
    CREATE TABLE users (user_id TEXT PRIMARY KEY, login_count INTEGER NOT NULL, post_count INTEGER NOT NULL);
    CREATE TABLE effects (user_id TEXT NOT NULL);
    CREATE TRIGGER inserted AFTER INSERT ON users BEGIN INSERT INTO effects VALUES (new.user_id); END;
    CREATE TRIGGER updated AFTER UPDATE ON users BEGIN INSERT INTO effects VALUES (new.user_id); END;";

#[test]
fn a_run_that_is_killed_twenty_times_writes_every_row_once() {
    let started = Instant::now();
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let (csv, database, output) = (path("users.csv"), path("users.db"), path("out"));
    let sums = write_users(&csv);
    execute(&database, SCHEMA);

    let url = format!("sqlite://{}", text(&database));
    let data_dir = path("data");
    let arguments = [
        ["run", text(&csv)],
        ["--sql", &url],
        ["--table", "users"],
        ["--key", "user_id"],
        ["--data-dir", text(&data_dir)],
        ["--output", text(&output)],
        ["--shard-size", "262144"],
        ["--batch-size", "100"],
        ["-o", "json"],
    ];
    let start = || Process::start(warifu(arguments.into_iter().flatten()));
    let mut random = Random::new(20);
    for kill in 1..=KILLS {
        let mut process = start();
        let least = kill * ROWS / (KILLS + 2) + random.below(ROWS / (KILLS + 2) / 2);
        eventually("rows are written", STEP_DEADLINE, || {
            assert!(process.is_running(), "it ended before kill {kill}:\n{}", process.stderr());
            (count(&database, "SELECT COUNT(*) FROM effects") >= least).then_some(())
        });
        process.kill();
        if random.one_in(4) {
            // Once more as soon as it has begun to write again, and once while it starts.
            let written = count(&database, "SELECT COUNT(*) FROM effects");
            let process = start();
            eventually("rows are written again", STEP_DEADLINE, || {
                (count(&database, "SELECT COUNT(*) FROM effects") > written).then_some(())
            });
            process.kill();
            start().kill();
        }
    }
    let run = start().finish_within(STEP_DEADLINE * 2).expect(0).json();

    assert_eq!(run["state"], "SUCCEEDED");
    let items = &run["itemCounts"];
    assert_eq!((&items["total"], &items["succeeded"]), (&ROWS.into(), &ROWS.into()), "{items}");
    let batches = &run["batchCounts"];
    assert_eq!(batches["succeeded"], batches["total"], "{batches}");
    for state in ["failed", "timedOut", "aborted", "pending", "running"] {
        assert_eq!((&items[state], &batches[state]), (&0.into(), &0.into()), "{state}");
    }
    let one = |query: &str| count(&database, query);
    assert_eq!(one("SELECT COUNT(*) FROM users"), ROWS);
    assert_eq!(one("SELECT COUNT(*) FROM effects"), ROWS, "a row was written twice");
    assert_eq!(one("SELECT COUNT(DISTINCT user_id) FROM effects"), ROWS);
    assert_eq!(one("SELECT SUM(login_count) FROM users"), sums.0);
    assert_eq!(one("SELECT SUM(post_count) FROM users"), sums.1);
    let audited = "SELECT COUNT(DISTINCT item_index) FROM audit_log WHERE status = 'SUCCEEDED'";
    assert_eq!(one(audited), ROWS);
    assert_eq!(one("SELECT COUNT(*) FROM audit_log"), ROWS);
    let results = read_results(&output);
    assert!(results.failed.is_empty() && results.pending.is_empty());
    assert_eq!(results.succeeded.len() as u64, ROWS);
    assert_eq!(results.succeeded.keys().next_back(), Some(&(ROWS - 1)));
    eprintln!("{ROWS} rows, {KILLS} kills and some at the start, in {:?}", started.elapsed());
}

#[test]
fn the_same_directory_refuses_another_command_and_a_second_process() {
    let directory = scratch();
    let (csv, data) = (directory.path().join("in.csv"), directory.path().join("data"));
    std::fs::write(&csv, "a\n1\n2\n").unwrap();
    let command = |more: &[&str]| {
        let arguments = ["run", text(&csv), "--data-dir", text(&data)];
        Process::start(warifu(arguments.into_iter().chain(more.iter().copied())))
    };
    let released = directory.path().join("released");
    let wait = format!("while [ ! -e '{}' ]; do sleep 0.05; done", text(&released));
    let first = command(&["--exec", &wait, "--batch-size", "1"]);
    eventually("the first process has the directory", STEP_DEADLINE, || {
        data.join("run-id").exists().then_some(())
    });
    command(&["--exec", &wait, "--batch-size", "1"]).finish().expect(2);
    std::fs::write(&released, "").unwrap();
    first.finish().expect(0);
    // The command again tells what it came to, without running anything.
    command(&["--exec", &wait, "--batch-size", "1"]).finish().expect(0);
    command(&["--exec", "cat", "--batch-size", "2"]).finish().expect(2).says(&["other settings"]);
}

/// Writes the users; returns the sums of their counts.
fn write_users(csv: &Path) -> (u64, u64) {
    let mut random = Random::new(4);
    let mut text = "user_id,login_count,post_count\n".to_owned();
    let mut sums = (0, 0);
    for row in 0..ROWS {
        let (logins, posts) = (random.below(500), random.below(2_000));
        sums = (sums.0 + logins, sums.1 + posts);
        text.push_str(&format!("U{row:07},{logins},{posts}\n"));
    }
    std::fs::write(csv, text).unwrap();
    sums
}
