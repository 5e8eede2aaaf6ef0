//! The lease protocol as plain data: what travels on a worker's stream, in both directions.
//!
//! A lease is work, a slot is concurrency. A [`Grant`] names batches of one shard and may carry
//! slots; the worker never runs more handler calls of a run, over all its leases, than it holds
//! slots. Reports are frozen at first sending and judged by their lease alone, over any stream;
//! `Returned`, `Shrink`, `Begun` and `Goodbye` count only in the session that they were sent in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warifu_dataset::{ByteRange, Checkpoint, EntryState, Header, Probe, ShardScan};

use crate::spec::MapRunSpec;
use crate::template::{ItemSource, TemplateFacts};
use crate::{
    AccessRules, BatchOrdinal, CallFailure, CompensationCall, HandlerName, Incarnation, LeaderTerm, LeaseId,
    MapRunId, PartRef, RangeSet, ReportNumber, SessionId, ShardNumber, SourcePlace, WallTime, WorkerHandler,
    WorkerId,
};

/// What a worker says.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerMessage {
    /// First on every stream.
    Hello(Hello),
    /// Sent every two seconds; keeps the session.
    Heartbeat {
        /// Comes back in the answer, so that the worker knows which sending was heard.
        nonce: u64,
    },
    /// These batches are about to be handed to the handler. Only blame after a loss rests on it.
    Begun {
        /// Their lease.
        lease: LeaseId,
        /// Which.
        batches: RangeSet,
    },
    /// Outcomes of attempts; their parts are uploaded.
    Report(Report),
    /// Batches not begun, or cleanly stopped: they are pending again.
    Returned {
        /// Their lease.
        lease: LeaseId,
        /// Which.
        batches: RangeSet,
    },
    /// Slots given back.
    Shrink {
        /// The run that they were given for.
        map_run: MapRunId,
        /// How many.
        slots: u32,
    },
    /// The head of a source was read.
    Probed {
        /// The run that asked.
        map_run: MapRunId,
        /// The header, or why there is none.
        probe: Result<Probe, RunFault>,
    },
    /// A shard was scanned.
    Scanned {
        /// The run that asked.
        map_run: MapRunId,
        /// The shard.
        shard: ShardNumber,
        /// Facts about it, or why it cannot be read.
        scan: Result<ShardScan, RunFault>,
    },
    /// A source was rewritten as one object that can be cut.
    Staged {
        /// The run that asked.
        map_run: MapRunId,
        /// The object, or why there is none.
        staged: Result<StagedSource, RunFault>,
    },
    /// Something that ends the run: results cannot be written, the source changed.
    Fault {
        /// The run.
        map_run: MapRunId,
        /// The redrive that it was seen in.
        redrive: u32,
        /// What happened.
        fault: RunFault,
    },
    /// The worker was told to stop: nothing new, please.
    Draining,
    /// Everything is returned or acknowledged; the worker leaves.
    Goodbye,
}

/// An error that ends a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFault {
    /// A failure name.
    pub error: String,
    /// What, where, and what to do.
    pub cause: String,
}

/// A source that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSource {
    /// The object that holds it now.
    pub source: SourcePin,
    /// What the head of that says.
    pub probe: Probe,
}

/// Who a worker is, and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The worker.
    pub worker: WorkerId,
    /// Its process.
    pub incarnation: Incarnation,
    /// Rises with each Hello of the incarnation; the higher one is newer, whatever arrives first.
    pub hello_number: u64,
    /// An older process of this worker that is certainly dead: this one holds its lock.
    pub dead_incarnation: Option<Incarnation>,
    /// Its version.
    pub version: String,
    /// Batches that it can run at once, over all runs.
    pub slots: u32,
    /// Its handlers.
    pub handlers: Vec<WorkerHandler>,
    /// Bytes of scanned shards that it keeps.
    pub cache_bytes: u64,
    /// Versions of batch cutting that it knows.
    pub cut_versions: Vec<u32>,
    /// It is draining already.
    pub draining: bool,
    /// Slots held, by run.
    pub held_slots: BTreeMap<MapRunId, u32>,
    /// Leases held.
    pub leases: Vec<HeldLease>,
    /// It knows leases that are a run's compensation.
    pub compensates: bool,
}

/// One lease as its holder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// The lease.
    pub lease: LeaseId,
    /// Its run.
    pub map_run: MapRunId,
    /// The redrive that it belongs to.
    pub redrive: u32,
    /// Its shard.
    pub shard: ShardNumber,
    /// Its batches that no acknowledged report covers.
    pub batches: Vec<HeldBatch>,
}

/// One batch of a held lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBatch {
    /// Which.
    pub batch: BatchOrdinal,
    /// The attempt that the lease is for, from 1.
    pub attempt: u32,
    /// The round that the lease is for.
    pub round: u32,
    /// How far it is.
    pub progress: HeldProgress,
}

