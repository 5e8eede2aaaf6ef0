//! What workers of a story find when they are told to read.

use warifu_dataset::{CutRules, HeaderLocation, Limits, RecordFormat, ScanRequest, probe, scan};
use warifu_model::protocol::{CoordinatorMessage, ScanOrder, WorkerMessage};

use super::story::Story;
use crate::{Event, StreamId};

impl Story {
    /// The answer to a probe or a scan of a run that has data.
    pub(super) fn read(&self, message: &CoordinatorMessage) -> Option<WorkerMessage> {
        let (format, limits) = (RecordFormat::default(), Limits::default());
        let probe = |data: &[u8]| probe(data, true, format, &HeaderLocation::FirstRow, &limits).unwrap();
        match message {
            CoordinatorMessage::Probe { map_run } => {
                let probe = Ok(probe(self.data.get(map_run)?));
                Some(WorkerMessage::Probed { map_run: map_run.clone(), probe })
            }
            CoordinatorMessage::Scan(order) => {
                let ScanOrder { map_run, shard, range, begins_data, entry, .. } = order;
                let data = self.data.get(map_run)?;
                let rules = CutRules {
                    max_items: self.max_items(),
                    max_input_bytes: 1 << 18,
                    envelope_bytes: 12,
                    header: probe(data).header,
                    format,
                    sourced: false,
                    max_record_bytes: limits.max_record_bytes,
                    shape: None,
                };
                let scan = scan(&ScanRequest {
                    bytes: &data[range.start as usize..range.end as usize],
                    range: *range,
                    previous: (!begins_data).then(|| data[range.start as usize - 1]),
                    entry: *entry,
                    ends_object: order.ends_object,
                    item_limit: None,
                    rules: &rules,
                });
                Some(WorkerMessage::Scanned { map_run: map_run.clone(), shard: *shard, scan: Ok(scan) })
            }
            _ => None,
        }
    }

    /// Scans that were ordered since the last call, and of whom.
    pub(crate) fn scan_orders(&mut self) -> Vec<(StreamId, ScanOrder)> {
        let ordered = self.sent.extract_if(.., |(_, message)| matches!(message, CoordinatorMessage::Scan(_)));
        let order = |(stream, message)| match message {
            CoordinatorMessage::Scan(order) => Some((stream, order)),
            _ => None,
        };
        ordered.filter_map(order).collect()
    }

    /// A worker has done what it was ordered.
    pub(crate) fn scans(&mut self, (stream, order): (StreamId, ScanOrder)) {
        let message = self.read(&CoordinatorMessage::Scan(order)).expect("the run has data");
        self.step(Event::MessageReceived { stream, message });
    }
}
