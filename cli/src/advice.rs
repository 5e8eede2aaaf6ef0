//! What to do about a run that is slow or failing, from what the run itself says. A run that is fine gets no advice.
//!
//! Pure: a run in, sentences out. Each rule has its threshold as a constant, with the reason for its value.

use std::time::Duration;

use warifu_common::wire::v1::{
    AdaptedLimit, ErrorGroup, MapRun, RunError, adapted_limit, limited_by, map_run,
};

use crate::text;

/// A run that ends sooner is left alone: nobody gains from tuning what is over in a minute.
const LONG_REMAINDER: Duration = Duration::from_secs(60);

/// A failure is worth advice of its own from this share of all failed items on: others would hide behind it.
const LARGE_SHARE_OF_FAILURES: f64 = 0.25;

/// Batches this short cost more around the handler (lease, report, result line) than in it.
const SHORT_BATCH: Duration = Duration::from_millis(50);

/// Larger batches than this are not what makes them short.
const SMALL_BATCH_ITEMS: u32 = 100;

/// How many times larger the batches should be that are advised in place of short ones.
const LARGER_BATCH: u32 = 10;

/// `maxConcurrency` is far above what runs if it is at least so many times as much.
const FAR_ABOVE: u64 = 2;

/// A handler call that was killed for want of memory ends so: the kernel sends SIGKILL, as does a container's limit.
const KILLED: [&str; 2] = ["Exec.Signal.9", "Lambda.Signal.9"];
/// What runtimes call it themselves.
const OUT_OF_MEMORY: [&str; 3] = ["MemoryError", "OutOfMemory", "heap out of memory"];

const TIMEOUT: &str = "States.Timeout";
const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";

/// What to do, the most pressing first; empty for a run that is fine.
pub(crate) fn advice(run: &MapRun) -> Vec<String> {
    let rules = [access, result_writing, timeouts, memory, stuck, concurrency, workers, small_batches];
    rules.iter().filter_map(|rule| rule(run)).collect()
}

/// S3 refuses what the run needs.
fn access(run: &MapRun) -> Option<String> {
    let error = failed_by(run, &[ITEM_READER_FAILED, RESULT_WRITER_FAILED])?;
    let is_denied = error.cause.contains("not allowed to") || error.cause.contains("the credentials of");
    let id = text::id_of(&run.name);
    is_denied.then(|| {
        format!("coordinator and workers read and write S3 with their own credentials: grant them what the error names, then `warifu redrive {id}`")
    })
}

/// S3 took too few requests for results.
fn result_writing(run: &MapRun) -> Option<String> {
    let error = failed_by(run, &[RESULT_WRITER_FAILED])?;
    let id = text::id_of(&run.name);
    error.cause.contains(" now").then(|| {
        format!("object storage was overloaded or away: larger batches and fewer workers write fewer, larger files; `warifu redrive {id}` goes on")
    })
}

/// Handler calls take too long for what a batch holds.
fn timeouts(run: &MapRun) -> Option<String> {
    let is_timeout = |group: &ErrorGroup| group.error == TIMEOUT;
    if !is_large_share(run, is_timeout) {
        return None;
    }
    let limit = run.spec.as_ref().and_then(|spec| spec.item_processor.as_ref())?.timeout_seconds;
    Some(format!(
        "batches time out after {limit} s: make them smaller (itemBatcher.maxItemsPerBatch is {}) or raise itemProcessor.timeoutSeconds",
        max_items_per_batch(run)
    ))
}

/// Handlers are killed, or say that they have no memory.
fn memory(run: &MapRun) -> Option<String> {
    let wants_memory = |group: &ErrorGroup| {
        let says = |text: &str| OUT_OF_MEMORY.iter().any(|words| text.contains(words));
        KILLED.contains(&group.error.as_str())
            || says(&group.error)
            || group.samples.iter().any(|sample| says(&sample.message))
    };
    let id = text::id_of(&run.name);
    is_large_share(run, wants_memory).then(|| {
        format!("handlers are killed or out of memory (`warifu logs {id}`): give their machines more, fewer [worker] slots, or smaller batches")
    })
}

/// Work waits and nothing runs.
fn stuck(run: &MapRun) -> Option<String> {
    let nothing_runs = run.batch_counts.is_some_and(|counts| counts.running == 0 && counts.pending > 0);
    let is_stuck = limited_by(run) == limited_by::Type::Workers && nothing_runs && rate(run) == 0.0;
    let handler = handler(run);
    is_stuck.then(|| {
        format!("no worker runs the handler {handler}: `warifu workers` shows which workers have it, and why one takes no work")
    })
}

