//! The audit log: one line for every call that changes something and for every call that is refused.
//!
//! Lines have the target `warifu::audit`. They name who, what and with which outcome, and never hold what was sent.

use std::sync::{Arc, OnceLock};

use tonic::{Code, Request};
use tracing::{info, warn};

use super::Principal;

/// The target of every line.
const TARGET: &str = "warifu::audit";

/// Longest method or resource: callers choose both.
const MAX_TEXT_BYTES: usize = 256;

/// What a call is about; the service says it, once it has read the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Resource(Arc<OnceLock<String>>);

impl Resource {
    pub(super) fn name(&self) -> &str {
        self.0.get().map_or("-", String::as_str)
    }
}

/// Says what a call is about.
pub(crate) fn name_resource<T>(request: &Request<T>, name: &str) {
    if let Some(resource) = request.extensions().get::<Resource>() {
        // Whoever says it first is right.
        let _ = resource.0.set(short(name).to_owned());
    }
}

/// Writes the line of a call.
pub(crate) fn record(principal: &Principal, method: &str, resource: &str, outcome: Code) {
    let role = principal.role.map_or("-", super::Role::name);
    let (principal, method, resource) = (&*principal.name, short(method), short(resource));
    let is_refused = is_refusal(outcome);
    let outcome = code_name(outcome);
    if is_refused {
        warn!(target: TARGET, principal, role, method, resource, outcome, "a call was refused");
    } else {
        info!(target: TARGET, principal, role, method, resource, outcome, "a call was answered");
    }
}

/// True if the caller was turned away, whatever it asked for.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted)
}

/// A code as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}