/// How far a held batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeldProgress {
    /// Its handler was not called.
    NotBegun,
    /// Its handler runs.
    Running,
    /// Decided, and not acknowledged.
    Done,
}

/// What a coordinator says.
#[derive(Debug, Clone, PartialEq)]
pub enum CoordinatorMessage {
    /// Answers Hello.
    Welcome(Welcome),
    /// Answers a heartbeat: everything sent up to then was heard.
    HeartbeatAck {
        /// The heartbeat's.
        nonce: u64,
    },
    /// What a worker must know of a run, once a session, before anything else about that run.
    OpenRun(Arc<RunContext>),
    /// The run is over or was changed by a redrive: caches may go.
    CloseRun {
        /// The run.
        map_run: MapRunId,
    },
    /// Read the head of the source.
    Probe {
        /// The run.
        map_run: MapRunId,
    },
    /// Rewrite the source as one object that can be cut, under a key that nobody else uses.
    Stage {
        /// The run.
        map_run: MapRunId,
    },
    /// Scan a shard.
    Scan(ScanOrder),
    /// Work, perhaps with slots.
    Grant(Grant),
    /// Slots for leases already held.
    Slots {
        /// The run.
        map_run: MapRunId,
        /// How many more.
        slots: u32,
    },
    /// A request to give batches back.
    Revoke {
        /// The lease.
        lease: LeaseId,
        /// This batch and later ones.
        from: BatchOrdinal,
        /// Cancel handlers too: the run is stopping, begun batches end as aborted.
        cancel: bool,
    },
    /// The answer to a report.
    ReportAnswer {
        /// The lease.
        lease: LeaseId,
        /// The report.
        report: ReportNumber,
        /// What became of it.
        verdict: ReportVerdict,
    },
    /// Take nothing new, finish or return what you hold, then say Goodbye.
    Drain {
        /// Time until what still runs is to be cancelled and returned.
        within: Duration,
    },
    /// Take work again.
    Uncordon,
    /// A newer Hello of this incarnation was heard, or this process must not use its id.
    Superseded,
}

/// A new session, and what of the old one lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// The Hello that it answers.
    pub hello_number: u64,
    /// How long the session lives after the last message that was answered.
    pub ttl: Duration,
    /// Batches that the worker goes on with, by lease. Whatever is not named here is dropped.
    pub kept: Vec<(LeaseId, RangeSet)>,
    /// True: held slots are as the Hello said. False: none is held.
    pub slots_kept: bool,
}

/// What a worker must know of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunContext {
    /// The run.
    pub map_run: MapRunId,
    /// The current redrive; 0 at first.
    pub redrive: u32,
    /// The specification, defaults filled in.
    pub spec: MapRunSpec,
    /// The pinned source.
    pub source: SourcePin,
    /// The header, once it is probed.
    pub header: Option<Header>,
    /// Version of batch cutting.
    pub cut_version: u32,
    /// The most bytes that a record may take.
    pub max_record_bytes: u64,
    /// The most bytes that the header record may take.
    pub max_header_bytes: u64,
    /// The most columns that a header may name.
    pub max_columns: u32,
    /// Where result parts go: bucket, and prefix that ends in `/`.
    pub results: Option<(String, String)>,
    /// Where failures of a run without results go: bucket, and prefix that ends in `/`.
    pub failures: (String, String),
    /// Bytes of outputs that the coordinator wants to see inline (runs without results).
    pub inline_output_bytes: u64,
    /// When the run was created.
    pub create_time: WallTime,
    /// When it, or its latest redrive, left `Queued`.
    pub start_time: WallTime,
    /// Where staged objects go: bucket, and prefix that ends in `/`.
    pub staging: (String, String),
    /// The most bytes that a staged object may take.
    pub max_staged_bytes: u64,
    /// Where templates say that items come from; a rewritten source stands for the first one.
    pub item_source: String,
    /// What manifests and listings of the source may name.
    pub allowed: AccessRules,
}

impl RunContext {
    /// What templates can say of the run.
    pub fn template_facts(&self) -> TemplateFacts {
        TemplateFacts {
            map_run: self.map_run.clone(),
            start_time: self.create_time,
            entered_time: self.start_time,
            redrive_count: self.redrive,
            source: ItemSource::pinned(&self.spec, self.cut_version, self.item_source.clone()),
        }
    }
}

/// A source object as it was when the run was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePin {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its version, in a versioned bucket.
    pub version_id: Option<String>,
    /// Its ETag (of a local file: device, inode, size and time of change).
    pub etag: String,
    /// Its bytes.
    pub size_bytes: u64,
}

/// An order to scan one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOrder {
    /// The run.
    pub map_run: MapRunId,
    /// The shard.
    pub shard: ShardNumber,
    /// Its bytes.
    pub range: ByteRange,
    /// True for the first shard: its entry is a record's start.
    pub begins_data: bool,
    /// True if the object ends with it.
    pub ends_object: bool,
    /// The entry, where composition knows it.
    pub entry: Option<EntryState>,
    /// Only so many items count (`maxItems` ends in this shard).
    pub item_limit: Option<u64>,
}

