//! What the driver, the scheduler and the state store say, as the errors that callers see.

use std::time::Duration;

use warifu_common::status::ApiError;
use warifu_model::HandlerName;
use warifu_scheduler::Rejection;

use crate::driver::RequestError;
use crate::state_store::StoreError;

/// When to try again while too many requests wait: they are answered in milliseconds.
const REQUESTS_RETRY: Duration = Duration::from_secs(1);

/// When to try again while too many runs wait: one of them has to end.
const MAP_RUNS_RETRY: Duration = Duration::from_secs(30);

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Rejected(rejection) => rejected(rejection),
            RequestError::NotReady => ApiError::NotReady { doing: "starting, recovering or stopping" },
            RequestError::StoreProblem(problem) => ApiError::StoreUnavailable((*problem).into()),
            RequestError::Overloaded => {
                ApiError::Overloaded { what: error.to_string(), retry_after: REQUESTS_RETRY }
            }
            RequestError::OutcomeUnknown => ApiError::OutcomeUnknown(Box::new(error)),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::StoreUnavailable(Box::new(error))
    }
}

/// The process stops, and what the caller waits for will not come from it.
pub(super) fn stopping() -> ApiError {
    ApiError::NotReady { doing: "stopping" }
}

/// A reply that belongs to another request: a bug of the scheduler.
pub(super) fn wrong_reply() -> ApiError {
    ApiError::Internal("the scheduler answered with a reply of another kind".into())
}

fn rejected(rejection: Rejection) -> ApiError {
    match rejection {
        Rejection::NoSuchMapRun(id) => ApiError::NoSuchMapRun(id),
        Rejection::ExistsAlready(id) => ApiError::MapRunExists(id),
        Rejection::IdUsedBefore(id) => ApiError::MapRunIdUsedBefore(id),
        Rejection::WrongState { map_run, state, rule } => {
            ApiError::WrongState { map_run, state, rule: rule.to_owned() }
        }
        Rejection::HandlerNotAvailable(name) => match HandlerName::new(&name) {
            Ok(name) => ApiError::HandlerNotAvailable(name),
            Err(error) => ApiError::Internal(Box::new(error)),
        },
        Rejection::NoSuchWorker(id) => ApiError::NoSuchWorker(id),
        Rejection::TooManyMapRuns(_) => {
            ApiError::Overloaded { what: rejection.to_string(), retry_after: MAP_RUNS_RETRY }
        }
        Rejection::NotLeader => ApiError::NotLeader,
    }
}
