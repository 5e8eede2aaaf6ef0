//! Probes and scans: orders, and the facts that come back.

use warifu_dataset::{ByteRange, Checkpoint, EntryExit, EntryState, Header, Positions, Probe, ShardScan};
use warifu_model::protocol::{RunFault, ScanOrder, WorkerMessage};
use warifu_model::{MapRunId, ShardNumber};

use super::InvalidMessage;
use super::identity::{bytes, map_run, required};
use crate::wire::v1::{self, entry_state::Type as WireState};

/// The machine has six states, and each entry has one exit.
const MAX_EXITS: usize = 6;
/// A scan keeps at most 64; another version may keep somewhat more.
const MAX_CHECKPOINTS: usize = 256;

impl From<&ScanOrder> for v1::Scan {
    fn from(order: &ScanOrder) -> Self {
        v1::Scan {
            map_run_id: order.map_run.to_string(),
            shard: order.shard.0,
            range: Some(order.range.into()),
            begins_data: order.begins_data,
            ends_object: order.ends_object,
            entry: order.entry.map_or(WireState::Unspecified, state).into(),
            item_limit: order.item_limit,
        }
    }
}

impl TryFrom<v1::Scan> for ScanOrder {
    type Error = InvalidMessage;

    fn try_from(order: v1::Scan) -> Result<Self, InvalidMessage> {
        Ok(ScanOrder {
            map_run: map_run(&order.map_run_id)?,
            shard: ShardNumber(order.shard),
            entry: (order.entry != 0).then(|| read_state(order.entry)).transpose()?,
            range: bytes(order.range, "range")?,
            begins_data: order.begins_data,
            ends_object: order.ends_object,
            item_limit: order.item_limit,
        })
    }
}

pub(super) fn probed(map_run: &MapRunId, probe: &Result<Probe, RunFault>) -> v1::Probed {
    use v1::probed::Outcome;
    let outcome = match probe {
        Ok(probe) => Outcome::Head(probe.into()),
        Err(fault) => Outcome::Fault(fault.into()),
    };
    v1::Probed { map_run_id: map_run.to_string(), outcome: Some(outcome) }
}

pub(super) fn read_probed(probed: v1::Probed) -> Result<WorkerMessage, InvalidMessage> {
    use v1::probed::Outcome;
    let probe = match required(probed.outcome, "outcome")? {
        Outcome::Head(head) => Ok(head.try_into()?),
        Outcome::Fault(fault) => Err(fault.into()),
    };
    Ok(WorkerMessage::Probed { map_run: map_run(&probed.map_run_id)?, probe })
}

impl From<&Probe> for v1::SourceHead {
    fn from(probe: &Probe) -> Self {
        v1::SourceHead {
            header: Some((&probe.header).into()),
            data_start: probe.data_start,
            newlines_before_data: probe.newlines_before_data,
        }
    }
}

impl TryFrom<v1::SourceHead> for Probe {
    type Error = InvalidMessage;

    fn try_from(head: v1::SourceHead) -> Result<Self, InvalidMessage> {
        Ok(Probe {
            header: required(head.header, "header")?.try_into()?,
            data_start: head.data_start,
            newlines_before_data: head.newlines_before_data,
        })
    }
}

pub(super) fn scanned(
    map_run: &MapRunId,
    shard: ShardNumber,
    scan: &Result<ShardScan, RunFault>,
) -> v1::Scanned {
    use v1::scanned::Outcome;
    let outcome = match scan {
        Ok(scan) => Outcome::Scan(scan.into()),
        Err(fault) => Outcome::Fault(fault.into()),
    };
    v1::Scanned { map_run_id: map_run.to_string(), shard: shard.0, outcome: Some(outcome) }
}

pub(super) fn read_scanned(scanned: v1::Scanned) -> Result<WorkerMessage, InvalidMessage> {
    use v1::scanned::Outcome;
    let scan = match required(scanned.outcome, "outcome")? {
        Outcome::Scan(scan) => Ok(scan.try_into()?),
        Outcome::Fault(fault) => Err(fault.into()),
    };
    Ok(WorkerMessage::Scanned {
        map_run: map_run(&scanned.map_run_id)?,
        shard: ShardNumber(scanned.shard),
        scan,
    })
}

impl From<&Header> for v1::Header {
    fn from(header: &Header) -> Self {
        v1::Header { names: header.names.clone(), range: Some(header.range.into()) }
    }
}

impl TryFrom<v1::Header> for Header {
    type Error = InvalidMessage;

    fn try_from(header: v1::Header) -> Result<Self, InvalidMessage> {
        Ok(Header { names: header.names, range: bytes(header.range, "header.range")? })
    }
}

