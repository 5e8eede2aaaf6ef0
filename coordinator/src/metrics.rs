//! What a coordinator counts, and what it says of itself when it is asked.
//!
//! Labels come from bounded sets: no ids, no error texts.

mod gatherer;
mod live;
mod run_labels;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use warifu_common::telemetry::families::{DurationHistogram, Family, Kind, Value};
use warifu_common::telemetry::metric;
use warifu_model::{FailureCounts, MapRunId, MapRunState, MapRunView};
use warifu_scheduler::{AlertLevel, CommitOutcome};

pub(crate) use self::gatherer::MetricGatherer;
pub(crate) use self::live::Live;
use self::run_labels::RunNames;

/// Bounds of commits' times: from a local SQLite to an etcd that is in trouble.
const COMMIT_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is counted over the life of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Transactions by [`OUTCOME_LABELS`].
    commits: [AtomicU64; 4],
    commit_durations: DurationHistogram,
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
    /// The same by name; as many as [`RunNames`] tells apart, and two.
    counted_by_name: BTreeMap<String, Outcomes>,
    names: RunNames,
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

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: Default::default(),
            commit_durations: DurationHistogram::new(COMMIT_BOUNDS),
            alerts: Default::default(),
            map_runs: Mutex::default(),
        }
    }
}

impl Outcomes {
    fn by_outcome(&self) -> [(&'static str, u64); 4] {
        [
            ("succeeded", self.succeeded),
            ("failed", self.failed),
            ("timed_out", self.timed_out),
            ("aborted", self.aborted),
        ]
    }

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
        self.commit_durations.observe(took);
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
        let before = before.map_or_else(Outcomes::default, |seen| seen.outcomes);
        map_runs.counted.add_growth(before, outcomes);
        let name = map_runs.names.of(&view.spec);
        map_runs.counted_by_name.entry(name).or_default().add_growth(before, outcomes);
    }

    pub(crate) fn forget_map_run(&self, map_run: &MapRunId) {
        self.map_runs().seen.remove(map_run);
    }

    /// All that this process can say of itself. `live`: absent while it does not lead.
    pub(crate) fn families(&self, live: Option<&Live>, store: Option<(&str, u64)>) -> Vec<Family> {
        let mut families = vec![
            Family::new(metric::BUILD_INFO, Kind::Gauge, "The version of this process.")
                .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
            Family::new(metric::LEADING, Kind::Gauge, "Whether this process leads.")
                .with(&[], if live.is_some() { 1.0 } else { 0.0 }),
        ];
        families.extend(self.map_run_families());
        families.push(self.alert_family());
        families.extend(self.commit_families());
        if let Some((kind, bytes)) = store {
            let family =
                Family::new(metric::STORE_SIZE_BYTES, Kind::Gauge, "Bytes that the state store takes.");
            families.push(family.with(&[("store", kind)], bytes as f64));
        }
        if let Some(live) = live {
            let mut map_runs = self.map_runs();
            families.extend(live::of_runs(&live.active, |view| map_runs.names.of(&view.spec)));
            families.extend(live::of_workers(live));
        }
        families
    }

    fn map_run_families(&self) -> [Family; 4] {
        let map_runs = self.map_runs();
        let mut by_state = [0_u64; STATE_LABELS.len()];
        for seen in map_runs.seen.values() {
            by_state[state_index(seen.state)] += 1;
        }
        let mut states = Family::new(metric::MAP_RUNS, Kind::Gauge, "Map runs by state.");
        for (label, count) in STATE_LABELS.iter().zip(by_state) {
            states.push(&[("state", *label)], count as f64);
        }
        let help = "Items decided since the process started, by outcome.";
        let mut items = Family::new(metric::ITEMS_TOTAL, Kind::Counter, help);
        for (label, count) in map_runs.counted.by_outcome() {
            items.push(&[("outcome", label)], count as f64);
        }
        let help = "Items decided since the process started, by name of the map run and outcome.";
        let mut named = Family::new(metric::MAP_RUN_ITEMS_TOTAL, Kind::Counter, help);
        for (name, counted) in &map_runs.counted_by_name {
            for (label, count) in counted.by_outcome() {
                named.push(&[("map_run", name.as_str()), ("outcome", label)], count as f64);
            }
        }
        let help = "Items that failed or timed out since the process started, by whose fault it is.";
        let failures = Family::new(metric::ITEM_FAILURES_TOTAL, Kind::Counter, help)
            .with(&[("kind", "business")], map_runs.counted.failures.business as f64)
            .with(&[("kind", "system")], map_runs.counted.failures.system as f64);
        [states, items, named, failures]
    }

    fn alert_family(&self) -> Family {
        let help = "Map runs whose error rate rose over a level, since the process started.";
        let mut alerts = Family::new(metric::ERROR_RATE_ALERTS_TOTAL, Kind::Counter, help);
        for (label, count) in ALERT_LABELS.iter().zip(&self.alerts) {
            alerts.push(&[("level", *label)], count.load(Ordering::Relaxed) as f64);
        }
        alerts
    }

    fn commit_families(&self) -> [Family; 2] {
        let help = "Transactions on the state store, by outcome.";
        let mut commits = Family::new(metric::COMMITS_TOTAL, Kind::Counter, help);
        for (label, count) in OUTCOME_LABELS.iter().zip(&self.commits) {
            commits.push(&[("outcome", *label)], count.load(Ordering::Relaxed) as f64);
        }
        let help = "Time of one commit, reading back included.";
        let mut durations = Family::new(metric::COMMIT_DURATION_SECONDS, Kind::Histogram, help);
        durations.push_value(&[], Value::Histogram(self.commit_durations.value()));
        [commits, durations]
    }

    fn map_runs(&self) -> MutexGuard<'_, MapRuns> {
        self.map_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

#[cfg(test)]
mod tests {
    use warifu_common::telemetry::families::to_text;

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
    fn names_of_runs_are_bounded_and_no_id_becomes_one() {
        let mut names = RunNames::default();
        let spec = |name: &str| {
            let mut spec = crate::state_store::samples::spec("a").spec;
            spec.labels.insert("name".to_owned(), name.to_owned());
            spec
        };
        let mut unnamed = spec("a");
        unnamed.labels.clear();
        assert_eq!(names.of(&unnamed), run_labels::UNNAMED);
        for number in 0..run_labels::MAX_NAMES {
            assert_eq!(names.of(&spec(&format!("n{number}"))), format!("n{number}"));
        }
        for number in 0..10_000 {
            assert_eq!(names.of(&spec(&format!("late{number}"))), run_labels::OTHER);
        }
        assert_eq!(names.of(&spec("n7")), "n7");
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.note_commit(CommitOutcome::Done, Duration::from_millis(1_500));
        metrics.note_commit(CommitOutcome::Refused, Duration::from_millis(500));
        metrics.note_alert(AlertLevel::High);
        let text = to_text(&metrics.families(None, Some(("etcd", 7))));
        for line in [
            "# TYPE warifu_commits_total counter",
            "warifu_commits_total{outcome=\"done\"} 1",
            "warifu_commit_duration_seconds_sum 2",
            "warifu_commit_duration_seconds_count 2",
            "warifu_map_runs{state=\"running\"} 0",
            "warifu_leading 0",
            "warifu_store_size_bytes{store=\"etcd\"} 7",
            "warifu_commit_duration_seconds_bucket{le=\"0.5\"} 1",
            "warifu_error_rate_alerts_total{level=\"medium\"} 0",
            "warifu_error_rate_alerts_total{level=\"high\"} 1",
            "warifu_item_failures_total{kind=\"business\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("warifu_workers"));
    }
}
