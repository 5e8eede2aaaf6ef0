//! A map run in words: what `get` shows, and the summary at the end of `run`, `watch` and `wait`.

use std::fmt::Write as _;
use std::time::Duration;

use warifu_common::wire::v1::{
    Counts, ErrorGroup, FailureCounts, MapRun, ResultLocation, Warning, compensation_status,
};

use crate::{advice, follow, limited, progress, text};

/// Characters of a sample's message that are shown.
const MESSAGE_LIMIT: usize = 200;

/// How the warnings of a high error rate begin.
const ERROR_RATE_WARNINGS: &str = "ERROR_RATE_";

/// Everything about a run that a person may want to know, a line per fact.
pub(crate) fn full(run: &MapRun) -> String {
    let mut facts = Facts::default();
    facts.add("Name", &run.name);
    facts.add("State", run.state().as_str_name());
    facts.add("Error", &error_text(run));
    facts.add("Handler", &handler(run));
    facts.add("Source", &source(run));
    facts.add("Created", &text::moment(run.create_time.as_ref()));
    facts.add("Started", &text::moment(run.start_time.as_ref()));
    facts.add("Stopped", &stopped(run));
    facts.add("Items", &counts(run.item_counts.unwrap_or_default(), "item"));
    facts.add("Error rate", &error_rate(run));
    facts.add("Batches", &counts(run.batch_counts.unwrap_or_default(), "batch"));
    facts.add("Batch size", &batch_size(run));
    facts.add("Concurrency", &limited::adapted_limit(run));
    facts.add("Progress", &progress::progress_line(run));
    facts.add("Limited by", limited::limit_advice(run));
    facts.add("Redrives", &redrives(run));
    facts.add("Compensation", &compensation(run));
    facts.add("Results", &results_text(run));
    for warning in &run.warnings {
        facts.add("Warning", &format!("{}: {}", warning.reason, warning.message));
    }
    for advice in advice::advice(run).into_iter().chain(error_rate_advice(run)) {
        facts.add("Advice", &advice);
    }
    let mut text = facts.0;
    for group in &run.error_groups {
        text.push_str(&error_group(group));
    }
    text
}

/// What a run came to, for the end of a command that followed it.
pub(crate) fn summary(run: &MapRun) -> String {
    let mut facts = Facts::default();
    let took = took(run).map(|took| format!(" in {}", text::time_span(took))).unwrap_or_default();
    facts.add(text::id_of(&run.name), &format!("{}{took}", run.state().as_str_name()));
    facts.add("error", &error_text(run));
    facts.add("items", &counts(run.item_counts.unwrap_or_default(), "item"));
    facts.add("error rate", &error_rate(run));
    facts.add("rate", &overall_rate(run).map(text::rate).unwrap_or_default());
    facts.add("results", &results_text(run));
    facts.add("compensation", &compensation(run));
    for warning in &run.warnings {
        facts.add("warning", &format!("{}: {}", warning.reason, warning.message));
    }
    for advice in advice::advice(run) {
        facts.add("advice", &advice);
    }
    let mut text = facts.0;
    if let Some(group) = run.error_groups.first() {
        text.push_str(&error_group(group));
    }
    text
}

/// A warning as a line of its own.
pub(crate) fn warning_line(warning: &Warning) -> String {
    format!("{:<10} {}: {}", "warning", warning.reason, warning.message)
}

/// Labelled lines; a fact without text is left out.
#[derive(Default)]
struct Facts(String);

impl Facts {
    fn add(&mut self, label: &str, fact: &str) {
        if !fact.is_empty() && fact != "-" {
            _ = writeln!(self.0, "{label:<10} {fact}");
        }
    }
}

/// What `autoSize` chose, and by what.
fn batch_size(run: &MapRun) -> String {
    let size = run.batch_size.as_ref();
    size.map(|size| format!("{} items, chosen for {}", size.items, size.reason)).unwrap_or_default()
}

fn error_text(run: &MapRun) -> String {
    match &run.error {
        Some(error) if error.cause.is_empty() => error.error.clone(),
        Some(error) => format!("{}: {}", error.error, error.cause),
        None => String::new(),
    }
}

