//! `warifu logs`: what handlers said last in attempts that failed for good, an entry for each attempt at a batch.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use prost_types::Timestamp;
use serde_json::{Value, json};
use warifu_common::wire::v1::{ItemFailure, item_failure_view};

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::failures::{Pages, Wanted};
use crate::exit::Exit;
use crate::output::Output;
use crate::text;

/// Attempts that are shown unless `--limit` says otherwise: some screens full.
const ATTEMPTS: usize = 20;
/// Different failures of one attempt that are shown as text; as JSON all are.
const SHOWN_FAILURES: usize = 10;
/// Ranges of items that are shown as text.
const SHOWN_RANGES: usize = 5;

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Only the attempt that this item failed in, by its index
    #[arg(long, value_name = "INDEX", conflicts_with = "batch")]
    item: Option<u64>,
    /// Only attempts at this batch
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Show at most so many attempts, the newest
    #[arg(long, value_name = "N", default_value_t = ATTEMPTS)]
    limit: usize,
}

/// Shows the last log lines of failed attempts, the newest at the end.
pub(crate) async fn logs(args: LogsArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let wanted = Wanted { run: &args.name, error: "", view: item_failure_view::Type::Basic, limit: None };
    let mut pages = Pages::new(&client, &wanted);
    let mut attempts = Attempts::default();
    while let Some(page) = pages.next().await? {
        page.item_failures.into_iter().for_each(|failure| attempts.add(failure));
    }
    let (attempts, left_out) = attempts.newest(&args);
    output.value(
        || json!({ "attempts": attempts.iter().map(Attempt::json).collect::<Vec<_>>() }),
        || attempts.iter().map(|attempt| attempt.text(text::id_of(&args.name))).collect(),
    )?;
    tell_what_is_missing(&args, attempts.is_empty(), left_out, pages.truncated());
    Ok(Exit::Succeeded)
}

/// What the output does not show, on stderr.
fn tell_what_is_missing(args: &LogsArgs, is_empty: bool, left_out: usize, truncated: bool) {
    if is_empty && left_out == 0 {
        eprintln!("no attempt failed for good, as far as is known");
    }
    if left_out > 0 {
        eprintln!("{} left out, --limit shows more", text::counted(left_out as u64, "earlier attempt"));
    }
    if truncated {
        eprintln!(
            "the run has more failures than are kept; all are in its FAILED files: `warifu results {}`",
            text::id_of(&args.name)
        );
    }
}

/// Attempts by batch and number.
#[derive(Default)]
struct Attempts(BTreeMap<(u64, u32), Attempt>);

impl Attempts {
    fn add(&mut self, failure: ItemFailure) {
        let key = (failure.batch_number, failure.attempts);
        self.0.entry(key).or_insert_with(|| Attempt::of(&failure)).add(failure);
    }

    /// Those that were asked for, the newest at the end, and how many older ones are left out.
    fn newest(self, args: &LogsArgs) -> (Vec<Attempt>, usize) {
        let is_wanted = |attempt: &Attempt| {
            args.batch.is_none_or(|batch| attempt.batch == batch)
                && args
                    .item
                    .is_none_or(|item| attempt.failures.iter().any(|failure| failure.items.contains(&item)))
        };
        let mut attempts: Vec<Attempt> = self.0.into_values().filter(is_wanted).collect();
        attempts.sort_by_key(|attempt| attempt.time.as_ref().map(|time| (time.seconds, time.nanos)));
        let left_out = attempts.len().saturating_sub(args.limit);
        (attempts.split_off(left_out), left_out)
    }
}

/// One handler call, as far as items failed in it for good.
struct Attempt {
    batch: u64,
    number: u32,
    worker: String,
    time: Option<Timestamp>,
    timed_out: bool,
    failures: Vec<Failure>,
}

/// Items of one attempt that failed alike.
struct Failure {
    error: String,
    kind: &'static str,
    cause: String,
    items: Vec<u64>,
}

impl Attempt {
    fn of(failure: &ItemFailure) -> Self {
        Self {
            batch: failure.batch_number,
            number: failure.attempts,
            worker: text::id_of(&failure.worker).to_owned(),
            time: failure.fail_time,
            timed_out: failure.timed_out,
            failures: Vec::new(),
        }
    }

    fn add(&mut self, failure: ItemFailure) {
        let kind = failure.kind().as_str_name();
        let alike = |known: &&mut Failure| known.error == failure.error && known.cause == failure.cause;
        match self.failures.iter_mut().find(alike) {
            Some(known) => known.items.push(failure.index),
            None => {
                let ItemFailure { error, cause, index, .. } = failure;
                self.failures.push(Failure { error, kind, cause, items: vec![index] });
            }
        }
    }

    fn json(&self) -> Value {
        let failures = self.failures.iter().map(|failure| {
            json!({
                "error": failure.error,
                "kind": failure.kind,
                "items": failure.items,
                "lines": failure.cause.lines().collect::<Vec<_>>(),
            })
        });
        json!({
            "batch": self.batch,
            "attempt": self.number,
            "worker": self.worker,
            "time": self.time.as_ref().map(ToString::to_string),
            "timedOut": self.timed_out,
            "failures": failures.collect::<Vec<_>>(),
        })
    }

