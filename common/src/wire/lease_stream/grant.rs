//! Leases.

use warifu_model::protocol::{Grant, GrantedBatch, ShardSpan};
use warifu_model::{
    BatchOrdinal, CompensationCall, ItemCounts, RangeSet, ResultLocation, RunError, ShardNumber,
};

use super::InvalidMessage;
use super::identity::{bytes, lease, map_run, required};
use crate::wire::spec::compensation_trigger;
use crate::wire::v1;

impl From<&Grant> for v1::Grant {
    fn from(grant: &Grant) -> Self {
        v1::Grant {
            lease_id: Some(grant.lease.into()),
            session_id: Some(grant.session.into()),
            map_run_id: grant.map_run.to_string(),
            redrive: grant.redrive,
            shard: Some((&grant.shard).into()),
            batches: grant.batches.iter().map(Into::into).collect(),
            slots: grant.slots,
            compensation: grant.compensation.as_deref().map(Into::into),
        }
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = InvalidMessage;

    fn try_from(grant: v1::Grant) -> Result<Self, InvalidMessage> {
        Ok(Grant {
            lease: lease(grant.lease_id)?,
            session: required(grant.session_id, "session_id")?.into(),
            map_run: map_run(&grant.map_run_id)?,
            redrive: grant.redrive,
            shard: required(grant.shard, "shard")?.try_into()?,
            batches: grant.batches.into_iter().map(GrantedBatch::try_from).collect::<Result<_, _>>()?,
            slots: grant.slots,
            compensation: grant.compensation.map(read_compensation).transpose()?.map(Box::new),
        })
    }
}

impl From<&CompensationCall> for v1::CompensationCall {
    fn from(call: &CompensationCall) -> Self {
        v1::CompensationCall {
            trigger: v1::compensation::Trigger::from(call.trigger).into(),
            error: Some((&call.error).into()),
            item_counts: Some((&call.item_counts).into()),
            result_location: call.result_location.as_ref().map(|location| v1::ResultLocation {
                bucket: location.bucket.clone(),
                manifest_key: location.manifest_key.clone(),
            }),
        }
    }
}

fn read_compensation(call: v1::CompensationCall) -> Result<CompensationCall, InvalidMessage> {
    let trigger = compensation_trigger(call.trigger());
    let v1::RunError { error, cause } = required(call.error, "error")?;
    let counts = required(call.item_counts, "item_counts")?;
    Ok(CompensationCall {
        trigger: required(trigger, "trigger")?,
        error: RunError { error, cause },
        item_counts: ItemCounts {
            total: counts.total,
            pending: counts.pending,
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            aborted: counts.aborted,
            pending_redrive: counts.pending_redrive,
            results_written: counts.results_written,
        },
        result_location: call
            .result_location
            .map(|location| ResultLocation { bucket: location.bucket, manifest_key: location.manifest_key }),
    })
}

impl From<&ShardSpan> for v1::ShardSpan {
    fn from(span: &ShardSpan) -> Self {
        v1::ShardSpan {
            shard: span.shard.0,
            range: Some(span.range.into()),
            ends_object: span.ends_object,
            item_count: span.items,
            first_item: span.first_item,
            first_batch: span.first_batch,
            first_line: span.first_line,
            start: Some(span.start.into()),
            read_until: span.read_until,
        }
    }
}

impl TryFrom<v1::ShardSpan> for ShardSpan {
    type Error = InvalidMessage;

    fn try_from(span: v1::ShardSpan) -> Result<Self, InvalidMessage> {
        Ok(ShardSpan {
            shard: ShardNumber(span.shard),
            range: bytes(span.range, "range")?,
            ends_object: span.ends_object,
            items: span.item_count,
            first_item: span.first_item,
            first_batch: span.first_batch,
            first_line: span.first_line,
            start: required(span.start, "start")?.into(),
            read_until: span.read_until,
        })
    }
}

impl From<&GrantedBatch> for v1::GrantedBatch {
    fn from(batch: &GrantedBatch) -> Self {
        v1::GrantedBatch {
            batch: batch.batch.0,
            attempt: batch.attempt,
            round: batch.round,
            retries_used: batch.retries_used.clone(),
            items: batch.items.as_ref().map(Into::into),
            give_up: batch.give_up,
        }
    }
}

impl TryFrom<v1::GrantedBatch> for GrantedBatch {
    type Error = InvalidMessage;

    fn try_from(batch: v1::GrantedBatch) -> Result<Self, InvalidMessage> {
        Ok(GrantedBatch {
            batch: BatchOrdinal(batch.batch),
            attempt: batch.attempt,
            round: batch.round,
            retries_used: batch.retries_used,
            items: batch.items.map(RangeSet::try_from).transpose()?,
            give_up: batch.give_up,
        })
    }
}
