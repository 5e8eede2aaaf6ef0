//! The scale simulation: the scheduler core with up to 10,000 slots and 1e9 items, in simulated time.
//!
//! The scheduler and the workers' sessions are the product's own; handlers, messages and writes take simulated time. Only the
//! time in the scheduler's steps is measured. Each configuration is a process of its own, so that its memory is its own.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use warifu_bench::simulated::{SHARD_ITEMS, World};

use crate::Settings;
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Slots of a worker.
const SLOTS: u32 = 10;

/// Items, and workers: growth of the items with all workers, then of the workers with some items.
const GROWTH: [(u64, u32); 9] = [
    (100_000, 1_000),
    (1_000_000, 1_000),
    (10_000_000, 1_000),
    (100_000_000, 1_000),
    (1_000_000_000, 1_000),
    (10_000_000, 0),
    (10_000_000, 1),
    (10_000_000, 10),
    (10_000_000, 100),
];

/// Measures the growth curves up to `most_items`, and writes `scale.md`.
pub(crate) fn measure(settings: &Settings, most_items: u64, table: &mut Table) -> anyhow::Result<()> {
    let mut text = "| items | slots | batches | µs of the scheduler a batch | steps a batch | µs a report | transactions a batch | \
                    bytes written a batch | memory of everything, MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut curve = Vec::new();
    for (items, workers) in GROWTH.into_iter().filter(|(items, _)| *items <= most_items) {
        let seen = in_own_process(items, workers)?;
        let number = |name: &str| seen[name].as_f64().unwrap_or(f64::NAN);
        let batches = number("batches");
        let per_batch = number("seconds") * 1e6 / batches;
        writeln!(
            text,
            "| {items} | {} | {batches} | {per_batch:.2} | {:.4} | {:.2} | {:.6} | {:.1} | {:.0} |",
            slots_of(workers),
            number("steps") / batches,
            number("reporting") * 1e6 / number("reports"),
            number("commits") / batches,
            number("written") / batches,
            number("peak_kib") / 1024.0,
        )?;
        if workers == 1_000 {
            curve.push((batches / 1e6, number("peak_kib") / 1024.0));
            table.add(Row {
                what: format!("scheduler, {items} items, {} slots", slots_of(workers)),
                unit: "µs for 25 records",
                value: Summary::of(vec![per_batch]),
                limit: Some(("one microsecond".to_owned(), Summary::of(vec![1.0]))),
                wanted: Some(Wanted::AtMost(5.0, 1.0)),
            });
        }
    }
    // Of the longest: in shorter ones leases are still becoming more.
    if let [.., (few, least), (many, most)] = curve[..] {
        table.add(Row {
            what: "memory for a million batches more, of scheduler and sessions".to_owned(),
            unit: "MiB",
            value: Summary::of(vec![(most - least) / (many - few)]),
            limit: Some(("one MiB".to_owned(), Summary::of(vec![1.0]))),
            wanted: Some(Wanted::AtMost(64.0, 4.0)),
        });
    }
    println!("\n{text}");
    std::fs::write(settings.directory.join("scale.md"), text)?;
    Ok(())
}

/// None is a worker with a single slot.
fn slots_of(workers: u32) -> u32 {
    if workers == 0 { 1 } else { workers * SLOTS }
}

fn in_own_process(items: u64, workers: u32) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["scale-world", &items.to_string(), &workers.to_string()]).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the child says no JSON")
}

/// The child's part: one configuration, as a line of JSON.
pub(crate) fn simulate(items: u64, workers: u32) -> anyhow::Result<()> {
    ensure!(items > 0 && items.is_multiple_of(SHARD_ITEMS), "whole shards of {SHARD_ITEMS} items, please");
    let slots = if workers == 0 { 1 } else { SLOTS };
    let outcome = World::new(workers.max(1), slots)?.run(items)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    println!(
        "{}",
        json!({
            "batches": outcome.batches, "seconds": outcome.scheduler.as_secs_f64(), "steps": outcome.steps,
            "reports": outcome.reports, "reporting": outcome.reporting.as_secs_f64(),
            "commits": outcome.commits, "written": outcome.written,
            "peak_kib": mark.and_then(|mark| mark.parse::<u64>().ok()),
        })
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_of_few_items_and_slots_ends_with_all_items_counted() {
        let mut world = World::new(3, 2).expect("there is a world");
        world.keep_commits();
        let outcome = world.run(2 * SHARD_ITEMS).expect("nothing goes wrong");
        assert_eq!(outcome.batches, 8_000);
        assert!((1..outcome.batches).contains(&outcome.commits) && outcome.written > 0);
        assert_eq!(outcome.kept.map(|kept| kept.len() as u64), Some(outcome.commits));
        assert!((1..outcome.steps).contains(&outcome.reports) && outcome.reporting < outcome.scheduler);
    }
}
