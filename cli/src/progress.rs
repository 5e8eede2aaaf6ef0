//! How far a map run is, on stderr: one redrawn bar on a terminal, lines elsewhere.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use warifu_common::wire::v1::{Counts, MapRun, limited_by, map_run};

use crate::{describe, text};

/// Least time between two lines at first; later it grows with the time that the run takes.
const FIRST_LINE_INTERVAL: Duration = Duration::from_secs(1);
/// That much of the time so far passes between two lines: a run of hours does not fill the log.
const LINE_INTERVAL_SHARE: u32 = 30;
/// A line is repeated after this time even if nothing changed: silence looks like a hang.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// Steps of the bar: finer than any terminal is wide.
const BAR_STEPS: u64 = 10_000;

/// Shows snapshots of one run.
pub(crate) struct Progress {
    style: Style,
    warned: Warned,
}

/// Warnings that stand there already: their reasons and messages, as two may share a reason.
#[derive(Debug, Default)]
struct Warned(BTreeSet<(String, String)>);

impl Warned {
    /// Lines for warnings that are new.
    fn on_snapshot(&mut self, run: &MapRun) -> Vec<String> {
        let warnings = run.warnings.iter();
        let new = warnings.filter(|warning| self.0.insert((warning.reason.clone(), warning.message.clone())));
        new.map(describe::warning_line).collect()
    }
}

enum Style {
    Bar(ProgressBar),
    Lines(LinePace),
    Silent,
}

/// Writes lines beside a progress without tearing it.
pub(crate) enum Notes {
    BesideBar(ProgressBar),
    Lines,
    Silent,
}

impl Notes {
    /// Writes a line.
    pub(crate) fn write(&self, line: &str) {
        match self {
            Notes::BesideBar(bar) => bar.suspend(|| write_line(Some(line.to_owned()))),
            Notes::Lines => write_line(Some(line.to_owned())),
            Notes::Silent => {}
        }
    }
}

impl Progress {
    /// A bar if stderr is a terminal, else lines.
    pub(crate) fn on_stderr() -> Self {
        let style = if io::stderr().is_terminal() {
            Style::Bar(new_bar())
        } else {
            Style::Lines(LinePace::default())
        };
        Self { style, warned: Warned::default() }
    }

    /// Nothing at all, for `--quiet`.
    pub(crate) fn silent() -> Self {
        Self { style: Style::Silent, warned: Warned::default() }
    }

    /// Shows a snapshot.
    pub(crate) fn show(&mut self, run: &MapRun) {
        for warning in self.warned.on_snapshot(run) {
            self.note(&warning);
        }
        match &mut self.style {
            Style::Bar(bar) => draw(bar, run),
            Style::Lines(pace) => write_line(pace.on_snapshot(Instant::now(), run)),
            Style::Silent => {}
        }
    }

    /// To be called now and then while no snapshot comes.
    pub(crate) fn tick(&mut self) {
        match &mut self.style {
            Style::Bar(bar) => bar.tick(),
            Style::Lines(pace) => write_line(pace.on_silence(Instant::now())),
            Style::Silent => {}
        }
    }

    /// Writes a line beside the progress.
    pub(crate) fn note(&self, line: &str) {
        self.notes().write(line);
    }

    /// What writes lines beside the progress while somebody else draws it.
    pub(crate) fn notes(&self) -> Notes {
        match &self.style {
            Style::Bar(bar) => Notes::BesideBar(bar.clone()),
            Style::Lines(_) => Notes::Lines,
            Style::Silent => Notes::Silent,
        }
    }

