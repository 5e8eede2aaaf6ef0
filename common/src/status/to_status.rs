//! Errors to `google.rpc.Status`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::error;

use super::{ApiError, ERROR_DOMAIN};
use crate::error_chain::Chain;
use crate::object_store::ObjectError;
use crate::wire::InvalidRequest;
use crate::wire::v1::error_reason::Reason;
use crate::wire::violation::truncated;

/// Longest message of a status. It travels in a header, percent-encoded: up to three times as long.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Most bytes that field violations may take in the details, which travel in a header as base64.
const MAX_VIOLATION_BYTES: usize = 4096;
/// Longest description of one wrong field.
const MAX_DESCRIPTION_BYTES: usize = 512;
/// Longest value in the metadata of an ErrorInfo.
const MAX_METADATA_BYTES: usize = 256;

/// A leader is found, or has started, within seconds.
const SOON: Duration = Duration::from_secs(1);
/// A store that is down does not come back at once.
const LATER: Duration = Duration::from_secs(5);

/// What a status says beyond its message.
struct Mapped {
    code: Code,
    reason: Reason,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

fn mapped(code: Code, reason: Reason) -> Mapped {
    Mapped { code, reason, metadata: Vec::new(), retry_after: None }
}

impl Mapped {
    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, truncated(&value.to_string(), MAX_METADATA_BYTES).to_owned()));
        self
    }

    fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        match error {
            ApiError::Invalid(request) => bad_request(&request),
            ApiError::Internal(source) => internal(source.as_ref()),
            error => status(&Chain(&error).to_string(), map(&error)),
        }
    }
}

/// Code, reason and particulars of every error.
fn map(error: &ApiError) -> Mapped {
    use ApiError as E;
    match error {
        E::Invalid(_) => mapped(Code::InvalidArgument, Reason::InvalidRequest),
        E::InvalidPageToken => mapped(Code::InvalidArgument, Reason::InvalidPageToken),
        E::NotSupported { what } => mapped(Code::Unimplemented, Reason::NotSupported).with("feature", what),
        E::InvalidMessage(_) => mapped(Code::InvalidArgument, Reason::InvalidMessage),
        E::NoSuchMapRun(id) => {
            mapped(Code::NotFound, Reason::MapRunNotFound).with("map_run", id.resource_name())
        }
        E::NoSuchWorker(id) => mapped(Code::NotFound, Reason::WorkerNotFound).with("worker", id),
        E::MapRunExists(id) | E::MapRunIdUsedBefore(id) => {
            mapped(Code::AlreadyExists, Reason::MapRunExists).with("map_run", id.resource_name())
        }
        E::WrongState { map_run, state, .. } => mapped(Code::FailedPrecondition, Reason::WrongState)
            .with("map_run", map_run.resource_name())
            .with("state", super::state_name(*state)),
        E::NothingToRedrive(id) => {
            mapped(Code::FailedPrecondition, Reason::NothingToRedrive).with("map_run", id.resource_name())
        }
        E::HandlerNotAvailable(name) => {
            mapped(Code::FailedPrecondition, Reason::HandlerNotAvailable).with("handler", name)
        }
        E::Source(error) => map_source(error),
        E::SourceNotReadable { .. } => mapped(Code::FailedPrecondition, Reason::SourceNotReadable),
        E::Destination(error) => map_destination(error),
        E::NotLeader => mapped(Code::Unavailable, Reason::NotLeader).retry_after(SOON),
        E::LeaderUnreachable { endpoint, .. } => {
            mapped(Code::Unavailable, Reason::NotLeader).with("leader", endpoint).retry_after(SOON)
        }
        E::NotReady { .. } => mapped(Code::Unavailable, Reason::NotReady).retry_after(SOON),
        E::StoreUnavailable(_) => mapped(Code::Unavailable, Reason::StoreUnavailable).retry_after(LATER),
        E::Overloaded { retry_after, .. } => {
            mapped(Code::ResourceExhausted, Reason::Overloaded).retry_after(*retry_after)
        }
        E::MessageTooLarge { limit_bytes } => {
            mapped(Code::ResourceExhausted, Reason::MessageTooLarge).with("limit_bytes", limit_bytes)
        }
        E::WorkerOfAnother(id) => mapped(Code::PermissionDenied, Reason::WorkerOfAnother).with("worker", id),
        E::Unauthenticated => mapped(Code::Unauthenticated, Reason::Unauthenticated),
        E::RoleNotAllowed { role, .. } => {
            mapped(Code::PermissionDenied, Reason::RoleNotAllowed).with("role", role)
        }
        E::UnsupportedVersion { ours, .. } => {
            mapped(Code::FailedPrecondition, Reason::UnsupportedVersion).with("version", ours)
        }
        E::WorkerIdInUse(id) => mapped(Code::AlreadyExists, Reason::WorkerIdInUse).with("worker", id),
        E::OutcomeUnknown(_) => mapped(Code::Unknown, Reason::OutcomeUnknown),
        E::Internal(_) => mapped(Code::Internal, Reason::Internal),
    }
}

