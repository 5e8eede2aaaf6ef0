//! What the state store takes: keys and values, in the form in which the coordinator keeps records.

use serde::Serialize;
use warifu_dataset::{
    ByteRange, Composed, ComposedShard, Composer, CutRules, Header, Limits, RecordFormat, ScanRequest,
    ShardPlan, ShardScan, scan,
};
use warifu_model::RangeSet;
use warifu_scheduler::record::{Record, ShardRecord};

use crate::plan::Plan;
use crate::random::Random;
use crate::store::StoredRun;
use crate::world::run;

/// A key such as `/warifu/v1/runs/ID/shards/N`: an id has 26 characters, a number 16 digits.
const KEY_BYTES: u64 = 66;

/// The version before each value.
const VERSION_BYTES: u64 = 1;

/// Shards of the planned object: 1 TiB at the default size of a shard.
const PLANNED_SHARDS: u32 = 131_072;
const SHARD_BYTES: u64 = 8 << 20;

/// Slots of each of the four workers: a report has a few batches then, or a few thousand.
const FEW_SLOTS: u32 = 8;
const MANY_SLOTS: u32 = 2_000;

/// What one run takes in the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveBytes {
    /// Its shards.
    pub shards: u64,
    /// Its result files.
    pub parts: u64,
    /// Records of shards.
    pub shard_bytes: u64,
    /// Everything.
    pub bytes: u64,
}

impl LiveBytes {
    pub(crate) fn of(run: &StoredRun) -> Self {
        let shards = run.shards.len() as u64;
        let shard_bytes = run.shards.values().map(entry_bytes).sum();
        let status = run.status.iter().map(entry_bytes).sum::<u64>();
        let plan = run.plan.iter().map(entry_bytes).sum::<u64>();
        let log = run.parts.values().map(entry_bytes).sum::<u64>();
        let parts = run.parts.values().map(|entry| entry.len() as u64).sum();
        Self { shards, parts, shard_bytes, bytes: shard_bytes + status + plan + log }
    }
}

/// Bytes that a record adds to the store's history.
pub(crate) fn written_bytes(record: &Record) -> u64 {
    match record {
        // Its JSON has no place in postcard, and it is written once.
        Record::PutSpec(..) => record.estimated_bytes() as u64,
        Record::PutStatus(_, status) => {
            // They lie behind the rest, and only where there are some.
            let compensation = status.compensation.as_ref().map_or(0, entry_bytes);
            entry_bytes(status) + compensation + status.max_items_per_second.as_ref().map_or(0, entry_bytes)
        }
        Record::PutPlan(_, plan) => entry_bytes(plan),
        Record::PutShard(_, _, shard) => entry_bytes(shard),
        Record::PutFailures { failures, .. } => entry_bytes(failures),
        Record::PutParts { parts, .. } => entry_bytes(parts),
        Record::PutOutputs { lines, .. } => entry_bytes(lines),
        Record::PutRoster(_, roster) => entry_bytes(roster),
        Record::RemoveFailures(_)
        | Record::RemoveParts(_)
        | Record::RemoveMapRun(_)
        | Record::RemoveRoster(..) => KEY_BYTES,
    }
}

fn entry_bytes(value: &impl Serialize) -> u64 {
    let size = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default());
    KEY_BYTES + VERSION_BYTES + size.expect("records are what the store keeps as postcard") as u64
}

/// Runs large runs without faults, and says what they cost the store; an error if something did not hold.
pub fn measure_store(seed: u64) -> Result<String, String> {
    let mut text = String::new();
    for slots in [FEW_SLOTS, MANY_SLOTS] {
        text += &measure_run(&Plan::for_measuring(seed, slots), slots)?;
    }
    let planned = planned_bytes() as f64 / 1e6;
    Ok(format!("{text}plan of {PLANNED_SHARDS} shards, composed and nothing finished: {planned:.1} MB"))
}

fn measure_run(plan: &Plan, slots: u32) -> Result<String, String> {
    let outcome = run(plan);
    let statistics = outcome.statistics;
    if let Some(violation) = outcome.violation {
        return Err(format!("{violation}\n{statistics:?}"));
    }
    let (batches, live) = (statistics.counted_batches.max(1) as f64, outcome.live);
    let per_shard = |count: u64| count / live.shards.max(1);
    Ok(format!(
        "workers of {slots} slots: {statistics:?}\n\
         \thistory: {:.1} MB per million batches in {:.4} transactions per batch\n\
         \tfinished run: {} bytes per shard, {} of them for its record; {} result files per shard, {} shards\n",
        statistics.bytes_written as f64 / batches,
        statistics.commits as f64 / batches,
        per_shard(live.bytes),
        per_shard(live.shard_bytes),
        per_shard(live.parts),
        live.shards,
    ))
}

/// What the shards of a large object take once all of them are composed.
fn planned_bytes() -> u64 {
    planned_records().map(|record| entry_bytes(&record)).sum()
}

/// Records of the shards of a large object as they are once all of them are composed: 1 TiB in shards of 8 MiB.
pub fn planned_records() -> impl Iterator<Item = ShardRecord> {
    let plan = ShardPlan::whole(0, u64::from(PLANNED_SHARDS) * SHARD_BYTES, SHARD_BYTES);
    let (format, limits) = (RecordFormat::default(), Limits::default());
    let first = scan_of_first_shard(format, &limits);
    let mut composer = Composer::new(&plan, None, format, &limits);
    std::iter::from_fn(move || {
        if composer.is_complete() {
            return None;
        }
        let scan = shifted(&first, plan.range(composer.next_shard()));
        let Composed::Shard(composed) = composer.compose(&scan) else { panic!("shards begin with a row") };
        Some(fresh_record(composed, &composer))
    })
}

fn scan_of_first_shard(format: RecordFormat, limits: &Limits) -> ShardScan {
    let rules = CutRules {
        max_items: 25,
        max_input_bytes: 262_144,
        envelope_bytes: 12,
        header: Header {
            names: vec!["id".into(), "note".into(), "more".into()],
            range: ByteRange::new(0, 0),
        },
        format,
        sourced: false,
        max_record_bytes: limits.max_record_bytes,
        shape: None,
    };
    scan(&ScanRequest {
        bytes: &planned_shard(),
        range: ByteRange::new(0, SHARD_BYTES),
        previous: None,
        entry: None,
        ends_object: false,
        item_limit: None,
        rules: &rules,
    })
}

/// Rows of all lengths that fill a shard without a rest: every shard is then scanned as the first one is.
fn planned_shard() -> Vec<u8> {
    let mut random = Random::new(1);
    let mut bytes = Vec::with_capacity(SHARD_BYTES as usize);
    while bytes.len() < SHARD_BYTES as usize {
        let left = SHARD_BYTES - bytes.len() as u64;
        let length = if left < 400 { left } else { random.between(20, 200) };
        bytes.extend(std::iter::repeat_n(b'x', length as usize - 1).chain([b'\n']));
    }
    bytes
}

/// The same rows elsewhere in the object.
fn shifted(scan: &ShardScan, range: ByteRange) -> ShardScan {
    let mut scan = scan.clone();
    for checkpoint in &mut scan.positions.checkpoints {
        checkpoint.offset += range.start - scan.range.start;
    }
    scan.range = range;
    scan
}

fn fresh_record(composed: ComposedShard, composer: &Composer) -> ShardRecord {
    ShardRecord {
        redrive: 0,
        composed,
        composer: composer.clone(),
        finished: Vec::new(),
        open: Default::default(),
        begun: RangeSet::new(),
        losses: Default::default(),
        deaths: Default::default(),
        reports: Vec::new(),
    }
}
