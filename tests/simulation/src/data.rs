//! The data of a simulated run: a small CSV, and the truth about its batches.

use std::sync::Arc;

use warifu_dataset::{
    ByteRange, Composed, ComposedShard, Composer, CutRules, Dialect, Header, HeaderLocation, Limits, Probe,
    RecordFormat, ScanRequest, ShardPlan, ShardScan, SpanReader, SpanShard, SpanStep, probe, scan,
};
use warifu_model::protocol::ScanOrder;

use crate::random::Random;

const LIMITS: Limits = Limits { max_record_bytes: 4096, max_header_bytes: 4096, max_columns: 16 };
const FORMAT: RecordFormat = RecordFormat::Csv(Dialect { delimiter: b',', lenient_quotes: false });

/// A source object and what is true of it.
#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) shard_bytes: u64,
    pub(crate) rules: Arc<CutRules>,
    pub(crate) probe: Probe,
    pub(crate) items: u64,
    shards: Vec<(ComposedShard, Vec<TrueBatch>)>,
}

/// One batch as it really is.
#[derive(Debug, Clone)]
pub(crate) struct TrueBatch {
    pub(crate) first_item: u32,
    pub(crate) item_count: u32,
    pub(crate) bytes: ByteRange,
}

impl DataSet {
    pub(crate) fn generate(random: &mut Random, max_items_per_batch: u32) -> Self {
        let rows = if random.chance(5) { 0 } else { random.between(1, 60) };
        let mut text = String::from("id,note\n");
        for row in 0..rows {
            let note = ["x", "", "\"two\nlines\"", "\"a \"\"quoted\"\" word\"", "\"r,1\nr,2\n\""];
            text.push_str(&format!("{row},{}\n", random.pick(&note).copied().unwrap_or("x")));
        }
        let shard_bytes = random.between(16, 400);
        Self::new(text.into_bytes(), shard_bytes, max_items_per_batch)
    }

    /// Short rows in shards of the default size: 25 of them make a batch.
    pub(crate) fn large() -> Self {
        let rows: String = (0..1_000_000).map(|row| format!("{row},some text\n")).collect();
        Self::new(format!("id,note\n{rows}").into_bytes(), 8 * 1024 * 1024, 25)
    }

    fn new(bytes: Vec<u8>, shard_bytes: u64, max_items: u32) -> Self {
        let probe =
            probe(&bytes, true, FORMAT, &HeaderLocation::FirstRow, &LIMITS).expect("the header is plain");
        let header: Header = probe.header.clone();
        let rules = Arc::new(CutRules {
            max_items,
            max_input_bytes: 262_144,
            envelope_bytes: 12,
            header,
            format: FORMAT,
            sourced: false,
            max_record_bytes: LIMITS.max_record_bytes,
            shape: None,
        });
        let mut data = Self { bytes, shard_bytes, rules, probe, items: 0, shards: Vec::new() };
        data.compose();
        data
    }

    fn compose(&mut self) {
        let plan = ShardPlan::whole(self.probe.data_start, self.bytes.len() as u64, self.shard_bytes);
        let mut composer = Composer::new(&plan, None, FORMAT, &LIMITS);
        while !composer.is_complete() {
            let shard = composer.next_shard();
            let scan = self.scan_range(
                plan.range(shard),
                shard == 0,
                plan.ends_object(shard),
                Some(composer.entry()),
            );
            let Composed::Shard(composed) = composer.compose(&scan) else { panic!("the entry was known") };
            let batches = self.cut(&composed, plan.ends_object(shard));
            self.shards.push((composed, batches));
        }
        self.items = composer.items();
    }

    fn cut(&self, composed: &ComposedShard, ends_object: bool) -> Vec<TrueBatch> {
        let Some(start) = composed.checkpoints.first() else { return Vec::new() };
        let shard = SpanShard { range: composed.range, ends_object, items: composed.items };
        let mut reader = SpanReader::new(self.rules.clone(), shard, *start);
        let mut batches = Vec::new();
        loop {
            let input = &self.bytes[reader.position() as usize..];
            match reader.next_batch(input, true).expect("the data is sound") {
                SpanStep::Batch(batch) => batches.push(TrueBatch {
                    first_item: batch.first_item,
                    item_count: batch.items.len() as u32,
                    bytes: batch.bytes,
                }),
                SpanStep::NeedMore => panic!("the reader has all bytes"),
                SpanStep::End => return batches,
            }
        }
    }

    pub(crate) fn scan(&self, order: &ScanOrder) -> ShardScan {
        self.scan_range(order.range, order.begins_data, order.ends_object, order.entry)
    }

    fn scan_range(
        &self,
        range: ByteRange,
        begins_data: bool,
        ends_object: bool,
        entry: Option<warifu_dataset::EntryState>,
    ) -> ShardScan {
        let previous = (!begins_data).then(|| self.bytes[range.start as usize - 1]);
        scan(&ScanRequest {
            bytes: &self.bytes[range.start as usize..range.end as usize],
            range,
            previous,
            entry,
            ends_object,
            item_limit: None,
            rules: &self.rules,
        })
    }

    pub(crate) fn batch(&self, shard: u32, batch: u32) -> &TrueBatch {
        &self.shards[shard as usize].1[batch as usize]
    }

    pub(crate) fn first_item(&self, shard: u32) -> u64 {
        self.shards[shard as usize].0.first_item
    }
}