/// The run's own limit is what keeps it slow.
fn concurrency(run: &MapRun) -> Option<String> {
    if run.adapted_limit.as_ref().is_some_and(is_below_ceiling) {
        return None; // what stands behind the handler bears no more
    }
    let limit = run.spec.as_ref()?.max_concurrency;
    let is_limit = is_long(run) && limited_by(run) == limited_by::Type::Concurrency && limit > 0;
    let (id, twice) = (text::id_of(&run.name), limit.saturating_mul(2));
    is_limit.then(|| {
        format!("maxConcurrency {limit} is the limit: `warifu update {id} --max-concurrency {twice}`, if what stands behind the handler bears it")
    })
}

/// Something else than `maxConcurrency` makes the limit what it is.
pub(crate) fn is_below_ceiling(adapted: &AdaptedLimit) -> bool {
    adapted.reason() != adapted_limit::Reason::MaxConcurrency
}

/// The fleet is what keeps it slow.
fn workers(run: &MapRun) -> Option<String> {
    let running = run.batch_counts?.running;
    if !is_long(run) || limited_by(run) != limited_by::Type::Workers || running == 0 {
        return None;
    }
    let limit = u64::from(run.spec.as_ref()?.max_concurrency);
    let slots = text::grouped(running);
    if limit >= running.saturating_mul(FAR_ABOVE) {
        let limit = text::grouped(limit);
        return Some(format!(
            "maxConcurrency {limit} is never reached: the slots suffice for {slots} batches at once; add workers or raise [worker] slots"
        ));
    }
    Some(format!("all {slots} slots are taken: add workers or raise [worker] slots"))
}

/// Batches are so short that what is around the handler counts.
fn small_batches(run: &MapRun) -> Option<String> {
    let size = max_items_per_batch(run);
    let is_throttled = matches!(
        limited_by(run),
        limited_by::Type::Concurrency | limited_by::Type::Workers | limited_by::Type::Store
    );
    if !is_long(run) || !is_throttled || size > SMALL_BATCH_ITEMS {
        return None;
    }
    let took = batch_time(run).filter(|took| *took < SHORT_BATCH)?;
    Some(format!(
        "a batch of {size} items takes {}: larger ones (itemBatcher.maxItemsPerBatch: {}) spend less around the handler",
        text::time_span(took),
        size.saturating_mul(LARGER_BATCH)
    ))
}

/// How long a batch is in progress: those in progress, over those that end in a second (Little's law).
fn batch_time(run: &MapRun) -> Option<Duration> {
    let running = run.batch_counts?.running;
    let batches_per_second = rate(run) / f64::from(max_items_per_batch(run).max(1));
    let is_known = running > 0 && batches_per_second > 0.0;
    is_known.then(|| Duration::try_from_secs_f64(running as f64 / batches_per_second).ok()).flatten()
}

fn rate(run: &MapRun) -> f64 {
    run.progress.map(|progress| progress.items_per_second).unwrap_or_default()
}

/// What limits it, while it runs.
fn limited_by(run: &MapRun) -> limited_by::Type {
    if run.state() != map_run::State::Running {
        return limited_by::Type::Unspecified;
    }
    run.progress.map(|progress| progress.limited_by()).unwrap_or_default()
}

/// It will run for a while yet.
fn is_long(run: &MapRun) -> bool {
    let eta = run.progress.and_then(|progress| progress.eta);
    eta.and_then(|eta| Duration::try_from(eta).ok()).is_some_and(|eta| eta >= LONG_REMAINDER)
}

fn max_items_per_batch(run: &MapRun) -> u32 {
    let batcher = run.spec.as_ref().and_then(|spec| spec.item_batcher.as_ref());
    batcher.map(|batcher| batcher.max_items_per_batch).unwrap_or_default()
}

fn handler(run: &MapRun) -> &str {
    let processor = run.spec.as_ref().and_then(|spec| spec.item_processor.as_ref());
    processor.map(|processor| processor.handler.as_str()).unwrap_or_default()
}

/// The run's error, if it is one of these.
fn failed_by<'a>(run: &'a MapRun, names: &[&str]) -> Option<&'a RunError> {
    run.error.as_ref().filter(|error| names.contains(&error.error.as_str()))
}

/// Whether groups that `matches` takes make up a large share of the failed items.
fn is_large_share(run: &MapRun, matches: impl Fn(&ErrorGroup) -> bool) -> bool {
    let counts = run.item_counts.unwrap_or_default();
    let failed = counts.failed + counts.timed_out;
    let matching: u64 = run.error_groups.iter().filter(|group| matches(group)).map(|group| group.count).sum();
    matching > 0 && matching as f64 >= failed as f64 * LARGE_SHARE_OF_FAILURES
}

#[cfg(test)]
mod tests;
