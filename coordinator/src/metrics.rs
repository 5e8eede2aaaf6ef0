//! Counters and gauges, and their text for Prometheus.
//!
//! Labels come from bounded sets: no ids, no error texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warifu_common::telemetry::metric;
use warifu_model::{FailureCounts, MapRunId, MapRunState, MapRunView, WorkerState, WorkerView};
use warifu_scheduler::{AlertLevel, CommitOutcome};

/// What is counted over the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Transactions by [`OUTCOME_LABELS`].
    commits: [AtomicU64; 4],
    commit_micros: AtomicU64,
    /// Alerts by level, as [`AlertLevel::ALL`].
    alerts: [AtomicU64; AlertLevel::ALL.len()],
    map_runs: Mutex<MapRuns>,
}

const ALERT_LABELS: [&str; AlertLevel::ALL.len()] = ["medium", "high"];
const OUTCOME_LABELS: [&str; 4] = ["done", "deposed", "refused", "unknown"];
const STATE_LABELS: [&str; 6] = ["queued", "running", "stopping", "succeeded", "failed", "aborted"];

#[derive(Debug, Default)]
struct MapRuns {
    seen: BTreeMap<MapRunId, Seen>,
    counted: Outcomes,
}

/// A run as it was when it was looked at last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: MapRunState,
    outcomes: Outcomes,
}

/// Decided items by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Outcomes {
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    aborted: u64,
    /// Of those that failed or timed out.
    failures: FailureCounts,
}

impl Outcomes {
    fn of(view: &MapRunView) -> Self {
        let counts = &view.item_counts;
        Self {
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            aborted: counts.aborted,
            failures: view.failure_counts,
        }
    }

    /// Adds what grew from `before` to `now`. A redrive takes failures back; counters never fall.
    fn add_growth(&mut self, before: Outcomes, now: Outcomes) {
        self.succeeded += now.succeeded.saturating_sub(before.succeeded);
        self.failed += now.failed.saturating_sub(before.failed);
        self.timed_out += now.timed_out.saturating_sub(before.timed_out);
        self.aborted += now.aborted.saturating_sub(before.aborted);
        self.failures.business += now.failures.business.saturating_sub(before.failures.business);
        self.failures.system += now.failures.system.saturating_sub(before.failures.system);
    }
}

