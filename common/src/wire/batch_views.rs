//! Single batches as the API shows them.

use warifu_model::{BatchState, BatchView, ItemFailure, MapRunId};

use super::time::timestamp;
use super::v1;
use super::views::worker_name;

/// A batch of `map_run`, as far as it is known.
pub fn batch_view(view: &BatchView, map_run: &MapRunId) -> v1::Batch {
    v1::Batch {
        name: format!("{}/batches/{}", map_run.resource_name(), view.number),
        number: view.number,
        state: v1::batch::State::from(view.state).into(),
        first_index: view.first_index,
        item_count: view.item_count,
        attempts: view.attempts,
        round: view.round,
        loss_count: view.losses,
        worker: view.worker.as_ref().map(|worker| worker_name(worker.as_str())).unwrap_or_default(),
        next_attempt_time: view.next_attempt_time.map(timestamp),
        failed_item_count: view.failed_items,
        error: String::new(),
        cause: String::new(),
        fail_time: None,
        lease_time: view.lease_time.map(timestamp),
    }
}

/// Adds what the failure of one of its items tells of the batch.
pub fn with_failure(batch: &mut v1::Batch, failure: &ItemFailure) {
    batch.error.clone_from(&failure.failure.error);
    batch.cause.clone_from(&failure.failure.cause);
    batch.fail_time = Some(timestamp(failure.fail_time));
    if batch.worker.is_empty() {
        batch.worker = worker_name(failure.worker.as_str());
    }
}

impl From<BatchState> for v1::batch::State {
    fn from(state: BatchState) -> Self {
        match state {
            BatchState::Pending => Self::Pending,
            BatchState::Running => Self::Running,
            BatchState::Succeeded => Self::Succeeded,
            BatchState::Failed => Self::Failed,
            BatchState::TimedOut => Self::TimedOut,
            BatchState::Aborted => Self::Aborted,
            BatchState::PendingRedrive => Self::PendingRedrive,
        }
    }
}

/// The state that a request names; `None` for one that is not set.
pub fn batch_state(state: v1::batch::State) -> Option<BatchState> {
    use v1::batch::State;
    match state {
        State::Unspecified => None,
        State::Pending => Some(BatchState::Pending),
        State::Running => Some(BatchState::Running),
        State::Succeeded => Some(BatchState::Succeeded),
        State::Failed => Some(BatchState::Failed),
        State::TimedOut => Some(BatchState::TimedOut),
        State::Aborted => Some(BatchState::Aborted),
        State::PendingRedrive => Some(BatchState::PendingRedrive),
    }
}

#[cfg(test)]
mod tests {
    use warifu_model::{CallFailure, SourcePlace, WallTime, WorkerId};

    use super::*;
    use crate::wire::codec::to_json;

    #[test]
    fn a_failed_batch_is_shown_with_the_failure_of_its_item() {
        let view = BatchView {
            number: 7,
            state: BatchState::Failed,
            first_index: Some(0),
            item_count: None,
            attempts: 3,
            round: 1,
            losses: 0,
            failed_items: 25,
            worker: None,
            lease_time: None,
            next_attempt_time: None,
        };
        let failure = ItemFailure {
            index: 175,
            batch_number: 7,
            place: SourcePlace::default(),
            failure: CallFailure::system("Http.503", "busy"),
            timed_out: false,
            attempts: 3,
            worker: WorkerId::new("w1").unwrap(),
            fail_time: WallTime(1_500),
        };
        let mut batch = batch_view(&view, &MapRunId::new("a").unwrap());
        with_failure(&mut batch, &failure);
        let expected = serde_json::json!({
            "name": "mapRuns/a/batches/7", "number": 7, "state": "FAILED", "firstIndex": 0, "attempts": 3, "round": 1,
            "worker": "workers/w1", "failedItemCount": 25, "error": "Http.503", "cause": "busy",
            "failTime": "1970-01-01T00:00:01.500Z",
        });
        assert_eq!(to_json(&batch), expected);
    }
}