    /// Shows the last snapshot and gives the terminal back.
    pub(crate) fn finish(self, run: &MapRun) {
        match self.style {
            Style::Bar(bar) => {
                draw(&bar, run);
                bar.abandon();
            }
            Style::Lines(mut pace) => write_line(pace.at_end(run)),
            Style::Silent => {}
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr_with_hz(8));
    let template = "[{bar:30}] {wide_msg}";
    bar.set_style(
        ProgressStyle::with_template(template).expect("the template is constant").progress_chars("=> "),
    );
    bar
}

fn draw(bar: &ProgressBar, run: &MapRun) {
    bar.set_position((fraction(run) * BAR_STEPS as f64) as u64);
    bar.set_message(progress_line(run));
}

/// Nobody is left to tell that stderr is closed.
fn write_line(line: Option<String>) {
    if let Some(line) = line {
        _ = writeln!(io::stderr(), "{line}");
    }
}

/// Decides which snapshots become lines.
#[derive(Debug, Default)]
struct LinePace {
    /// When the first snapshot came.
    began_at: Option<Instant>,
    /// When the last line was written, and which.
    written: Option<(Instant, String)>,
    /// The latest snapshot, written or not.
    latest: Option<(map_run::State, String)>,
}

impl LinePace {
    fn on_snapshot(&mut self, now: Instant, run: &MapRun) -> Option<String> {
        let has_new_state = self.latest.as_ref().is_none_or(|(state, _)| *state != run.state());
        self.latest = Some((run.state(), progress_line(run)));
        let so_far = now.duration_since(*self.began_at.get_or_insert(now));
        let interval = (so_far / LINE_INTERVAL_SHARE).clamp(FIRST_LINE_INTERVAL, LONGEST_SILENCE);
        let is_due = self.silent_since(now) >= interval;
        if has_new_state || is_due { self.write(now) } else { None }
    }

    fn on_silence(&mut self, now: Instant) -> Option<String> {
        if self.silent_since(now) >= LONGEST_SILENCE { self.write(now) } else { None }
    }

    /// The last line, unless it stands there already.
    fn at_end(&mut self, run: &MapRun) -> Option<String> {
        let line = progress_line(run);
        let is_written = self.written.as_ref().is_some_and(|(_, written)| *written == line);
        (!is_written).then_some(line)
    }

    fn silent_since(&self, now: Instant) -> Duration {
        self.written.as_ref().map_or(Duration::MAX, |(written_at, _)| now.duration_since(*written_at))
    }