    fn text(&self, run: &str) -> String {
        let late = if self.timed_out { " · timed out" } else { "" };
        let mut shown = format!(
            "batch {} · attempt {} · worker {} · {}{late}\n",
            self.batch,
            self.number,
            self.worker,
            text::moment(self.time.as_ref())
        );
        for failure in self.failures.iter().take(SHOWN_FAILURES) {
            let count = text::counted(failure.items.len() as u64, "item");
            _ = writeln!(
                shown,
                "  {} ({}): {count}, {}",
                failure.error,
                failure.kind,
                ranges(&failure.items)
            );
            for line in failure.cause.lines() {
                _ = writeln!(shown, "    {}", printable(line));
            }
        }
        if let Some(more @ 1..) = self.failures.len().checked_sub(SHOWN_FAILURES) {
            let more = text::counted(more as u64, "other failure");
            _ = writeln!(shown, "  {more}, see `warifu failures {run}`");
        }
        shown
    }
}

/// Indexes in ascending order as `3-7, 9`.
fn ranges(items: &[u64]) -> String {
    let mut items = items.to_vec();
    items.sort_unstable();
    let groups: Vec<_> = items.chunk_by(|one, next| *next == one + 1).collect();
    let shown = groups.iter().take(SHOWN_RANGES).map(|group| match group {
        [only] => only.to_string(),
        group => format!("{}-{}", group[0], group[group.len() - 1]),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if groups.len() > SHOWN_RANGES { format!("{shown}, …") } else { shown }
}

/// A program's line without what would steer the terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::failure_kind;

    use super::*;

    fn failure(index: u64, batch: u64, attempt: u32, seconds: i64, cause: &str) -> ItemFailure {
        ItemFailure {
            index,
            batch_number: batch,
            attempts: attempt,
            kind: failure_kind::Type::System.into(),
            error: "Exec.Exit.3".into(),
            cause: cause.into(),
            worker: "workers/w-1".into(),
            fail_time: Some(Timestamp { seconds, nanos: 0 }),
            ..ItemFailure::default()
        }
    }

    fn attempts() -> Attempts {
        let mut attempts = Attempts::default();
        for index in [8, 9, 5, 6] {
            attempts.add(failure(index, 2, 1, 1_764_000_009, "it ended: first\n\u{1b}[31mlast"));
        }
        attempts.add(failure(7, 2, 1, 1_764_000_009, "other"));
        attempts.add(failure(3, 1, 4, 1_764_000_000, "old"));
        attempts.add(failure(15, 3, 1, 1_764_000_003, ""));
        attempts
    }

    fn args(item: Option<u64>, batch: Option<u64>, limit: usize) -> LogsArgs {
        LogsArgs { name: "mapRuns/a".into(), item, batch, limit }
    }

    #[test]
    fn the_items_of_an_attempt_share_an_entry_and_the_newest_comes_last() {
        let (attempts, left_out) = attempts().newest(&args(None, None, 2));
        let text: String = attempts.iter().map(|attempt| attempt.text("a")).collect();
        assert_eq!(
            text,
            "batch 3 · attempt 1 · worker w-1 · 2025-11-24T16:00:03Z\n\
             \x20 Exec.Exit.3 (SYSTEM): 1 item, 15\n\
             batch 2 · attempt 1 · worker w-1 · 2025-11-24T16:00:09Z\n\
             \x20 Exec.Exit.3 (SYSTEM): 4 items, 5-6, 8-9\n\
             \x20   it ended: first\n\
             \x20   \u{fffd}[31mlast\n\
             \x20 Exec.Exit.3 (SYSTEM): 1 item, 7\n\
             \x20   other\n"
        );
        assert_eq!(left_out, 1);
    }

    #[test]
    fn an_item_or_a_batch_can_be_asked_for() {
        let batches = |args: LogsArgs| {
            let (attempts, _) = attempts().newest(&args);
            attempts.iter().map(|attempt| attempt.batch).collect::<Vec<_>>()
        };
        assert_eq!(batches(args(Some(7), None, 20)), [2]);
        assert!(batches(args(Some(4), None, 20)).is_empty());
        assert_eq!(batches(args(None, Some(1), 20)), [1]);
        assert_eq!(batches(args(None, None, 20)), [1, 3, 2]);
    }

    #[test]
    fn programs_get_every_line_and_every_index() {
        let (attempts, _) = attempts().newest(&args(None, Some(1), 20));
        assert_eq!(
            attempts[0].json(),
            json!({"batch": 1, "attempt": 4, "worker": "w-1", "time": "2025-11-24T16:00:00Z", "timedOut": false,
                   "failures": [{"error": "Exec.Exit.3", "kind": "SYSTEM", "items": [3], "lines": ["old"]}]})
        );
    }

    #[test]
    fn many_different_failures_of_one_attempt_are_cut_off() {
        let mut attempts = Attempts::default();
        for index in (0..30).step_by(2) {
            attempts.add(failure(index, 0, 1, 0, &format!("cause {index}")));
        }
        let (attempts, _) = attempts.newest(&args(None, None, 1));
        let text = attempts[0].text("a");
        assert!(text.ends_with("  5 other failures, see `warifu failures a`\n"), "{text}");
        assert_eq!(ranges(&(0..30).step_by(2).collect::<Vec<_>>()), "0, 2, 4, 6, 8, …");
    }
}