/// What became of the compensation, if it was called for: `undo: FAILED after 10 tries on worker w1: Http.503: busy`.
pub(crate) fn compensation(run: &MapRun) -> String {
    let Some(status) = &run.compensation else { return String::new() };
    let handler = run.spec.as_ref().and_then(|spec| spec.compensation.as_ref());
    let handler = handler.map(|compensation| compensation.handler.as_str()).unwrap_or_default();
    let mut text = format!("{handler}: {}", status.state().as_str_name());
    match status.state() {
        compensation_status::State::Pending if status.attempts == 0 => text.push_str(", waits for a worker"),
        compensation_status::State::NotRun => {}
        compensation_status::State::Running => _ = write!(text, ", try {}", status.attempts),
        _ => _ = write!(text, " after {}", tries(status.attempts)),
    }
    if let Some(worker) = status.worker.strip_prefix("workers/") {
        _ = write!(text, " on worker {worker}");
    }
    match &status.error {
        Some(error) if error.cause.is_empty() => _ = write!(text, ": {}", error.error),
        Some(error) => _ = write!(text, ": {}: {}", error.error, text::one_line(&error.cause, MESSAGE_LIMIT)),
        None => {}
    }
    text
}

fn tries(count: u32) -> String {
    if count == 1 { "1 try".to_owned() } else { format!("{count} tries") }
}

fn handler(run: &MapRun) -> String {
    run.spec
        .as_ref()
        .and_then(|spec| spec.item_processor.as_ref())
        .map(|processor| processor.handler.clone())
        .unwrap_or_default()
}

/// The source as a path or an `s3://` URL, and its size.
pub(crate) fn source(run: &MapRun) -> String {
    match run.spec.as_ref().and_then(|spec| spec.item_reader.as_ref()) {
        Some(reader) => {
            if !reader.handler.is_empty() {
                return format!("items of the handler {}", reader.handler);
            }
            let key = if reader.key.is_empty() { &reader.prefix } else { &reader.key };
            let place = object_place(&reader.bucket, key);
            format!("{place} ({})", text::size(run.source_size_bytes))
        }
        None => String::new(),
    }
}

fn object_place(bucket: &str, key: &str) -> String {
    warifu_common::object_store::ObjectLocation::new(bucket, key).to_string()
}

fn stopped(run: &MapRun) -> String {
    let moment = text::moment(run.stop_time.as_ref());
    match took(run) {
        Some(took) => format!("{moment} (took {})", text::time_span(took)),
        None => moment,
    }
}

fn took(run: &MapRun) -> Option<Duration> {
    text::between(run.start_time.as_ref(), run.stop_time.as_ref())
}

fn overall_rate(run: &MapRun) -> Option<f64> {
    let seconds = took(run)?.as_secs_f64();
    let decided = progress::decided(&run.item_counts.unwrap_or_default());
    (seconds > 0.0 && decided > 0).then(|| decided as f64 / seconds)
}

fn counts(counts: Counts, noun: &str) -> String {
    let total = match (noun, counts.total) {
        ("batch", 1) => "1 batch".to_owned(),
        ("batch", total) => format!("{} batches", text::grouped(total)),
        (noun, total) => text::counted(total, noun),
    };
    let states = [
        ("succeeded", counts.succeeded),
        ("failed", counts.failed),
        ("timed out", counts.timed_out),
        ("aborted", counts.aborted),
        ("running", counts.running),
        ("pending", counts.pending),
        ("pending redrive", counts.pending_redrive),
    ];
    let states: Vec<String> = states
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{} {state}", text::grouped(count)))
        .collect();
    if states.is_empty() { total } else { format!("{total}: {}", states.join(" · ")) }
}

/// The share of items that failed or timed out: of all once the run has ended, until then of those that are decided; and
/// by whose fault it is.
fn error_rate(run: &MapRun) -> String {
    let counts = run.item_counts.unwrap_or_default();
    let failed = counts.failed + counts.timed_out;
    let (of, noun) = match follow::is_terminal(run) {
        true => (counts.total, "item"),
        false => (counts.succeeded + failed, "decided item"),
    };
    if failed == 0 {
        return String::new();
    }
    let percentage = failed as f64 * 100.0 / of.max(1) as f64;
    let rate = format!("{} of {}", text::percentage(percentage), text::counted(of, noun));
    match by_kind(run) {
        Some(kinds) => format!("{rate}: {kinds}"),
        None => rate,
    }
}

