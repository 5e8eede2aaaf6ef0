//! The leases that this worker holds: their readers, the batches in its slots, and outcomes that wait to be stored.
//!
//! Owned by the session's task alone. Nothing here waits: what takes time runs in tasks that send events.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use warifu_common::model::protocol::{CallOutcome, FailedItems, Grant, GrantedBatch, ReportVerdict};
use warifu_common::model::{
    BatchOrdinal, CallFailure, HandlerName, LeaseId, MapRunId, RangeSet, ReportNumber,
};
use warifu_common::telemetry::traces::mark_failed;

use crate::attempt::{Attempt, ShardStart};
use crate::compensation;
use crate::events::{EndedBatch, EventSender, ShellEvent};
use crate::handler::Handler;
use crate::lines::BatchLines;
use crate::reader::{granted_batches, read_lease};
use crate::run::OpenRun;
use crate::shelf::Shelf;
use crate::source::Sources;
use crate::trace;

/// Bytes that the details of failures may take in one report; result files hold all of them.
const MAX_DETAIL_BYTES: usize = 256 << 10;

/// What a place of a failure takes in a report, and what a failure takes besides its texts.
const PLACE_BYTES: usize = 24;

/// All leases held.
pub(crate) struct Leases {
    sources: Sources,
    events: EventSender,
    open: BTreeMap<LeaseId, Lease>,
}

struct Lease {
    run: Arc<OpenRun>,
    handler: Option<Arc<dyn Handler>>,
    grant: Arc<Grant>,
    /// None if the run is not traced.
    span: Span,
    /// Of the report that waits for its answer.
    commit: Span,
    shelf: Arc<Shelf>,
    /// Absent if nothing is read.
    reader: Option<AbortHandle>,
    running: BTreeMap<BatchOrdinal, RunningBatch>,
    /// Of batches that have any.
    lines: BTreeMap<BatchOrdinal, BatchLines>,
    /// What the next report has room for.
    detail_bytes_left: usize,
}

struct RunningBatch {
    cancel: CancellationToken,
    task: AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reader.iter().for_each(AbortHandle::abort);
        self.running.values().for_each(|batch| batch.task.abort());
    }
}

impl Leases {
    pub(crate) fn new(sources: Sources, events: EventSender) -> Self {
        Self { sources, events, open: BTreeMap::new() }
    }

    /// Begins to read a lease's batches; the one of a compensation is there at once.
    pub(crate) fn open(&mut self, run: Arc<OpenRun>, handler: Option<Arc<dyn Handler>>, grant: Arc<Grant>) {
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let span = trace::lease(&run, &grant);
        let reader = match &grant.compensation {
            Some(call) => {
                shelf.put(compensation::batch(&run.context, call));
                None
            }
            None => {
                Some(self.read(Arc::clone(&run), Arc::clone(&grant), Arc::clone(&shelf), trace::read(&span)))
            }
        };
        let lease = Lease {
            run,
            handler,
            span,
            commit: Span::none(),
            shelf,
            reader,
            running: BTreeMap::new(),
            lines: BTreeMap::new(),
            detail_bytes_left: MAX_DETAIL_BYTES,
            grant,
        };
        self.open.insert(lease.grant.lease, lease);
    }

    fn read(&self, run: Arc<OpenRun>, grant: Arc<Grant>, shelf: Arc<Shelf>, span: Span) -> AbortHandle {
        let (events, lease) = (self.events.clone(), grant.lease);
        let reading = read_lease(self.sources.clone(), run, grant, shelf);
        let reader = tokio::spawn(async move {
            if let Err(fault) = reading.instrument(span.clone()).await {
                mark_failed(&span);
                drop(span);
                // The session is gone only if the worker ends.
                let _ = events.send(ShellEvent::LeaseFailed(lease, fault)).await;
            }
        });
        reader.abort_handle()
    }

