//! What tests of single modules begin with.

pub(crate) mod job;
mod reading;
pub(crate) mod story;

use std::collections::BTreeMap;

use warifu_model::{ItemCounts, MapRunState, Tolerance};

use crate::record::StatusRecord;

/// The status of a run that runs and has decided nothing.
pub(crate) fn status() -> StatusRecord {
    StatusRecord {
        state: MapRunState::Running,
        stopping_to: None,
        error: None,
        redrive: 0,
        start_time: None,
        stop_time: None,
        max_concurrency: None,
        max_items_per_second: None,
        tolerance: Tolerance { count: None, percentage: None },
        concurrency_ceiling: None,
        item_counts: ItemCounts::default(),
        batch_counts: ItemCounts::default(),
        total_known: false,
        errors: BTreeMap::new(),
        error_groups: Vec::new(),
        stored_failures: 0,
        part_entries: 0,
        output_chunks: 0,
        output_bytes: 0,
        outputs_truncated: false,
        warnings: Vec::new(),
        result_location: None,
        compensation: None,
        adapted: None,
    }
}
