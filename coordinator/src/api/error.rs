//! Why a call failed, and the one mapping of that to `google.rpc.Status`.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use warifu_common::object_store::ObjectError;
use warifu_common::wire::InvalidRequest;
use warifu_common::wire::v1::error_reason::Reason;
use warifu_common::wire::v1::map_run::State;
use warifu_model::{MapRunId, MapRunState};
use warifu_scheduler::Rejection;

use crate::driver::RequestError;
use crate::state_store::StoreError;

/// `domain` of every ErrorInfo.
const DOMAIN: &str = "warifu";

/// Longer texts do not fit the headers that carry a status.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// Wrong fields that a status names: more do not fit its headers.
const MAX_VIOLATIONS: usize = 16;

/// When to try again after "not now".
const RETRY_SOON: Duration = Duration::from_secs(1);

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// Fields are wrong.
    Invalid(InvalidRequest),
    /// The page token is not one of this call's.
    InvalidPageToken,
    /// This version cannot do it.
    NotSupported(&'static str),
    /// There is no such map run.
    NoSuchMapRun(MapRunId),
    /// There is no such worker.
    NoSuchWorker(String),
    /// The scheduler refused it.
    Rejected(Rejection),
    /// The source cannot be pinned or read.
    Source(ObjectError),
    /// The source's head is not what the specification says.
    SourceNotReadable(String),
    /// Results cannot be written where the specification says.
    Destination(ObjectError),
    /// Every item succeeded.
    NothingToRedrive(MapRunId),
    /// Nobody leads, or the process stops.
    NotReady,
    /// Too many requests wait.
    Overloaded,
    /// The change may have been made or not.
    OutcomeUnknown,
    /// The state store cannot be read.
    Store(StoreError),
    /// A message that no worker sends.
    InvalidMessage(String),
    /// A bug.
    Internal(String),
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Rejected(rejection) => Self::Rejected(rejection),
            RequestError::NotReady => Self::NotReady,
            RequestError::Overloaded => Self::Overloaded,
            RequestError::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Invalid(invalid) => bad_request(&invalid),
            ApiError::InvalidPageToken => {
                let text = "page_token: is not one that this call issued for the same arguments";
                status(Code::InvalidArgument, Reason::InvalidPageToken, text)
            }
            ApiError::NotSupported(what) => status(
                Code::Unimplemented,
                Reason::NotSupported,
                format!("this version does not support {what}"),
            ),
            ApiError::NoSuchMapRun(id) => rejected(Rejection::NoSuchMapRun(id)),
            ApiError::NoSuchWorker(id) => rejected(Rejection::NoSuchWorker(id)),
            ApiError::Rejected(rejection) => rejected(rejection),
            ApiError::Source(error) => source(&error),
            ApiError::SourceNotReadable(text) => {
                status(Code::FailedPrecondition, Reason::SourceNotReadable, text)
            }
            ApiError::Destination(error) => destination(&error),
            ApiError::NothingToRedrive(id) => status(
                Code::FailedPrecondition,
                Reason::NothingToRedrive,
                format!("every item of map run {id} succeeded; there is nothing to redrive"),
            ),
            ApiError::NotReady => {
                let text = "the coordinator is starting, recovering or stopping; try again soon";
                not_now(Code::Unavailable, Reason::NotReady, text, RETRY_SOON)
            }
            ApiError::Overloaded => {
                let text = "too many requests wait for the coordinator; try again soon";
                not_now(Code::ResourceExhausted, Reason::Overloaded, text, RETRY_SOON)
            }
            ApiError::OutcomeUnknown => status(
                Code::Unknown,
                Reason::OutcomeUnknown,
                "the change may have been made or not; read it back, or repeat the call if that is safe",
            ),
            ApiError::Store(error) => {
                let text = crate::error_chain(&error);
                tracing::error!(error = text, "an API call could not read the state store");
                not_now(Code::Unavailable, Reason::StoreUnavailable, text, RETRY_SOON)
            }
            ApiError::InvalidMessage(text) => status(Code::InvalidArgument, Reason::InvalidMessage, text),
            ApiError::Internal(text) => internal(&text),
        }
    }
}

