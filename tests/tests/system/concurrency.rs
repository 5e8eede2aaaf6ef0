//! `maxConcurrency` is a ceiling in the whole fleet, and is reached.

use crate::harness::{run_json, scratch, text};

const CEILING: usize = 5;
const ITEMS: usize = 80;

/// Notes its start and its end, each with one write to a file opened for appending: the lines' order is the order in which
/// things happened. A start is noted after the call began, an end before it returns, so no overlap is noted that was not.
const HANDLER: &str =
    "echo \"start $(date +%s%N)\" >>\"$LOG\"; sleep 0.2; echo \"end $(date +%s%N)\" >>\"$LOG\"";

#[test]
fn at_most_five_handlers_run_at_once_in_four_workers_of_eight_slots_and_five_most_of_the_time() {
    let directory = scratch();
    let (csv, log) = (directory.path().join("in.csv"), directory.path().join("log"));
    let rows: String = (0..ITEMS).map(|row| format!("{row}\n")).collect();
    std::fs::write(&csv, format!("id\n{rows}")).unwrap();
    let handler = format!("LOG='{}'; {HANDLER}", text(&log));
    let arguments = [
        ["run", text(&csv)],
        ["--exec", &handler],
        ["--max-concurrency", "5"],
        ["--workers", "4"],
        ["--slots", "8"],
        ["--batch-size", "1"],
        ["--shard-size", "40"],
    ];
    let run = run_json(arguments.into_iter().flatten(), 0);
    assert_eq!(run["itemCounts"]["succeeded"], ITEMS);

    let log = std::fs::read_to_string(&log).unwrap();
    let events: Vec<(bool, u64)> = log
        .lines()
        .map(|line| {
            let (what, time) = line.split_once(' ').unwrap();
            (what == "start", time.parse().unwrap())
        })
        .collect();
    assert_eq!(events.len(), 2 * ITEMS);
    let (mut running, mut most, mut nanos_at_ceiling) = (0_usize, 0, 0);
    let mut since = events[0].1;
    for (is_start, at) in &events {
        if running == CEILING {
            nanos_at_ceiling += at.saturating_sub(since);
        }
        since = *at;
        running = if *is_start { running + 1 } else { running - 1 };
        most = most.max(running);
    }
    let total = events[events.len() - 1].1 - events[0].1;
    let share = nanos_at_ceiling as f64 / total as f64;
    eprintln!("{most} at most, {CEILING} for {:.0} % of {:.1} s", share * 100.0, total as f64 / 1e9);
    assert_eq!(most, CEILING);
    assert!(share > 0.5, "{CEILING} ran at once for only {:.0} % of the time", share * 100.0);
}
