//! The object that simulated workers read: one column, one record after the other, all of the same length.

use std::sync::Arc;

use warifu_common::dataset::{ByteRange, CutRules, Limits, Probe, ScanRequest, ShardScan, probe, scan};
use warifu_common::model::protocol::{RunContext, RunFault, ScanOrder};
use warifu_common::model::template::RunTemplates;

const HEADER: &str = "id\n";
/// Digits of a record, and its end.
const RECORD_BYTES: u64 = 8;

/// A CSV in memory.
#[derive(Debug, Clone)]
pub struct Source {
    csv: Arc<[u8]>,
    records: u32,
}

impl Source {
    /// A CSV with so many records.
    pub fn with_records(records: u32) -> Self {
        let rows: String = (0..records).map(|record| format!("{record:07}\n")).collect();
        Self { csv: (HEADER.to_owned() + &rows).into_bytes().into(), records }
    }

    /// Its bytes, for the store that the coordinator looks into.
    pub fn csv(&self) -> &[u8] {
        &self.csv
    }

    /// Its records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Where a record stands.
    pub(crate) fn record_range(&self, record: u64) -> ByteRange {
        let start = HEADER.len() as u64 + record * RECORD_BYTES;
        ByteRange::new(start, start + RECORD_BYTES)
    }

    pub(crate) fn probe(&self, context: &RunContext) -> Result<Probe, RunFault> {
        let location = &context.spec.item_reader.header_location;
        probe(&self.csv, true, context.spec.item_reader.record_format(), location, &limits(context))
            .map_err(|error| fault(format!("{error:?}")))
    }

    pub(crate) fn scan(&self, context: &RunContext, order: &ScanOrder) -> Result<ShardScan, RunFault> {
        let rules = cut_rules(context).ok_or_else(|| fault("a scan was ordered without a header"))?;
        let (start, end) = (order.range.start as usize, order.range.end as usize);
        let previous = (!order.begins_data && start > 0).then(|| self.csv[start - 1]);
        Ok(scan(&ScanRequest {
            bytes: &self.csv[start..end],
            range: order.range,
            previous,
            entry: order.entry,
            ends_object: order.ends_object,
            item_limit: order.item_limit,
            rules: &rules,
        }))
    }
}

fn fault(cause: impl Into<String>) -> RunFault {
    RunFault { error: "Fleet.Unreadable".into(), cause: cause.into() }
}

fn limits(context: &RunContext) -> Limits {
    Limits {
        max_record_bytes: context.max_record_bytes,
        max_header_bytes: context.max_header_bytes,
        max_columns: usize::try_from(context.max_columns).unwrap_or(usize::MAX),
    }
}

fn cut_rules(context: &RunContext) -> Option<CutRules> {
    let templates = RunTemplates::new(&context.spec, &context.template_facts()).ok()?;
    Some(templates.cut_rules(&context.spec, context.header.clone()?, context.max_record_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stand_where_they_are_said_to() {
        let source = Source::with_records(1_000);
        let range = source.record_range(999);
        assert_eq!(&source.csv()[range.start as usize..range.end as usize], b"0000999\n");
        assert_eq!(range.end, source.csv().len() as u64);
    }
}
