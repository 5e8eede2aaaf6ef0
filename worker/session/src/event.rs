//! What can happen to a worker's session, and what the session can ask for.

use std::sync::Arc;
use std::time::Duration;

use warifu_dataset::{ByteRange, Probe, ShardScan};
use warifu_model::protocol::{
    CallOutcome, CoordinatorMessage, FailedItems, Grant, RunContext, RunFault, ScanOrder, StagedSource,
    WorkerMessage,
};
use warifu_model::{
    BatchOrdinal, LeaseId, MapRunId, PartRef, RangeSet, ReportNumber, ShardNumber, Timestamp,
};

/// A connection to a coordinator; rises with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// A stream to a coordinator is open; nothing was sent on it yet.
    Connected(ConnectionId),
    /// It ended.
    Disconnected(ConnectionId),
    /// A message arrived on it.
    Received(ConnectionId, CoordinatorMessage),
    /// A handler call ended, or the batch was cancelled before its handler was called (then `Aborted`).
    BatchFinished(FinishedBatch),
    /// The parts asked for with `StoreParts` are stored.
    PartsStored {
        /// The lease.
        lease: LeaseId,
        /// The report.
        number: ReportNumber,
        /// What was stored.
        parts: StoredParts,
    },
    /// They cannot be stored, ever: what they were to hold is not known to anybody else, and will not be.
    PartsFailed {
        /// The lease.
        lease: LeaseId,
        /// The report.
        number: ReportNumber,
    },
    /// Something that ends the run was seen.
    FaultSeen {
        /// The run.
        map_run: MapRunId,
        /// The redrive.
        redrive: u32,
        /// What.
        fault: RunFault,
    },
    /// The head of a source was read.
    Probed {
        /// The run.
        map_run: MapRunId,
        /// What it says.
        probe: Result<Probe, RunFault>,
    },
    /// A source was rewritten.
    Staged {
        /// The run.
        map_run: MapRunId,
        /// What came of it.
        staged: Result<StagedSource, RunFault>,
    },
    /// A shard was scanned.
    Scanned {
        /// The run.
        map_run: MapRunId,
        /// The shard.
        shard: ShardNumber,
        /// What it holds.
        scan: Result<ShardScan, RunFault>,
    },
    /// The process was told to stop: what still runs at `deadline` is cancelled.
    DrainRequested {
        /// The end of patience.
        deadline: Timestamp,
    },
    /// The time asked for with `next_deadline` has come.
    DeadlineReached,
}

/// One handler call that ended.
#[derive(Debug, Clone)]
pub struct FinishedBatch {
    /// Its lease.
    pub lease: LeaseId,
    /// Which.
    pub batch: BatchOrdinal,
    /// How it ended.
    pub call: CallOutcome,
    /// Index within the shard of its first item.
    pub first_item: u32,
    /// Items of the whole batch.
    pub item_count: u32,
    /// Bytes of its records.
    pub bytes: ByteRange,
    /// Failures that are final.
    pub failed: Vec<FailedItems>,
    /// Offsets of items to send again.
    pub undecided: RangeSet,
    /// Retriers that ordered them.
    pub retriers: Vec<u32>,
    /// How long the handler ran.
    pub handler_time: Duration,
    /// Bytes of outcomes that the result writer holds for it.
    pub buffered_bytes: u64,
}

/// What a flush stored.
#[derive(Debug, Clone, Default)]
pub struct StoredParts {
    /// The file with succeeded outputs.
    pub succeeded: Option<PartRef>,
    /// The file with final failures.
    pub failed: Option<PartRef>,
    /// Outputs for the report itself.
    pub inline_outputs: Vec<String>,
    /// Some were left out.
    pub inline_outputs_truncated: bool,
}

/// One thing to be done by the shell.
#[derive(Debug, Clone)]
pub enum SessionEffect {
    /// Send a message; dropped silently if the connection is gone.
    Send(ConnectionId, WorkerMessage),
    /// Close a connection.
    Disconnect(ConnectionId),
    /// Open a connection, not before a time.
    Connect {
        /// When at the earliest.
        not_before: Timestamp,
    },
    /// Remember a run's context; replaces an older one.
    OpenRun(Arc<RunContext>),
    /// Forget a run and its cached bytes.
    CloseRun(MapRunId),
    /// Read the head of a run's source.
    Probe(MapRunId),
    /// Rewrite a run's source; answer with `Staged`. One that is being rewritten goes on.
    Stage(MapRunId),
    /// Scan a shard.
    Scan(ScanOrder),
    /// A lease began: its bytes may be fetched.
    OpenLease(Arc<Grant>),
    /// Call the handler for a batch of an open lease; answer with `BatchFinished`.
    BeginBatch {
        /// The lease.
        lease: LeaseId,
        /// The batch.
        batch: BatchOrdinal,
    },
    /// Stop a begun batch's handler; `BatchFinished` follows all the same unless the lease is dropped.
    CancelBatch {
        /// The lease.
        lease: LeaseId,
        /// The batch.
        batch: BatchOrdinal,
    },
    /// Encode and store the outcomes of these batches; answer with `PartsStored` or `PartsFailed`.
    StoreParts {
        /// The lease.
        lease: LeaseId,
        /// The report that they belong to.
        number: ReportNumber,
        /// The batches.
        batches: RangeSet,
    },
    /// Forget these batches of a lease: what was read, what runs (cancelled at once), what was buffered.
    DropBatches {
        /// The lease.
        lease: LeaseId,
        /// The batches.
        batches: RangeSet,
    },
    /// Nothing is held any more under this lease.
    CloseLease(LeaseId),
    /// Drained: everything is returned or acknowledged, Goodbye is sent. The process may end.
    Finished,
    /// This process must not use its id: another one does.
    Refused,
}

/// What one step asks for, in order.
#[derive(Debug, Default)]
pub struct SessionEffects {
    list: Vec<SessionEffect>,
}

impl SessionEffects {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, effect: SessionEffect) {
        self.list.push(effect);
    }

    /// Takes all, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, SessionEffect> {
        self.list.drain(..)
    }
}
