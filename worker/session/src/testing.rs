//! What the tests of this crate share: a session, and what it is given.

use std::time::Duration;

use warifu_dataset::{ByteRange, Checkpoint};
use warifu_model::protocol::{CallOutcome, CoordinatorMessage, Grant, GrantedBatch, ShardSpan, Welcome};
use warifu_model::{
    BatchOrdinal, Incarnation, LeaderTerm, LeaseEpoch, LeaseId, MapRunId, RangeSet, SessionId, ShardNumber,
    Timestamp, WorkerId,
};

use crate::event::{ConnectionId, FinishedBatch, SessionEffects, SessionEvent};
use crate::state::{SessionSettings, SessionState, WorkerIdentity};

pub(crate) const LEASE: LeaseId = LeaseId { term: LeaderTerm(1), epoch: LeaseEpoch(1) };
pub(crate) const SESSION: SessionId = SessionId { term: LeaderTerm(1), number: 1 };
/// When the stories begin.
pub(crate) const START: Timestamp = Timestamp(1_000_000);

/// The stream that a session begins with.
pub(crate) const FIRST: ConnectionId = ConnectionId(1);

/// A session that has not spoken yet.
pub(crate) fn new_session() -> SessionState {
    let identity = WorkerIdentity {
        worker: WorkerId::new("w").unwrap(),
        incarnation: Incarnation(1),
        dead_incarnation: None,
        version: String::new(),
        slots: 1,
        handlers: Vec::new(),
        cache_bytes: 0,
    };
    SessionState::new(identity, SessionSettings::default(), 1)
}

/// A session that was welcomed at [`START`].
pub(crate) fn live() -> SessionState {
    let mut state = new_session();
    let events = [
        SessionEvent::DeadlineReached,
        SessionEvent::Connected(FIRST),
        SessionEvent::Received(FIRST, welcome(1, Vec::new())),
    ];
    for event in events {
        state.step(START, event, &mut SessionEffects::new());
    }
    state
}

pub(crate) fn welcome(hello_number: u64, kept: Vec<(LeaseId, RangeSet)>) -> CoordinatorMessage {
    let ttl = Duration::from_secs(20);
    CoordinatorMessage::Welcome(Welcome { session: SESSION, hello_number, ttl, kept, slots_kept: true })
}

/// A lease of the first `batches` of a shard, each of one item and one byte, comes in.
pub(crate) fn granted(batches: u32, slots: u32) -> SessionEvent {
    SessionEvent::Received(FIRST, CoordinatorMessage::Grant(grant(batches, slots)))
}

/// What it says.
pub(crate) fn grant(batches: u32, slots: u32) -> Grant {
    let batch = |number| GrantedBatch {
        batch: BatchOrdinal(number),
        attempt: 1,
        round: 0,
        retries_used: Vec::new(),
        items: None,
        give_up: false,
    };
    Grant {
        lease: LEASE,
        session: SESSION,
        map_run: MapRunId::new("r").unwrap(),
        redrive: 0,
        shard: ShardSpan {
            shard: ShardNumber(0),
            range: ByteRange::new(0, batches.into()),
            ends_object: true,
            items: batches,
            first_item: 0,
            first_batch: 0,
            first_line: 0,
            start: Checkpoint { batch: 0, item: 0, offset: 0, newlines: 0 },
            read_until: batches.into(),
        },
        batches: (0..batches).map(batch).collect(),
        slots,
        compensation: None,
    }
}

/// A call that succeeded with one byte of outcomes.
pub(crate) fn finished(batch: u32) -> FinishedBatch {
    FinishedBatch {
        lease: LEASE,
        batch: BatchOrdinal(batch),
        call: CallOutcome::Answered,
        first_item: batch,
        item_count: 1,
        bytes: ByteRange::new(batch.into(), u64::from(batch) + 1),
        failed: Vec::new(),
        undecided: RangeSet::new(),
        retriers: Vec::new(),
        handler_time: Duration::ZERO,
        buffered_bytes: 1,
    }
}