    /// Runs a batch of an open lease in a task of its own.
    pub(crate) fn begin(&mut self, lease: LeaseId, batch: BatchOrdinal) {
        let events = self.events.clone();
        let Some(lease) = self.open.get_mut(&lease) else { return };
        let Some(granted) = lease.granted(batch) else { return };
        let cancel = CancellationToken::new();
        let span = trace::batch(&lease.span, &granted);
        let attempt = lease.attempt(granted, cancel.clone());
        let items = lease.shelf.take(batch.0);
        let task = tokio::spawn(async move {
            let ended = Box::pin(attempt.run(items)).instrument(span.clone()).await;
            if ended.as_ref().is_none_or(|ended| ended.finished.call != CallOutcome::Answered) {
                mark_failed(&span);
            }
            drop(span);
            if let Some(ended) = ended {
                let _ = events.send(ShellEvent::BatchEnded(Box::new(ended))).await;
            }
        });
        lease.running.insert(batch, RunningBatch { cancel, task: task.abort_handle() });
    }

    /// Asks a running batch's handler to stop; the batch ends in its own time.
    pub(crate) fn cancel(&self, lease: LeaseId, batch: BatchOrdinal) {
        if let Some(running) = self.open.get(&lease).and_then(|lease| lease.running.get(&batch)) {
            running.cancel.cancel();
        }
    }

    /// Takes note of a batch's end. `None`: it was dropped meanwhile.
    pub(crate) fn ended(&mut self, ended: EndedBatch) -> Option<warifu_session::FinishedBatch> {
        let EndedBatch { mut finished, lines, .. } = ended;
        let lease = self.open.get_mut(&finished.lease)?;
        lease.running.remove(&finished.batch)?;
        limit_details(&mut finished.failed, &mut lease.detail_bytes_left);
        if lines != BatchLines::default() {
            lease.lines.insert(finished.batch, lines);
        }
        Some(finished)
    }

    /// The lines of batches that are to be stored, and their run. They are kept: a refused report is cut anew.
    pub(crate) fn lines_of(
        &mut self,
        lease: LeaseId,
        batches: &RangeSet,
    ) -> Option<(Arc<OpenRun>, Vec<BatchLines>)> {
        let lease = self.open.get_mut(&lease)?;
        lease.detail_bytes_left = MAX_DETAIL_BYTES;
        let of_batches = |range: Range<u32>| {
            lease
                .lines
                .range(BatchOrdinal(range.start)..BatchOrdinal(range.end))
                .map(|(_, lines)| lines.clone())
        };
        let lines = batches.ranges().flat_map(of_batches).collect();
        Some((Arc::clone(&lease.run), lines))
    }

    /// Forgets batches of a lease; handlers of running ones are dropped, which kills what they started.
    pub(crate) fn drop_batches(&mut self, lease: LeaseId, batches: &RangeSet) {
        let Some(lease) = self.open.get_mut(&lease) else { return };
        lease.shelf.drop_batches(batches);
        lease.lines.retain(|batch, _| !batches.contains(batch.0));
        lease.running.retain(|batch, running| {
            let stays = !batches.contains(batch.0);
            if !stays {
                running.task.abort();
            }
            stays
        });
    }

    /// Forgets a lease.
    pub(crate) fn close(&mut self, lease: LeaseId) {
        self.open.remove(&lease);
    }

    /// The handler that a lease is for.
    pub(crate) fn handler_of(&self, lease: LeaseId) -> Option<&HandlerName> {
        let lease = self.open.get(&lease)?;
        Some(compensation::handler_of(&lease.run.context, lease.grant.compensation.is_some()))
    }

    /// Batches that have a slot.
    pub(crate) fn running_batches(&self) -> usize {
        self.open.values().map(|lease| lease.running.len()).sum()
    }

    /// The span of the storing of a report of a lease.
    pub(crate) fn report_span(&self, lease: LeaseId, number: ReportNumber) -> Span {
        self.open.get(&lease).map_or_else(Span::none, |lease| trace::report(&lease.span, number.0))
    }

    /// Takes note that a report was sent, perhaps once more.
    pub(crate) fn report_sent(&mut self, lease: LeaseId, number: ReportNumber) {
        if let Some(lease) = self.open.get_mut(&lease) {
            lease.commit = trace::commit(&lease.span, number.0);
        }
    }

