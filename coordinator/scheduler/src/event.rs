//! Everything that can happen to the scheduler, in the past tense.

use warifu_model::protocol::{RunFault, SourcePin, WorkerMessage};
use warifu_model::spec::{LimitsUpdate, MapRunSpec};
use warifu_model::{MapRunId, ResultLocation, ShardNumber, WorkerId};

use crate::record::ShardRecord;
use crate::{CommitId, RequestId, StreamId};

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A user asked for a map run; its source is pinned.
    CreateRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// What was asked for.
        create: Box<CreateMapRun>,
    },
    /// A user asked to stop a run.
    StopRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The run.
        map_run: MapRunId,
        /// What the user says of it; may be empty.
        cause: String,
    },
    /// A user changed limits.
    UpdateRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The run.
        map_run: MapRunId,
        /// The changes.
        update: LimitsUpdate,
    },
    /// A user asked to run again what did not succeed.
    RedriveRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The run.
        map_run: MapRunId,
        /// Limits to change with it.
        update: LimitsUpdate,
    },
    /// A user asked to forget a terminal run.
    DeleteRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The run.
        map_run: MapRunId,
    },
    /// A user asked to drain a worker.
    DrainRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The worker.
        worker: WorkerId,
    },
    /// A user gave a drained worker back to service.
    UncordonRequested {
        /// Who waits for the answer.
        request: RequestId,
        /// The worker.
        worker: WorkerId,
    },
    /// A worker said something on its stream. The first message of a stream must be `Hello`.
    MessageReceived {
        /// The stream.
        stream: StreamId,
        /// What it said.
        message: WorkerMessage,
    },
    /// A stream ended, cleanly or not: the worker's fate is unknown.
    StreamClosed {
        /// The stream.
        stream: StreamId,
    },
    /// The transaction asked for with [`crate::Effect::Commit`] ended. One is in flight at most.
    CommitFinished {
        /// Which.
        commit: CommitId,
        /// How.
        outcome: CommitOutcome,
    },
    /// The records asked for with [`crate::Effect::LoadShards`].
    ShardsLoaded {
        /// The run.
        map_run: MapRunId,
        /// All its shard records.
        shards: Vec<(ShardNumber, ShardRecord)>,
    },
    /// The manifest asked for with [`crate::Effect::WriteManifest`] is there, or cannot be written.
    ManifestWritten {
        /// The run.
        map_run: MapRunId,
        /// The redrive that it was asked for.
        redrive: u32,
        /// Where it is.
        result: Result<ResultLocation, RunFault>,
    },
    /// What was staged for a run is deleted, as far as it can be.
    StagedCleaned {
        /// The run.
        map_run: MapRunId,
    },
    /// The time asked for with `next_deadline` has come.
    DeadlineReached,
}

/// A request for a new map run.
#[derive(Debug, Clone)]
pub struct CreateMapRun {
    /// Its id; the shell generates one where the user gave none.
    pub id: MapRunId,
    /// Random.
    pub uid: u128,
    /// What it does, defaults filled in.
    pub spec: MapRunSpec,
    /// The specification as submitted, byte for byte comparable: the same id with the same one is a repeat.
    pub submitted: Vec<u8>,
    /// The source as it is now.
    pub source: SourcePin,
    /// Bytes of a shard.
    pub shard_bytes: u64,
    /// Refuse unless a live worker offers the handler.
    pub require_handler: bool,
}

/// How a transaction on the state store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable.
    Done,
    /// Nothing was written: another process leads.
    Deposed,
    /// Nothing was written; the same transaction may be sent again.
    Refused,
    /// It may have been written, and reading back did not tell.
    Unknown,
}
