//! Everything that the scheduler can ask for, in the imperative.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_dataset::Probe;
use warifu_model::protocol::{CoordinatorMessage, SourcePin};
use warifu_model::spec::MapRunSpec;
use warifu_model::template::ItemSource;
use warifu_model::{
    FailureCounts, FailureKind, ItemCounts, LeaderTerm, MapRunId, MapRunState, MapRunView, RunError,
    WallTime, WorkerView,
};

use crate::alert::ErrorRateAlert;
use crate::record::Record;
use crate::{CommitId, RequestId, StreamId};

/// One thing to be done by the shell.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send a message on a worker's stream; dropped silently if the stream is gone.
    Send {
        /// The stream.
        stream: StreamId,
        /// The message.
        message: CoordinatorMessage,
    },
    /// Close a stream after what was sent on it.
    CloseStream {
        /// The stream.
        stream: StreamId,
    },
    /// Write records in one guarded transaction, then answer with `CommitFinished`.
    Commit(Commit),
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Result<Reply, Rejection>,
    },
    /// Read all shard records of a run, then answer with `ShardsLoaded`.
    LoadShards {
        /// The run.
        map_run: MapRunId,
    },
    /// Write the manifest and what only the coordinator can write, then answer with `ManifestWritten`.
    WriteManifest(Box<ManifestOrder>),
    /// Delete what was staged for a run, and give up unfinished uploads, then answer with `StagedCleaned`. What cannot be
    /// deleted is left and told to operators.
    CleanStaged {
        /// The run.
        map_run: MapRunId,
        /// The bucket.
        bucket: String,
        /// What the keys begin with.
        prefix: String,
        /// The one object that stays.
        keep: Option<String>,
    },
    /// Tell operators that too many items of a run fail. Told once: the run's warning, written before, remembers it.
    RaiseAlert(Box<ErrorRateAlert>),
    /// Stop leading: drop all streams and the scheduler, then recover from the store.
    StepDown {
        /// Why, for the log.
        reason: &'static str,
    },
}

/// One guarded transaction.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Rises with each transaction of a term.
    pub id: CommitId,
    /// The guard: nothing is written if another term leads.
    pub term: LeaderTerm,
    /// What to write, at most `max_commit_records`.
    pub records: Vec<Record>,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The run after the request took effect, durably.
    MapRun(Box<MapRunView>),
    /// The run was deleted.
    Deleted,
    /// The worker after the request took effect.
    Worker(Box<WorkerView>),
}

/// Why a request was not done. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such run.
    #[error("there is no map run {0}")]
    NoSuchMapRun(MapRunId),
    /// The id belongs, or belonged, to a run with another specification.
    #[error("map run {0} exists already with another specification")]
    ExistsAlready(MapRunId),
    /// The id belonged to a run that was deleted.
    #[error("map run {0} existed and was deleted; ids are never used again")]
    IdUsedBefore(MapRunId),
    /// The run's state does not allow it.
    #[error("map run {map_run} is {state:?}: {rule}")]
    WrongState {
        /// The run.
        map_run: MapRunId,
        /// Its state.
        state: MapRunState,
        /// What would be needed.
        rule: &'static str,
    },
    /// No live worker offers the handler, and the request insists on one.
    #[error("no live worker offers the handler {0}")]
    HandlerNotAvailable(String),
    /// No such worker.
    #[error("there is no worker {0}")]
    NoSuchWorker(String),
    /// Too many runs wait already.
    #[error("{0} map runs are active or queued; wait until some have ended")]
    TooManyMapRuns(usize),
    /// This process does not lead (any more).
    #[error("this coordinator does not lead")]
    NotLeader,
}

/// What the manifest of a run, or of one redrive of it, has to say.
#[derive(Debug, Clone)]
pub struct ManifestOrder {
    /// The run.
    pub map_run: MapRunId,
    /// The redrive; from 1 on, the manifest that is there is kept under `Redrive-k/` first.
    pub redrive: u32,
    /// Bucket of the results.
    pub bucket: String,
    /// Prefix of the results, with the run's id and a `/` at the end.
    pub prefix: String,
    /// When the run was created.
    pub create_time: WallTime,
    /// How the run ends.
    pub state: MapRunState,
    /// Why, if it failed or was aborted.
    pub error: Option<RunError>,
    /// The first so many entries of the run's log of parts name the files that count: those with succeeded outputs of
    /// all redrives, those with final failures of this one. Later entries are another leader's.
    pub part_entries: u64,
    /// Items that never started.
    pub pending: Vec<PendingItems>,
    /// Items whose last attempt was decided neither way before the run ended.
    pub aborted: Vec<AbortedItems>,
    /// Totals for the summary.
    pub summary: Summary,
    /// What the run does: how its results are to look, and how its items are made.
    pub spec: Arc<MapRunSpec>,
    /// What its templates take for the object that an item comes from.
    pub item_source: ItemSource,
    /// The pinned source.
    pub source: SourcePin,
    /// The head of the source; absent if it was never read.
    pub probe: Option<Probe>,
    /// The most bytes that a record may take.
    pub max_record_bytes: u64,
    /// `max_items` was not reached and shards were never scanned: bytes from here on hold unknown items.
    pub unscanned_from: Option<(u64, u64)>,
}

/// A run of consecutive items that never started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingItems {
    /// Global index of the first.
    pub first_index: u64,
    /// Global index of the last.
    pub last_index: u64,
    /// Global number of the batch in which these bytes begin.
    pub first_batch: u64,
    /// First byte of the first record.
    pub byte_offset: u64,
    /// Bytes up to the end of the last record.
    pub byte_length: u64,
    /// Items that begin in these bytes before the first one, if they are the bytes of a batch of which only some items are
    /// pending.
    pub skipped: u32,
    /// Where the shard ends that holds them: batches do not cross it.
    pub shard_end: u64,
}

/// Items of one batch that had started when the run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortedItems {
    /// Global number of the batch.
    pub batch_number: u64,
    /// Global indexes.
    pub indexes: Vec<u64>,
    /// Handler calls so far.
    pub attempts: u32,
    /// First byte of the batch.
    pub byte_offset: u64,
    /// Bytes of the batch.
    pub byte_length: u64,
    /// Global index of the batch's first item.
    pub first_index: u64,
    /// Items of the whole batch.
    pub item_count: u32,
    /// Where the shard ends that holds it.
    pub shard_end: u64,
}

/// Totals of a run.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Items by state.
    pub item_counts: ItemCounts,
    /// Batches by state.
    pub batch_counts: ItemCounts,
    /// Items that failed or timed out, by whose fault it is.
    pub failure_counts: FailureCounts,
    /// The same by kind and name.
    pub errors: BTreeMap<(FailureKind, String), u64>,
    /// When the run, or its latest redrive, started.
    pub start_time: WallTime,
    /// When it stopped.
    pub stop_time: WallTime,
}

/// What one step asks for, in order.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Takes all, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// True if nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn send(&mut self, stream: StreamId, message: CoordinatorMessage) {
        self.push(Effect::Send { stream, message });
    }

    pub(crate) fn reply(&mut self, request: RequestId, reply: Result<Reply, Rejection>) {
        self.push(Effect::Reply { request, reply });
    }
}
