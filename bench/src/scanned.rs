//! A file in memory that is scanned in shards and composed, as a run does it.

use anyhow::format_err;
use warifu_dataset::{
    ByteRange, Composed, Composer, CutRules, HeaderLocation, Limits, RecordFormat, ScanRequest, ShardPlan,
    ShardScan, probe, scan,
};

/// Items of a batch.
pub const BATCH: u32 = 25;

/// The file and how it is cut.
pub struct Scanned<'a> {
    bytes: &'a [u8],
    plan: ShardPlan,
    rules: CutRules,
}

impl<'a> Scanned<'a> {
    /// A CSV with a header, in shards of so many bytes.
    pub fn new(bytes: &'a [u8], shard_bytes: u64) -> anyhow::Result<Self> {
        let (format, limits) = (RecordFormat::default(), Limits::default());
        let probe = probe(bytes, true, format, &HeaderLocation::FirstRow, &limits)?;
        let rules = CutRules {
            max_items: BATCH,
            max_input_bytes: 262_144,
            envelope_bytes: r#"{"Items":[]}"#.len() as u64,
            header: probe.header,
            format,
            sourced: false,
            max_record_bytes: limits.max_record_bytes,
            shape: None,
        };
        Ok(Self { bytes, plan: ShardPlan::whole(probe.data_start, bytes.len() as u64, shard_bytes), rules })
    }

    /// Each shard scanned once, not knowing what is before it.
    pub fn scan_all(&self) -> Vec<ShardScan> {
        (0..self.plan.shard_count()).map(|shard| scan(&self.request(shard))).collect()
    }

    /// The items that the shards come to; those that were guessed wrong are scanned again.
    pub fn compose(&self, scans: &[ShardScan]) -> anyhow::Result<u64> {
        let mut composer = Composer::new(&self.plan, None, self.rules.format, &Limits::default());
        for (scanned, shard) in scans.iter().zip(0..) {
            let mut composed = composer.compose(scanned);
            if let Composed::Rescan { entry, item_limit } = composed {
                let again = ScanRequest { entry: Some(entry), item_limit, ..self.request(shard) };
                composed = composer.compose(&scan(&again));
            }
            if !matches!(composed, Composed::Shard(_)) {
                return Err(format_err!("shard {shard} cannot be composed: {composed:?}"));
            }
        }
        Ok(composer.items())
    }

    fn request(&self, shard: u32) -> ScanRequest<'_> {
        let range = self.plan.range(shard);
        ScanRequest {
            bytes: self.slice(range),
            range,
            previous: (shard > 0).then(|| self.slice(ByteRange::new(range.start - 1, range.start))[0]),
            entry: None,
            ends_object: self.plan.ends_object(shard),
            item_limit: None,
            rules: &self.rules,
        }
    }

    fn slice(&self, range: ByteRange) -> &[u8] {
        let index = |offset: u64| usize::try_from(offset).expect("the file lies in memory");
        &self.bytes[index(range.start)..index(range.end)]
    }
}