impl From<&ShardScan> for v1::ShardScan {
    fn from(scan: &ShardScan) -> Self {
        v1::ShardScan {
            range: Some(scan.range.into()),
            exits: scan.exits.iter().map(exit).collect(),
            positions: Some((&scan.positions).into()),
            newlines: scan.newlines,
        }
    }
}

impl TryFrom<v1::ShardScan> for ShardScan {
    type Error = InvalidMessage;

    fn try_from(scan: v1::ShardScan) -> Result<Self, InvalidMessage> {
        if scan.exits.len() > MAX_EXITS {
            return Err(InvalidMessage::new("exits", "are more than there are entry states"));
        }
        Ok(ShardScan {
            range: bytes(scan.range, "range")?,
            exits: scan.exits.iter().map(read_exit).collect::<Result<_, _>>()?,
            positions: required(scan.positions, "positions")?.try_into()?,
            newlines: scan.newlines,
        })
    }
}

fn exit(exit: &EntryExit) -> v1::EntryExit {
    v1::EntryExit {
        entry: state(exit.entry).into(),
        exit: state(exit.exit).into(),
        open_quote: exit.open_quote,
        open_record: exit.open_record,
        inherited_end: exit.inherited_end,
    }
}

fn read_exit(exit: &v1::EntryExit) -> Result<EntryExit, InvalidMessage> {
    Ok(EntryExit {
        entry: read_state(exit.entry)?,
        exit: read_state(exit.exit)?,
        open_quote: exit.open_quote,
        open_record: exit.open_record,
        inherited_end: exit.inherited_end,
    })
}

impl From<&Positions> for v1::Positions {
    fn from(positions: &Positions) -> Self {
        v1::Positions {
            entry: state(positions.entry).into(),
            item_count: positions.items,
            batch_count: positions.batches,
            checkpoints: positions.checkpoints.iter().map(|checkpoint| (*checkpoint).into()).collect(),
            open_record: positions.open_record,
            too_large: positions.too_large.map(Into::into),
            truncated: positions.truncated,
            max_items_per_batch: positions.max_items_per_batch,
        }
    }
}

impl TryFrom<v1::Positions> for Positions {
    type Error = InvalidMessage;

    fn try_from(positions: v1::Positions) -> Result<Self, InvalidMessage> {
        if positions.checkpoints.len() > MAX_CHECKPOINTS {
            return Err(InvalidMessage::new("checkpoints", "are too many"));
        }
        let too_large: Option<ByteRange> =
            positions.too_large.map(|range| bytes(Some(range), "too_large")).transpose()?;
        Ok(Positions {
            entry: read_state(positions.entry)?,
            items: positions.item_count,
            batches: positions.batch_count,
            checkpoints: positions.checkpoints.into_iter().map(Into::into).collect(),
            open_record: positions.open_record,
            too_large,
            truncated: positions.truncated,
            max_items_per_batch: positions.max_items_per_batch,
        })
    }
}

impl From<Checkpoint> for v1::Checkpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { batch, item, offset, newlines } = checkpoint;
        Self { batch, item, offset, newlines }
    }
}

impl From<v1::Checkpoint> for Checkpoint {
    fn from(checkpoint: v1::Checkpoint) -> Self {
        let v1::Checkpoint { batch, item, offset, newlines } = checkpoint;
        Self { batch, item, offset, newlines }
    }
}

fn state(state: EntryState) -> WireState {
    match state {
        EntryState::RecordStart => WireState::RecordStart,
        EntryState::FieldStart => WireState::FieldStart,
        EntryState::Unquoted => WireState::Unquoted,
        EntryState::Quoted => WireState::Quoted,
        EntryState::QuoteInQuoted => WireState::QuoteInQuoted,
        EntryState::AfterCr => WireState::AfterCr,
    }
}

fn read_state(state: i32) -> Result<EntryState, InvalidMessage> {
    match WireState::try_from(state) {
        Ok(WireState::RecordStart) => Ok(EntryState::RecordStart),
        Ok(WireState::FieldStart) => Ok(EntryState::FieldStart),
        Ok(WireState::Unquoted) => Ok(EntryState::Unquoted),
        Ok(WireState::Quoted) => Ok(EntryState::Quoted),
        Ok(WireState::QuoteInQuoted) => Ok(EntryState::QuoteInQuoted),
        Ok(WireState::AfterCr) => Ok(EntryState::AfterCr),
        Ok(WireState::Unspecified) | Err(_) => Err(InvalidMessage::new("entry state", "is not known")),
    }
}