fn rejected(rejection: Rejection) -> Status {
    let text = rejection.to_string();
    match rejection {
        Rejection::NoSuchMapRun(_) => status(Code::NotFound, Reason::MapRunNotFound, text),
        Rejection::ExistsAlready(_) | Rejection::IdUsedBefore(_) => {
            status(Code::AlreadyExists, Reason::MapRunExists, text)
        }
        Rejection::WrongState { state, .. } => {
            let details = details(Reason::WrongState, [("state", state_name(state))]);
            with_details(Code::FailedPrecondition, text, details)
        }
        Rejection::HandlerNotAvailable(_) => {
            status(Code::FailedPrecondition, Reason::HandlerNotAvailable, text)
        }
        Rejection::NoSuchWorker(_) => status(Code::NotFound, Reason::WorkerNotFound, text),
        Rejection::TooManyMapRuns(_) => {
            not_now(Code::ResourceExhausted, Reason::Overloaded, text, Duration::from_secs(30))
        }
        Rejection::NotLeader => not_now(Code::Unavailable, Reason::NotLeader, text, RETRY_SOON),
    }
}

fn source(error: &ObjectError) -> Status {
    let text = crate::error_chain(error);
    match error {
        ObjectError::NotFound { .. } => status(Code::NotFound, Reason::SourceNotFound, text),
        ObjectError::AccessDenied { .. } | ObjectError::Credentials { .. } => {
            status(Code::PermissionDenied, Reason::SourceAccessDenied, text)
        }
        ObjectError::Changed { .. } => status(Code::FailedPrecondition, Reason::SourceChanged, text),
        ObjectError::TooLarge { .. } | ObjectError::Invalid { .. } | ObjectError::WrongAnswer { .. } => {
            status(Code::FailedPrecondition, Reason::SourceNotReadable, text)
        }
        ObjectError::Unavailable { after, .. } => {
            let after = after.unwrap_or(RETRY_SOON);
            not_now(Code::Unavailable, Reason::ObjectStoreUnavailable, text, after)
        }
    }
}

fn destination(error: &ObjectError) -> Status {
    let text = format!("spec.result_writer: {}", crate::error_chain(error));
    match error {
        ObjectError::NotFound { .. } => status(Code::NotFound, Reason::DestinationNotWritable, text),
        ObjectError::AccessDenied { .. } | ObjectError::Credentials { .. } => {
            status(Code::PermissionDenied, Reason::DestinationNotWritable, text)
        }
        ObjectError::Changed { .. }
        | ObjectError::TooLarge { .. }
        | ObjectError::Invalid { .. }
        | ObjectError::WrongAnswer { .. } => {
            status(Code::FailedPrecondition, Reason::DestinationNotWritable, text)
        }
        ObjectError::Unavailable { after, .. } => {
            let after = after.unwrap_or(RETRY_SOON);
            not_now(Code::Unavailable, Reason::ObjectStoreUnavailable, text, after)
        }
    }
}

fn bad_request(invalid: &InvalidRequest) -> Status {
    let mut details = details(Reason::InvalidRequest, []);
    for violation in invalid.violations.iter().take(MAX_VIOLATIONS) {
        details.add_bad_request_violation(&violation.field, cut(&violation.description));
    }
    with_details(Code::InvalidArgument, invalid.to_string(), details)
}

/// The caller gets a number that the log has too, and nothing of what happened inside.
fn internal(text: &str) -> Status {
    let error_id = ulid::Ulid::new().to_string();
    tracing::error!(error_id, error = text, "an API call met a bug");
    let details = details(Reason::Internal, [("error_id", error_id.as_str())]);
    with_details(
        Code::Internal,
        format!("internal error {error_id}; the coordinator's log says more"),
        details,
    )
}

fn status(code: Code, reason: Reason, text: impl Into<String>) -> Status {
    with_details(code, text, details(reason, []))
}

fn not_now(code: Code, reason: Reason, text: impl Into<String>, after: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(after));
    with_details(code, text, details)
}

fn details<'a>(reason: Reason, metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> ErrorDetails {
    let metadata: std::collections::HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, metadata)
}

fn with_details(code: Code, text: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, cut(&text.into()), details)
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)].to_owned()
}

fn state_name(state: MapRunState) -> &'static str {
    State::from(state).as_str_name()
}