/// Failed items by whose fault it is, both kinds always; `None` from a coordinator that does not tell.
pub(crate) fn by_kind(run: &MapRun) -> Option<String> {
    let FailureCounts { business, system } = run.failure_counts?;
    Some(format!("{} BUSINESS, {} SYSTEM", text::grouped(business), text::grouped(system)))
}

fn redrives(run: &MapRun) -> String {
    if run.redrive_count == 0 { String::new() } else { run.redrive_count.to_string() }
}

fn results_text(run: &MapRun) -> String {
    match (&run.result_location, run.outputs.len()) {
        (Some(ResultLocation { bucket, manifest_key }), _) => object_place(bucket, manifest_key),
        (None, 0) => String::new(),
        (None, outputs) => {
            let more = if run.outputs_truncated { ", not all" } else { "" };
            format!(
                "{} kept with the run{more} (`-o json` shows them)",
                text::counted(outputs as u64, "output")
            )
        }
    }
}

/// An error type with its first sample.
pub(crate) fn error_group(group: &ErrorGroup) -> String {
    let kind = group.kind().as_str_name();
    let mut text = format!("failures   {} ({kind}): {}\n", group.error, text::counted(group.count, "item"));
    for sample in group.samples.iter().take(1) {
        _ = writeln!(
            text,
            "           item {} (line {}, byte {}): {}",
            sample.index,
            sample.line,
            sample.byte_offset,
            text::one_line(&sample.message, MESSAGE_LIMIT)
        );
    }
    text
}