    fn write(&mut self, now: Instant) -> Option<String> {
        let (_, line) = self.latest.clone()?;
        self.written = Some((now, line.clone()));
        Some(line)
    }
}

/// Share of the work that is decided, 0 to 1.
fn fraction(run: &MapRun) -> f64 {
    match run.state() {
        map_run::State::Succeeded => 1.0,
        _ => run.progress.as_ref().map_or(0.0, |progress| progress.fraction.clamp(0.0, 1.0)),
    }
}

/// One line that says how far a run is: state in words, not in colours, so that it can be searched for.
pub(crate) fn progress_line(run: &MapRun) -> String {
    let counts = run.item_counts.unwrap_or_default();
    let percent = (fraction(run) * 100.0).floor();
    let mut parts = vec![format!("{} {percent:3.0} %", run.state().as_str_name()), done(run, &counts)];
    parts.extend(problems(&counts));
    if counts.failed + counts.timed_out > 0 {
        parts.extend(describe::by_kind(run));
    }
    if matches!(run.state(), map_run::State::Running | map_run::State::Queued) {
        parts.extend(pace(run));
    }
    if let (map_run::State::Stopping, Some(compensation)) = (run.state(), &run.compensation) {
        parts.push(format!("compensation {}", compensation.state().as_str_name()));
    }
    parts.join(" · ")
}

/// How much is done of what is known so far.
fn done(run: &MapRun, counts: &Counts) -> String {
    let (decided, total) = (text::grouped(decided(counts)), text::counted(counts.total, "item"));
    match (run.total_known, counts.total) {
        (true, _) => format!("{decided} of {total}"),
        (false, 0) => "looking for items".to_owned(),
        (false, _) => format!("{decided} of at least {total}"),
    }
}

/// Items that have an outcome.
pub(crate) fn decided(counts: &Counts) -> u64 {
    counts.succeeded + counts.failed + counts.timed_out + counts.aborted
}

fn problems(counts: &Counts) -> impl Iterator<Item = String> {
    [("failed", counts.failed), ("timed out", counts.timed_out), ("aborted", counts.aborted)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{} {word}", text::grouped(count)))
}

fn pace(run: &MapRun) -> Vec<String> {
    let Some(progress) = &run.progress else { return Vec::new() };
    let mut parts = Vec::new();
    if progress.items_per_second > 0.0 {
        parts.push(text::rate(progress.items_per_second));
    }
    if let Some(eta) = progress.eta.and_then(|eta| Duration::try_from(eta).ok()) {
        parts.push(format!("ETA {}", text::time_span(eta)));
    }
    if progress.limited_by() != limited_by::Type::Unspecified {
        parts.push(format!("limited by {}", progress.limited_by().as_str_name()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1;

    use super::*;

    fn running(succeeded: u64, failed: u64) -> MapRun {
        MapRun {
            state: map_run::State::Running.into(),
            item_counts: Some(Counts {
                total: 20_000,
                pending: 20_000 - succeeded - failed,
                succeeded,
                failed,
                ..Counts::default()
            }),
            failure_counts: Some(v1::FailureCounts {
                business: failed.min(1),
                system: failed.saturating_sub(1),
            }),
            total_known: true,
            progress: Some(v1::Progress {
                fraction: 0.459,
                items_per_second: 3_210.7,
                eta: Some(prost_types::Duration { seconds: 4, nanos: 0 }),
                limited_by: limited_by::Type::Concurrency.into(),
            }),
            ..MapRun::default()
        }
    }

    #[test]
    fn a_line_tells_state_counts_rate_and_what_limits() {
        assert_eq!(
            progress_line(&running(9_000, 3)),
            "RUNNING  45 % · 9,003 of 20,000 items · 3 failed · 1 BUSINESS, 2 SYSTEM · 3,210/s · ETA 4.0 s · limited by CONCURRENCY"
        );
    }

    #[test]
    fn a_total_that_may_still_grow_is_not_called_the_total() {
        let run = MapRun { total_known: false, progress: None, ..running(1, 0) };
        assert_eq!(progress_line(&run), "RUNNING   0 % · 1 of at least 20,000 items");
    }

    #[test]
    fn an_ended_run_shows_no_pace() {
        let run = MapRun { state: map_run::State::Succeeded.into(), ..running(20_000, 0) };
        assert_eq!(progress_line(&run), "SUCCEEDED 100 % · 20,000 of 20,000 items");
    }

    #[test]
    fn lines_come_at_most_once_a_second_but_never_stay_away() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = LinePace::default();
        assert!(pace.on_snapshot(start, &running(1, 0)).is_some());
        assert_eq!(pace.on_snapshot(after(900), &running(2, 0)), None);
        assert!(pace.on_snapshot(after(1_000), &running(3, 0)).is_some());
        assert_eq!(pace.on_silence(after(10_900)), None);
        let repeated = pace.on_silence(after(11_000)).expect("ten seconds of silence are too long");
        assert!(repeated.contains("3 of 20,000"), "{repeated}");
    }

    #[test]
    fn lines_of_a_long_run_come_less_often() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = LinePace::default();
        assert!(pace.on_snapshot(start, &running(1, 0)).is_some());
        assert!(pace.on_snapshot(after(150), &running(2, 0)).is_some());
        assert_eq!(pace.on_snapshot(after(154), &running(3, 0)), None);
        assert!(pace.on_snapshot(after(156), &running(4, 0)).is_some());
        assert!(pace.on_snapshot(after(36_000), &running(5, 0)).is_some());
        assert!(pace.on_snapshot(after(36_010), &running(6, 0)).is_some());
    }

    #[test]
    fn a_warning_is_shown_once_though_every_snapshot_has_it() {
        let warning = v1::Warning { reason: "ERROR_RATE_MEDIUM".into(), message: "look".into() };
        let mut run = MapRun { warnings: vec![warning], ..running(100, 6) };
        let mut warned = Warned::default();
        assert_eq!(warned.on_snapshot(&run), ["warning    ERROR_RATE_MEDIUM: look"]);
        run.warnings.push(v1::Warning { reason: "ERROR_RATE_HIGH".into(), message: "now".into() });
        run.warnings.push(v1::Warning { reason: "ERROR_RATE_HIGH".into(), message: "again".into() });
        assert_eq!(
            warned.on_snapshot(&run),
            ["warning    ERROR_RATE_HIGH: now", "warning    ERROR_RATE_HIGH: again"]
        );
        assert!(warned.on_snapshot(&run).is_empty());
    }

    #[test]
    fn a_change_of_state_is_shown_at_once() {
        let start = Instant::now();
        let mut pace = LinePace::default();
        pace.on_snapshot(start, &running(1, 0));
        let ended = MapRun { state: map_run::State::Failed.into(), ..running(1, 5) };
        assert!(pace.on_snapshot(start + Duration::from_millis(5), &ended).is_some());
        assert_eq!(pace.at_end(&ended), None, "it stands there already");
    }
}
