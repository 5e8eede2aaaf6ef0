//! Who a worker is, and what it holds.

use std::collections::BTreeMap;

use warifu_model::protocol::{HeldBatch, HeldLease, HeldProgress, Hello};
use warifu_model::{BatchOrdinal, HandlerName, ShardNumber, WorkerHandler, WorkerId};

use super::InvalidMessage;
use super::identity::{incarnation, lease, map_run, read_incarnation};
use crate::wire::v1::{self, held_batch::Progress};

impl From<&Hello> for v1::Hello {
    fn from(hello: &Hello) -> Self {
        v1::Hello {
            worker_id: hello.worker.to_string(),
            incarnation: incarnation(hello.incarnation),
            hello_number: hello.hello_number,
            dead_incarnation: hello.dead_incarnation.map(incarnation).unwrap_or_default(),
            version: hello.version.clone(),
            slots: hello.slots,
            handlers: hello.handlers.iter().map(Into::into).collect(),
            cache_size_bytes: hello.cache_bytes,
            cut_versions: hello.cut_versions.clone(),
            draining: hello.draining,
            held_slots: hello.held_slots.iter().map(|(run, slots)| (run.to_string(), *slots)).collect(),
            leases: hello.leases.iter().map(Into::into).collect(),
            compensates: hello.compensates,
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = InvalidMessage;

    fn try_from(hello: v1::Hello) -> Result<Self, InvalidMessage> {
        let dead = &hello.dead_incarnation;
        let held_slots = hello.held_slots.iter().map(|(run, slots)| Ok((map_run(run)?, *slots)));
        Ok(Hello {
            worker: WorkerId::new(&hello.worker_id)?,
            incarnation: read_incarnation(&hello.incarnation)?,
            hello_number: hello.hello_number,
            dead_incarnation: (!dead.is_empty()).then(|| read_incarnation(dead)).transpose()?,
            held_slots: held_slots.collect::<Result<BTreeMap<_, _>, InvalidMessage>>()?,
            handlers: hello.handlers.into_iter().map(read_handler).collect::<Result<_, _>>()?,
            leases: hello.leases.into_iter().map(HeldLease::try_from).collect::<Result<_, _>>()?,
            version: hello.version,
            slots: hello.slots,
            cache_bytes: hello.cache_size_bytes,
            cut_versions: hello.cut_versions,
            draining: hello.draining,
            compensates: hello.compensates,
        })
    }
}

fn read_handler(handler: v1::WorkerHandler) -> Result<WorkerHandler, InvalidMessage> {
    let reason = handler.unavailable_reason;
    Ok(WorkerHandler {
        name: HandlerName::new(&handler.name)?,
        unavailable: (!reason.is_empty()).then_some(reason),
    })
}

impl From<&HeldLease> for v1::HeldLease {
    fn from(held: &HeldLease) -> Self {
        v1::HeldLease {
            lease_id: Some(held.lease.into()),
            map_run_id: held.map_run.to_string(),
            redrive: held.redrive,
            shard: held.shard.0,
            batches: held.batches.iter().map(held_batch).collect(),
        }
    }
}

impl TryFrom<v1::HeldLease> for HeldLease {
    type Error = InvalidMessage;

    fn try_from(held: v1::HeldLease) -> Result<Self, InvalidMessage> {
        Ok(HeldLease {
            lease: lease(held.lease_id)?,
            map_run: map_run(&held.map_run_id)?,
            redrive: held.redrive,
            shard: ShardNumber(held.shard),
            batches: held.batches.into_iter().map(read_held_batch).collect::<Result<_, _>>()?,
        })
    }
}

fn held_batch(held: &HeldBatch) -> v1::HeldBatch {
    let progress = match held.progress {
        HeldProgress::NotBegun => Progress::NotBegun,
        HeldProgress::Running => Progress::Running,
        HeldProgress::Done => Progress::Done,
    };
    v1::HeldBatch { batch: held.batch.0, attempt: held.attempt, round: held.round, progress: progress.into() }
}

fn read_held_batch(held: v1::HeldBatch) -> Result<HeldBatch, InvalidMessage> {
    let progress = match held.progress() {
        Progress::Unspecified => return Err(InvalidMessage::new("progress", "is not known")),
        Progress::NotBegun => HeldProgress::NotBegun,
        Progress::Running => HeldProgress::Running,
        Progress::Done => HeldProgress::Done,
    };
    Ok(HeldBatch { batch: BatchOrdinal(held.batch), attempt: held.attempt, round: held.round, progress })
}