    /// Takes note of its answer.
    pub(crate) fn report_answered(&mut self, lease: LeaseId, verdict: &ReportVerdict) {
        let Some(lease) = self.open.get_mut(&lease) else { return };
        let commit = std::mem::replace(&mut lease.commit, Span::none());
        if let ReportVerdict::Refused { .. } = verdict {
            mark_failed(&commit);
        }
    }

    /// The run and the redrive that a lease is for.
    pub(crate) fn run_and_redrive(&self, lease: LeaseId) -> Option<(MapRunId, u32)> {
        self.open.get(&lease).map(|lease| (lease.grant.map_run.clone(), lease.grant.redrive))
    }
}

impl Lease {
    fn granted(&self, batch: BatchOrdinal) -> Option<GrantedBatch> {
        let place = self.grant.batches.binary_search_by_key(&batch, |granted| granted.batch).ok()?;
        Some(self.grant.batches[place].clone())
    }

    fn attempt(&self, granted: GrantedBatch, cancel: CancellationToken) -> Attempt {
        let shard = &self.grant.shard;
        let is_compensation = self.grant.compensation.is_some();
        Attempt {
            run: Arc::clone(&self.run),
            lease: self.grant.lease,
            granted,
            shard_start: if is_compensation {
                compensation::PLACE
            } else {
                ShardStart { item: shard.first_item, batch: shard.first_batch, line: shard.first_line }
            },
            is_compensation,
            handler: self.handler.clone(),
            cancel,
        }
    }
}

/// The name of failures whose own one has no room.
const OTHER_ERRORS: &str = "…";

/// Takes places and, if need be, causes away from failures until they fit into what is left; those whose name does not fit
/// become one group of each kind.
fn limit_details(failed: &mut Vec<FailedItems>, left: &mut usize) {
    let mut others: Vec<FailedItems> = Vec::new();
    for mut group in std::mem::take(failed) {
        if group.failure.error.len() > *left {
            match others.iter_mut().find(|others| others.failure.kind == group.failure.kind) {
                Some(others) => others.items.union_with(&group.items),
                None => {
                    let failure =
                        CallFailure { error: OTHER_ERRORS.into(), cause: String::new(), ..group.failure };
                    others.push(FailedItems { failure, places: Vec::new(), ..group });
                }
            }
            continue;
        }
        if group.failure.error.len() + group.failure.cause.len() > *left {
            group.failure.cause.clear();
        }
        *left -= group.failure.error.len() + group.failure.cause.len();
        group.places.truncate(*left / PLACE_BYTES);
        *left -= group.places.len() * PLACE_BYTES;
        failed.push(group);
    }
    failed.extend(others);
}

#[cfg(test)]
mod tests {
    use warifu_common::model::SourcePlace;

    use super::*;

    #[test]
    fn details_of_failures_are_bounded_and_the_first_places_stay() {
        let group = |places: usize| FailedItems {
            items: RangeSet::new(),
            failure: CallFailure::system("E", "x".repeat(99)),
            places: vec![SourcePlace::default(); places],
        };
        let mut failed = vec![group(3), group(100), group(1)];
        let mut left = 100 + 3 * PLACE_BYTES + 100 + 2 * PLACE_BYTES + 5;
        limit_details(&mut failed, &mut left);
        let kept: Vec<_> = failed.iter().map(|f| (f.places.len(), f.failure.cause.len())).collect();
        assert_eq!(kept, [(3, 99), (2, 99), (0, 0)]);
    }

    #[test]
    fn failures_whose_names_have_no_room_become_one() {
        let group = |item: u32| FailedItems {
            items: [item].into_iter().collect(),
            failure: CallFailure::system(format!("Error{item}"), "x"),
            places: vec![SourcePlace::default()],
        };
        let mut failed = (0..9).map(group).collect();
        limit_details(&mut failed, &mut 16);
        let kept: Vec<_> = failed.iter().map(|f| (f.failure.error.as_str(), f.items.len())).collect();
        assert_eq!(kept, [("Error0", 1), ("Error1", 1), ("…", 7)]);
    }
}