fn map_source(error: &ObjectError) -> Mapped {
    let precondition = |reason| mapped(Code::FailedPrecondition, reason);
    match error {
        ObjectError::NotFound { place, .. } => precondition(Reason::SourceNotFound).with("object", place),
        ObjectError::AccessDenied { place, .. } | ObjectError::Credentials { place, .. } => {
            precondition(Reason::SourceAccessDenied).with("object", place)
        }
        ObjectError::Changed { place, .. } => precondition(Reason::SourceChanged).with("object", place),
        ObjectError::TooLarge { place, .. }
        | ObjectError::Invalid { place, .. }
        | ObjectError::WrongAnswer { place, .. } => {
            precondition(Reason::SourceNotReadable).with("object", place)
        }
        ObjectError::Unavailable { after, .. } => object_store_unavailable(*after),
    }
}

fn map_destination(error: &ObjectError) -> Mapped {
    match error {
        ObjectError::NotFound { place, .. }
        | ObjectError::AccessDenied { place, .. }
        | ObjectError::Credentials { place, .. }
        | ObjectError::Changed { place, .. }
        | ObjectError::TooLarge { place, .. }
        | ObjectError::Invalid { place, .. }
        | ObjectError::WrongAnswer { place, .. } => {
            mapped(Code::FailedPrecondition, Reason::DestinationNotWritable).with("object", place)
        }
        ObjectError::Unavailable { after, .. } => object_store_unavailable(*after),
    }
}

fn object_store_unavailable(after: Option<Duration>) -> Mapped {
    mapped(Code::Unavailable, Reason::ObjectStoreUnavailable).retry_after(after.unwrap_or(LATER))
}

fn status(message: &str, mapped: Mapped) -> Status {
    let mut details = details(&mapped);
    if mapped.retry_after.is_some() {
        details.set_retry_info(mapped.retry_after);
    }
    Status::with_error_details(mapped.code, truncated(message, MAX_MESSAGE_BYTES), details)
}

fn details(mapped: &Mapped) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        mapped.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    ErrorDetails::with_error_info(mapped.reason.as_str_name(), ERROR_DOMAIN, metadata)
}

/// Names each wrong field, as long as there is room.
fn bad_request(request: &InvalidRequest) -> Status {
    let mapped = mapped(Code::InvalidArgument, Reason::InvalidRequest);
    let mut details = details(&mapped);
    let mut room = MAX_VIOLATION_BYTES;
    for (i, violation) in request.violations.iter().enumerate() {
        let field = truncated(&violation.field, MAX_METADATA_BYTES);
        let description = truncated(&violation.description, MAX_DESCRIPTION_BYTES);
        let Some(left) = room.checked_sub(field.len() + description.len()) else {
            let more = request.violations.len() - i;
            details
                .add_bad_request_violation("", format!("{more} more fields are wrong; correct these first"));
            break;
        };
        room = left;
        details.add_bad_request_violation(field, description);
    }
    let message = summary(request);
    Status::with_error_details(mapped.code, truncated(&message, MAX_MESSAGE_BYTES), details)
}

fn summary(request: &InvalidRequest) -> String {
    let texts: Vec<String> = request.violations.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Logs the chain; the caller gets an ID to look for, nothing of our insides.
fn internal(source: &(dyn std::error::Error + 'static)) -> Status {
    let error_id = format!("{:016x}", RandomState::new().hash_one(()));
    error!(error_id, error = %Chain(source), "a call failed by a bug, the caller got the id of this line");
    let message = format!("internal error {error_id}; the coordinator's log has the details under this id");
    status(&message, mapped(Code::Internal, Reason::Internal).with("error_id", &error_id))
}
