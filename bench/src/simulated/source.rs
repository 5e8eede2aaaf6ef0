//! A source that nobody stores: so many shards that all hold the same records.

use warifu_dataset::{
    ByteRange, CutRules, Header, HeaderLocation, Limits, Probe, RecordFormat, ScanRequest, ShardScan, probe,
    scan,
};
use warifu_model::protocol::ScanOrder;

use crate::scanned::BATCH;

/// Bytes of a record, with its line feed.
const RECORD: u64 = 80;
/// Records of a shard: as many as a shard of the default size holds, but a round number.
pub const SHARD_ITEMS: u64 = 100_000;
/// Bytes of a shard.
pub(super) const SHARD_BYTES: u64 = SHARD_ITEMS * RECORD;

const HEADER: &[u8] = b"note\n";

/// It answers what workers are asked of a source.
pub(super) struct Source {
    pub(super) probe: Probe,
    first: ShardScan,
    other: ShardScan,
}

impl Source {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (format, limits) = (RecordFormat::default(), Limits::default());
        let probe = probe(HEADER, true, format, &HeaderLocation::FirstRow, &limits)?;
        let record: Vec<u8> = (1..RECORD).map(|_| b'x').chain([b'\n']).collect();
        let shard = record.repeat(SHARD_ITEMS as usize);
        let scan_after = |previous| scan_shard(&shard, previous, probe.header.clone());
        Ok(Self { first: scan_after(None), other: scan_after(Some(b'\n')), probe })
    }

    /// The object's size with so many items.
    pub(super) fn size_bytes(&self, items: u64) -> u64 {
        self.probe.data_start + items * RECORD
    }

    /// What a worker finds in a shard: the same records as in any other, elsewhere.
    pub(super) fn scan(&self, order: &ScanOrder) -> ShardScan {
        let mut scan = if order.begins_data { self.first.clone() } else { self.other.clone() };
        for checkpoint in &mut scan.positions.checkpoints {
            checkpoint.offset += order.range.start;
        }
        scan.range = order.range;
        scan
    }

    /// The bytes of a batch in the shard that begins at `start`.
    pub(super) fn batch(&self, start: u64, batch: u32) -> ByteRange {
        let bytes = u64::from(BATCH) * RECORD;
        let from = start + u64::from(batch) * bytes;
        ByteRange::new(from, from + bytes)
    }
}

fn scan_shard(bytes: &[u8], previous: Option<u8>, header: Header) -> ShardScan {
    let (format, limits) = (RecordFormat::default(), Limits::default());
    let rules = CutRules {
        max_items: BATCH,
        max_input_bytes: 262_144,
        envelope_bytes: r#"{"Items":[]}"#.len() as u64,
        header,
        format,
        sourced: false,
        max_record_bytes: limits.max_record_bytes,
        shape: None,
    };
    scan(&ScanRequest {
        bytes,
        range: ByteRange::new(0, bytes.len() as u64),
        previous,
        entry: None,
        ends_object: false,
        item_limit: None,
        rules: &rules,
    })
}
