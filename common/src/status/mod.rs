//! Our errors as `google.rpc.Status` with details, and back.
//!
//! [`ApiError`] is sorted by who must act. `to_status.rs` is the one exhaustive mapping to gRPC; [`CallError`] is what
//! the other side reads from it. **Invariant:** what travels in headers stays far below their limit of 16 KiB, beyond
//! which HTTP/2 stacks break the connection.

mod call_error;
#[cfg(test)]
mod tests;
mod to_status;

use std::time::Duration;

use warifu_model::{HandlerName, MapRunId, MapRunState, WorkerId};

use crate::object_store::ObjectError;
use crate::wire::InvalidRequest;
use crate::wire::lease_stream::InvalidMessage;

pub use call_error::CallError;

/// The compiled proto files of `google.rpc`: register them for reflection too, so that clients can read our details.
pub use tonic_types::pb::FILE_DESCRIPTOR_SET as ERROR_DETAILS_DESCRIPTOR_SET;

/// The `domain` of every ErrorInfo.
pub const ERROR_DOMAIN: &str = "warifu";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    // Invalid: change the request.
    /// Fields are wrong.
    #[error("the request is not valid: {0}")]
    Invalid(#[source] InvalidRequest),
    /// The page token was not issued by this call, or for other arguments.
    #[error("the page token does not belong to this request; begin again without one")]
    InvalidPageToken,
    /// This version cannot do it.
    #[error("{what} is not supported yet")]
    NotSupported {
        /// What was asked for.
        what: String,
    },
    /// A message on a worker's stream that no worker sends.
    #[error("invalid message: {0}")]
    InvalidMessage(#[source] InvalidMessage),

    // The world does not allow it: change that, or ask for something else.
    /// There is no such map run.
    #[error("there is no map run {0}")]
    NoSuchMapRun(MapRunId),
    /// No worker of that name has a session.
    #[error("there is no worker {0}")]
    NoSuchWorker(String),
    /// The ID belongs to a run with another specification.
    #[error("map run {0} exists already with another specification; choose another ID")]
    MapRunExists(MapRunId),
    /// The ID belonged to a run that was deleted.
    #[error("map run {0} existed and was deleted; IDs are never used again, choose another")]
    MapRunIdUsedBefore(MapRunId),
    /// The run's state does not allow the call.
    #[error("map run {map_run} is {}: {rule}", state_name(*.state))]
    WrongState {
        /// The run.
        map_run: MapRunId,
        /// Its state.
        state: MapRunState,
        /// What would be needed.
        rule: String,
    },
    /// Every item succeeded.
    #[error("every item of map run {0} succeeded: there is nothing to redrive")]
    NothingToRedrive(MapRunId),
    /// No live worker offers the handler, and the request insists.
    #[error("no live worker offers the handler {0}; start one, or create the run without require_handler")]
    HandlerNotAvailable(HandlerName),
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] ObjectError),
    /// The source can be read, but not as the specification says.
    #[error("the source cannot be read as the specification says: {cause}")]
    SourceNotReadable {
        /// What is wrong, where, and what to do.
        cause: String,
    },
    /// Results cannot be written.
    #[error("results cannot be written")]
    Destination(#[source] ObjectError),

    // Not now: wait. Nothing was written.
    /// This process does not lead, and knows no leader yet.
    #[error("this coordinator does not lead, and no leader is known yet")]
    NotLeader,
    /// This process does not lead, and cannot pass the call on.
    #[error("this coordinator does not lead, and the leader {endpoint} cannot be reached")]
    LeaderUnreachable {
        /// Where the leader should be.
        endpoint: String,
        /// Why it cannot be reached.
        source: BoxError,
    },
    /// The process starts or stops.
    #[error("the coordinator is {doing}")]
    NotReady {
        /// `starting` or `shutting down`.
        doing: &'static str,
    },
    /// The state store refused, or cannot be reached.
    #[error("the state store is not available; nothing was changed")]
    StoreUnavailable(#[source] BoxError),
    /// Too much at once.
    #[error("{what}")]
    Overloaded {
        /// What there is too much of, and when it gets better.
        what: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The message does not fit. Waiting does not help.
    #[error("the message is larger than {limit_bytes} bytes")]
    MessageTooLarge {
        /// What would fit.
        limit_bytes: usize,
    },

    // Refused: someone else must act.
    /// No valid token or certificate.
    #[error("no valid token or certificate was presented")]
    Unauthenticated,
    /// The caller's role does not allow the call.
    #[error("role {role} may not call {method}")]
    RoleNotAllowed {
        /// The caller's role.
        role: String,
        /// The method.
        method: String,
    },
    /// The peer's version is too far away.
    #[error("version {theirs} cannot work with this coordinator, version {ours}")]
    UnsupportedVersion {
        /// The peer's.
        theirs: String,
        /// This process's.
        ours: String,
    },
    /// Somebody speaks in the name of a worker, or of a lease, that is another's.
    #[error("worker {0}, or a lease that it speaks of, belongs to another principal or process")]
    WorkerOfAnother(WorkerId),
    /// Two processes use one worker ID.
    #[error("two processes use the worker ID {0}; give each its own")]
    WorkerIdInUse(WorkerId),

    /// Unknown: the change may have been made.
    #[error("the outcome is unknown: the change may have been made or not; look before you repeat it")]
    OutcomeUnknown(#[source] BoxError),

    /// A bug. The chain is logged, the caller gets an ID to look for.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

impl From<InvalidRequest> for ApiError {
    fn from(error: InvalidRequest) -> Self {
        ApiError::Invalid(error)
    }
}

impl From<InvalidMessage> for ApiError {
    fn from(error: InvalidMessage) -> Self {
        ApiError::InvalidMessage(error)
    }
}

/// A state's name as the API has it.
pub fn state_name(state: MapRunState) -> &'static str {
    crate::wire::v1::map_run::State::from(state).as_str_name()
}