impl Metrics {
    pub(crate) fn note_commit(&self, outcome: CommitOutcome, took: Duration) {
        let index = match outcome {
            CommitOutcome::Done => 0,
            CommitOutcome::Deposed => 1,
            CommitOutcome::Refused => 2,
            CommitOutcome::Unknown => 3,
        };
        self.commits[index].fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn note_alert(&self, level: AlertLevel) {
        let index = match level {
            AlertLevel::Medium => 0,
            AlertLevel::High => 1,
        };
        self.alerts[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a run as it is now for where counting begins, unless it was seen before: what earlier processes counted is not
    /// this one's.
    pub(crate) fn note_recovered(&self, view: &MapRunView) {
        let seen = Seen { state: view.state, outcomes: Outcomes::of(view) };
        self.map_runs().seen.entry(view.id.clone()).or_insert(seen);
    }

    pub(crate) fn note_map_run(&self, view: &MapRunView) {
        let outcomes = Outcomes::of(view);
        let mut map_runs = self.map_runs();
        let before = map_runs.seen.insert(view.id.clone(), Seen { state: view.state, outcomes });
        map_runs.counted.add_growth(before.map_or_else(Outcomes::default, |seen| seen.outcomes), outcomes);
    }

    pub(crate) fn forget_map_run(&self, map_run: &MapRunId) {
        self.map_runs().seen.remove(map_run);
    }

    /// The text that Prometheus reads. `workers`: absent while nobody leads.
    pub(crate) fn render(&self, workers: Option<&[WorkerView]>) -> String {
        let mut text = Text::default();
        text.family(metric::BUILD_INFO, "gauge", "The version of this process.");
        text.sample(&format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        text.family("warifu_leading", "gauge", "Whether this process leads.");
        text.sample("", u64::from(workers.is_some()));
        self.render_map_runs(&mut text);
        self.render_alerts(&mut text);
        self.render_commits(&mut text);
        if let Some(workers) = workers {
            render_workers(workers, &mut text);
        }
        text.0
    }

    fn render_map_runs(&self, text: &mut Text) {
        let map_runs = self.map_runs();
        let mut by_state = [0_u64; STATE_LABELS.len()];
        for seen in map_runs.seen.values() {
            by_state[state_index(seen.state)] += 1;
        }
        text.family(metric::MAP_RUNS, "gauge", "Map runs by state.");
        for (label, count) in STATE_LABELS.iter().zip(by_state) {
            text.sample(&format!("{{state=\"{label}\"}}"), count);
        }
        let counted = map_runs.counted;
        text.family(metric::ITEMS_TOTAL, "counter", "Items decided since the process started, by outcome.");
        for (label, count) in [
            ("succeeded", counted.succeeded),
            ("failed", counted.failed),
            ("timed_out", counted.timed_out),
            ("aborted", counted.aborted),
        ] {
            text.sample(&format!("{{outcome=\"{label}\"}}"), count);
        }
        let help = "Items that failed or timed out since the process started, by whose fault it is.";
        text.family(metric::ITEM_FAILURES_TOTAL, "counter", help);
        text.sample("{kind=\"business\"}", counted.failures.business);
        text.sample("{kind=\"system\"}", counted.failures.system);
    }

    fn render_alerts(&self, text: &mut Text) {
        let help = "Map runs whose error rate rose over a level, since the process started.";
        text.family(metric::ERROR_RATE_ALERTS_TOTAL, "counter", help);
        for (label, count) in ALERT_LABELS.iter().zip(&self.alerts) {
            text.sample(&format!("{{level=\"{label}\"}}"), count.load(Ordering::Relaxed));
        }
    }

    fn render_commits(&self, text: &mut Text) {
        text.family("warifu_commits_total", "counter", "Transactions on the state store, by outcome.");
        for (label, count) in OUTCOME_LABELS.iter().zip(&self.commits) {
            text.sample(&format!("{{outcome=\"{label}\"}}"), count.load(Ordering::Relaxed));
        }
        let count: u64 = self.commits.iter().map(|commits| commits.load(Ordering::Relaxed)).sum();
        let seconds = self.commit_micros.load(Ordering::Relaxed) as f64 / 1e6;
        text.family(metric::COMMIT_DURATION_SECONDS, "summary", "Time of one commit, reading back included.");
        text.suffixed_sample("_sum", seconds);
        text.suffixed_sample("_count", count);
    }

    fn map_runs(&self) -> MutexGuard<'_, MapRuns> {
        self.map_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn render_workers(workers: &[WorkerView], text: &mut Text) {
    text.family(metric::WORKERS, "gauge", "Workers with a session, by state.");
    for (label, state) in [
        ("active", WorkerState::Active),
        ("draining", WorkerState::Draining),
        ("suspect", WorkerState::Suspect),
    ] {
        let count = workers.iter().filter(|worker| worker.state == state).count();
        text.sample(&format!("{{state=\"{label}\"}}"), count);
    }
    let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
    let held: u64 = workers.iter().map(|worker| u64::from(worker.held_slots)).sum();
    text.family(metric::SLOTS, "gauge", "Slots of all workers, by use.");
    text.sample("{use=\"held\"}", held);
    text.sample("{use=\"free\"}", slots.saturating_sub(held));
    text.family(metric::BATCHES_IN_PROGRESS, "gauge", "Batches that workers began and did not report.");
    text.sample("", workers.iter().map(|worker| u64::from(worker.running_batches)).sum::<u64>());
}

fn state_index(state: MapRunState) -> usize {
    match state {
        MapRunState::Queued => 0,
        MapRunState::Running => 1,
        MapRunState::Stopping => 2,
        MapRunState::Succeeded => 3,
        MapRunState::Failed => 4,
        MapRunState::Aborted => 5,
    }
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
struct Text(String, &'static str);

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn suffixed_sample(&mut self, suffix: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{}{suffix} {value}", self.1);
    }

    fn sample(&mut self, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{}{labels} {value}", self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_grow_by_what_is_decided_and_never_fall() {
        let mut counted = Outcomes::default();
        let first = Outcomes { failed: 3, succeeded: 1, ..Outcomes::default() };
        let redriven = Outcomes { succeeded: 2, ..Outcomes::default() };
        counted.add_growth(Outcomes::default(), first);
        counted.add_growth(first, redriven);
        assert_eq!(counted, Outcomes { failed: 3, succeeded: 2, ..Outcomes::default() });
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.note_commit(CommitOutcome::Done, Duration::from_millis(1_500));
        metrics.note_commit(CommitOutcome::Refused, Duration::from_millis(500));
        metrics.note_alert(AlertLevel::High);
        let text = metrics.render(None);
        for line in [
            "# TYPE warifu_commits_total counter",
            "warifu_commits_total{outcome=\"done\"} 1",
            "warifu_commit_duration_seconds_sum 2",
            "warifu_commit_duration_seconds_count 2",
            "warifu_map_runs{state=\"running\"} 0",
            "warifu_leading 0",
            "warifu_error_rate_alerts_total{level=\"medium\"} 0",
            "warifu_error_rate_alerts_total{level=\"high\"} 1",
            "warifu_item_failures_total{kind=\"business\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("warifu_workers"));
    }
}