/// A lease: batches of one shard, and slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// The session that it is granted in.
    pub session: SessionId,
    /// The run.
    pub map_run: MapRunId,
    /// The redrive that it belongs to.
    pub redrive: u32,
    /// The shard and where to begin reading it.
    pub shard: ShardSpan,
    /// The batches, ascending.
    pub batches: Vec<GrantedBatch>,
    /// Slots that come with it; 0 runs in slots held already.
    pub slots: u32,
    /// The lease is the run's compensation: of one batch, which is not read but made from this, in the place of a shard
    /// [`ShardNumber::COMPENSATION`]. Everything else is as with any lease.
    pub compensation: Option<Box<CompensationCall>>,
}

/// The part of a shard that a lease covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSpan {
    /// The shard.
    pub shard: ShardNumber,
    /// Its bytes.
    pub range: ByteRange,
    /// True if the object ends with it.
    pub ends_object: bool,
    /// Items that begin in it.
    pub items: u32,
    /// Global index of its first item.
    pub first_item: u64,
    /// Global number of its first batch.
    pub first_batch: u64,
    /// Line breaks before it.
    pub first_line: u64,
    /// The checkpoint at or before the first batch.
    pub start: Checkpoint,
    /// A byte at or after the end of the last batch, if a checkpoint tells; else the shard's end.
    pub read_until: u64,
}

/// One batch under a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedBatch {
    /// Which.
    pub batch: BatchOrdinal,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Grows when an answered attempt leaves items to send again.
    pub round: u32,
    /// Retries ordered so far, by retrier of the policy.
    pub retries_used: Vec<u32>,
    /// Offsets within the batch of the items to send; absent: all.
    pub items: Option<RangeSet>,
    /// The batch lost its worker too often: the handler is not called, its items fail with `Warifu.WorkerLost`.
    pub give_up: bool,
}

/// Outcomes of one lease, frozen at first sending.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The lease.
    pub lease: LeaseId,
    /// From 1 within the lease; a repeat is answered, not counted again.
    pub number: ReportNumber,
    /// The run.
    pub map_run: MapRunId,
    /// The redrive that it belongs to.
    pub redrive: u32,
    /// The shard.
    pub shard: ShardNumber,
    /// One entry for each batch, ascending.
    pub entries: Vec<BatchReport>,
    /// The file with the succeeded outputs, if there are any.
    pub succeeded_part: Option<PartRef>,
    /// The file with final failures, if there are any.
    pub failed_part: Option<PartRef>,
    /// Outputs inline, as JSON lines (runs without results), within what the run context asked for.
    pub inline_outputs: Vec<String>,
    /// True if outputs were left out of `inline_outputs`.
    pub inline_outputs_truncated: bool,
}

/// The outcome of one attempt at one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchReport {
    /// Which.
    pub batch: BatchOrdinal,
    /// The attempt that was granted.
    pub attempt: u32,
    /// The round that was granted.
    pub round: u32,
    /// Index of its first item within the shard.
    pub first_item: u32,
    /// Items of the whole batch, sent in this attempt or not.
    pub item_count: u32,
    /// The bytes of its records.
    pub bytes: ByteRange,
    /// How the handler call ended.
    pub call: CallOutcome,
    /// Offsets of items that failed for good in this attempt, with the place of their failure in `failures`.
    pub failed: Vec<FailedItems>,
    /// Offsets of items to send again.
    pub undecided: RangeSet,
    /// Retriers of the policy that ordered them.
    pub retriers: Vec<u32>,
    /// How long the handler ran.
    pub handler_time: Duration,
}

/// How a handler call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CallOutcome {
    /// It answered; single items may have failed.
    Answered,
    /// It failed as a whole.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was stopped with its run.
    Aborted,
}

/// Items of a batch that failed for good for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedItems {
    /// Their offsets within the batch.
    pub items: RangeSet,
    /// Why.
    pub failure: CallFailure,
    /// Places in the source, for as many of them (from the first) as the report has room for.
    pub places: Vec<SourcePlace>,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportVerdict {
    /// Counted, durably, by this report.
    Accepted,
    /// All its batches are decided already, by another lease or by this report when it came first: nothing is left to do.
    Superseded,
    /// Nothing of it was counted. The named batches are not the worker's any more; the rest goes into a new report.
    Refused {
        /// Batches that are not this lease's; all of the report's if the lease or redrive is over.
        batches: RangeSet,
    },
}

/// Whether a handler is offered, as placement asks.
pub fn offers(handlers: &[WorkerHandler], name: &HandlerName) -> bool {
    handlers.iter().any(|handler| handler.name == *name && handler.unavailable.is_none())
}

/// The leader that a worker should talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderAddress {
    /// Its term.
    pub term: LeaderTerm,
    /// Its endpoint.
    pub endpoint: String,
}
