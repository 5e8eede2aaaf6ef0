//! Compensation: a handler that is called once in effect when a run ends for one of some reasons.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{HandlerName, ItemCounts, MapRunState, ResultLocation, RunError, WallTime, WorkerId, error_name};

/// Which handler is called, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// A handler that workers have configured.
    pub handler: HandlerName,
    /// What it is called for; at least one reason.
    pub on: BTreeSet<CompensationTrigger>,
}

/// Why a run ended, as far as compensation is concerned. A run that was not successful has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CompensationTrigger {
    /// More items failed than tolerated.
    ToleranceExceeded,
    /// Any other error: the source, the results, the run's own timeout.
    Error,
    /// A user stopped the run.
    Stopped,
}

impl CompensationTrigger {
    /// The reason of a run that ends as `state` because of `error`.
    pub fn of(state: MapRunState, error: Option<&RunError>) -> Self {
        let tolerance = |error: &RunError| error.error == error_name::TOLERANCE_EXCEEDED;
        match state {
            MapRunState::Aborted => Self::Stopped,
            _ if error.is_some_and(tolerance) => Self::ToleranceExceeded,
            _ => Self::Error,
        }
    }

    /// Its name in job files and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToleranceExceeded => "TOLERANCE_EXCEEDED",
            Self::Error => "ERROR",
            Self::Stopped => "STOPPED",
        }
    }
}

/// How far a compensation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompensationState {
    /// It waits for a worker with a free slot, or for the time of its next try.
    Pending,
    /// A try is counted and handed out, or about to be.
    Running,
    /// A try succeeded.
    Succeeded,
    /// The last try failed, or the time is over.
    Failed,
    /// No worker took it: it was never tried.
    NotRun,
}

impl CompensationState {
    /// True once nothing will be tried any more.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::NotRun => true,
        }
    }
}

/// What became of a compensation; kept in the run's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationStatus {
    /// How far it is.
    pub state: CompensationState,
    /// What it is called for.
    pub trigger: CompensationTrigger,
    /// Tries so far: counted, durably, before the handler is called.
    pub attempts: u32,
    /// Why the last try failed, or why there was none.
    pub error: Option<RunError>,
    /// Who has, or had, the last try.
    pub worker: Option<WorkerId>,
    /// When it became due. Its time counts from here.
    pub due_time: WallTime,
    /// When the first try was counted.
    pub start_time: Option<WallTime>,
    /// When it ended.
    pub stop_time: Option<WallTime>,
}

/// What the handler is told of the run: the same in every try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompensationCall {
    /// What it is called for.
    pub trigger: CompensationTrigger,
    /// Why the run ends.
    pub error: RunError,
    /// Its items, as they will stay.
    pub item_counts: ItemCounts,
    /// Where its results are.
    pub result_location: Option<ResultLocation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_that_is_no_success_has_one_reason() {
        let error = |name: &str| RunError { error: name.to_owned(), cause: String::new() };
        for (state, name, trigger) in [
            (MapRunState::Failed, error_name::TOLERANCE_EXCEEDED, CompensationTrigger::ToleranceExceeded),
            (MapRunState::Failed, error_name::TIMEOUT, CompensationTrigger::Error),
            (MapRunState::Failed, error_name::RESULT_WRITER_FAILED, CompensationTrigger::Error),
            (MapRunState::Aborted, error_name::ABORTED, CompensationTrigger::Stopped),
        ] {
            assert_eq!(CompensationTrigger::of(state, Some(&error(name))), trigger, "{name}");
        }
    }
}