/// Where to look when many items fail.
fn error_rate_advice(run: &MapRun) -> Vec<String> {
    let is_warned = run.warnings.iter().any(|warning| warning.reason.starts_with(ERROR_RATE_WARNINGS));
    let Some(FailureCounts { business, system }) = run.failure_counts.filter(|_| is_warned) else {
        return Vec::new();
    };
    let id = text::id_of(&run.name);
    let looks = [
        (
            business,
            format!("`warifu failures {id} -o csv` gives the records of failed items, to correct and submit"),
        ),
        (system, format!("`warifu logs {id}` shows what handlers said last in failed attempts")),
    ];
    looks.into_iter().filter(|(failures, _)| *failures > 0).map(|(_, advice)| advice).collect()
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use warifu_common::wire::v1::{
        Compensation, CompensationStatus, ErrorSample, ItemProcessor, ItemReader, MapRunSpec, RunError,
        failure_kind, map_run,
    };

    use super::*;

    fn failed_run() -> MapRun {
        MapRun {
            name: "mapRuns/orders".into(),
            state: map_run::State::Failed.into(),
            spec: Some(MapRunSpec {
                item_reader: Some(ItemReader {
                    bucket: "input".into(),
                    key: "orders.csv".into(),
                    ..ItemReader::default()
                }),
                item_processor: Some(ItemProcessor { handler: "orders".into(), ..ItemProcessor::default() }),
                ..MapRunSpec::default()
            }),
            source_size_bytes: 2_048,
            create_time: Some(Timestamp { seconds: 1_764_000_000, nanos: 0 }),
            start_time: Some(Timestamp { seconds: 1_764_000_000, nanos: 0 }),
            stop_time: Some(Timestamp { seconds: 1_764_000_002, nanos: 0 }),
            item_counts: Some(Counts {
                total: 100,
                pending: 88,
                succeeded: 10,
                failed: 2,
                ..Counts::default()
            }),
            failure_counts: Some(FailureCounts { business: 2, system: 0 }),
            total_known: true,
            error: Some(RunError {
                error: "States.ExceedToleratedFailureThreshold".into(),
                cause: "2 items failed, 1 tolerated".into(),
            }),
            error_groups: vec![ErrorGroup {
                error: "Sql.22P02".into(),
                kind: failure_kind::Type::Business.into(),
                count: 2,
                samples: vec![ErrorSample {
                    index: 4,
                    byte_offset: 130,
                    byte_length: 20,
                    line: 6,
                    message: "login_count: `many` is no int8".into(),
                }],
                ..ErrorGroup::default()
            }],
            result_location: Some(ResultLocation {
                bucket: "output".into(),
                manifest_key: "orders/manifest.json".into(),
            }),
            ..MapRun::default()
        }
    }

    #[test]
    fn a_summary_tells_outcome_counts_rate_results_and_the_top_failure() {
        assert_eq!(
            summary(&failed_run()),
            "orders     FAILED in 2.0 s\n\
             error      States.ExceedToleratedFailureThreshold: 2 items failed, 1 tolerated\n\
             items      100 items: 10 succeeded · 2 failed · 88 pending\n\
             error rate 2.0 % of 100 items: 2 BUSINESS, 0 SYSTEM\n\
             rate       6.0/s\n\
             results    s3://output/orders/manifest.json\n\
             failures   Sql.22P02 (BUSINESS): 2 items\n           \
             item 4 (line 6, byte 130): login_count: `many` is no int8\n"
        );
    }

    #[test]
    fn until_the_end_the_error_rate_is_of_what_is_decided() {
        let running = MapRun { state: map_run::State::Running.into(), ..failed_run() };
        assert_eq!(error_rate(&running), "16.7 % of 12 decided items: 2 BUSINESS, 0 SYSTEM");
        let untold = MapRun { failure_counts: None, ..failed_run() };
        assert_eq!(error_rate(&untold), "2.0 % of 100 items");
        let rare = Counts { total: 1_000_000, failed: 3, ..Counts::default() };
        let rare = MapRun { item_counts: Some(rare), failure_counts: None, ..failed_run() };
        assert_eq!(error_rate(&rare), "less than 0.1 % of 1,000,000 items");
    }

    #[test]
    fn many_failures_lead_to_where_their_kind_is_seen() {
        let warning = Warning { reason: "ERROR_RATE_HIGH".into(), message: "look".into() };
        let mut run = MapRun { warnings: vec![warning], ..failed_run() };
        let advice = error_rate_advice(&run);
        assert!(advice.len() == 1 && advice[0].starts_with("`warifu failures orders -o csv`"), "{advice:?}");
        run.failure_counts = Some(FailureCounts { business: 1, system: 1 });
        assert!(full(&run).contains("\nAdvice     `warifu logs orders` shows"), "{}", full(&run));
        assert!(error_rate_advice(&failed_run()).is_empty(), "nothing was warned of");
    }

    #[test]
    fn advice_on_what_failed_stands_in_the_summary_and_in_the_full_text() {
        let mut run = failed_run();
        assert!(!summary(&run).contains("advice") && !full(&run).contains("Advice"));
        run.error_groups[0].error = "Exec.Signal.9".into();
        assert!(summary(&run).contains("\nadvice     handlers are killed"), "{}", summary(&run));
        assert!(full(&run).contains("\nAdvice     handlers are killed"), "{}", full(&run));
    }

    #[test]
    fn a_compensation_is_told_with_its_tries_worker_and_last_error() {
        let told = |status: CompensationStatus| {
            let spec = MapRunSpec {
                compensation: Some(Compensation { handler: "undo".into(), ..Compensation::default() }),
                ..MapRunSpec::default()
            };
            compensation(&MapRun { spec: Some(spec), compensation: Some(status), ..MapRun::default() })
        };
        let error = RunError { error: "Http.503".into(), cause: "busy".into() };
        let status = |state: compensation_status::State, attempts: u32| CompensationStatus {
            state: state.into(),
            attempts,
            worker: if attempts > 0 { "workers/w1".into() } else { String::new() },
            ..CompensationStatus::default()
        };
        use compensation_status::State;
        assert_eq!(told(status(State::Pending, 0)), "undo: PENDING, waits for a worker");
        assert_eq!(told(status(State::Running, 2)), "undo: RUNNING, try 2 on worker w1");
        assert_eq!(told(status(State::Succeeded, 1)), "undo: SUCCEEDED after 1 try on worker w1");
        let failed = CompensationStatus { error: Some(error.clone()), ..status(State::Failed, 10) };
        assert_eq!(told(failed), "undo: FAILED after 10 tries on worker w1: Http.503: busy");
        let not_run = CompensationStatus { error: Some(error), ..status(State::NotRun, 0) };
        assert_eq!(told(not_run), "undo: NOT_RUN: Http.503: busy");
        assert_eq!(compensation(&MapRun::default()), "");
    }

    #[test]
    fn the_full_text_names_source_handler_and_times() {
        let text = full(&failed_run());
        for line in [
            "Name       mapRuns/orders",
            "State      FAILED",
            "Handler    orders",
            "Source     s3://input/orders.csv (2.0 KiB)",
            "Stopped    2025-11-24T16:00:02Z (took 2.0 s)",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("Limited by"), "an ended run is limited by nothing");
    }
}
