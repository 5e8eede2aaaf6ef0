//! One call to be applied.

use std::sync::Arc;

use warifu_common::model::{CallFailure, MapRunId, WorkerId};

use super::plan::{PlannedColumn, PlannedRow, number};
use super::value::{SqlValue, sql_failure};
use crate::handler::{BatchCall, BatchIdentity, FailedItem, HandlerAnswer};

/// One call to be applied.
pub(super) struct Job {
    pub(super) map_run: MapRunId,
    pub(super) worker: WorkerId,
    pub(super) identity: BatchIdentity,
    pub(super) columns: Arc<[PlannedColumn]>,
    pub(super) rows: Vec<PlannedRow>,
}

impl Job {
    pub(super) fn new(call: &BatchCall, columns: Arc<[PlannedColumn]>, rows: Vec<PlannedRow>) -> Self {
        let (map_run, worker) = (call.run().map_run.clone(), call.run().worker.clone());
        Self { map_run, worker, identity: call.identity(), columns, rows }
    }

    /// The ledger's key.
    pub(super) fn key(&self) -> [SqlValue; 3] {
        [
            SqlValue::Text(self.map_run.to_string()),
            number(self.identity.batch_number),
            SqlValue::Integer(i64::from(self.identity.round)),
        ]
    }
}

/// The failed items of a call, or why it has none.
pub(super) type Outcome = Result<Vec<FailedItem>, CallFailure>;

/// Nobody waits for the call any more. Whether it was applied the ledger knows.
pub(super) fn gone() -> HandlerAnswer {
    HandlerAnswer::Failed(sql_failure("57014", "the call was cancelled while it waited for the database"))
}

pub(super) fn as_answer(outcome: Outcome) -> HandlerAnswer {
    match outcome {
        Ok(failures) if failures.is_empty() => HandlerAnswer::Succeeded,
        Ok(failures) => HandlerAnswer::Answered { outputs: None, failures },
        Err(failure) => HandlerAnswer::Failed(failure),
    }
}
