//! `google.rpc.Status` as the caller reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::ERROR_DOMAIN;
use crate::error_chain::Chain;
use crate::wire::FieldViolation;

/// Why a call failed, ready to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The gRPC code.
    pub code: Code,
    /// What happened and what to do.
    pub message: String,
    /// A name of `ErrorReason`, if Warifu answered; a transport or proxy sends none.
    pub reason: Option<String>,
    /// The particulars of the reason.
    pub metadata: BTreeMap<String, String>,
    /// The fields that are wrong.
    pub violations: Vec<FieldViolation>,
    /// When to try again, if that helps.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// True if no coordinator could answer: the network, or one that starts, stops or does not lead.
    pub fn is_unreachable(&self) -> bool {
        match self.code {
            Code::Unavailable => true,
            Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
                self.reason.is_none()
            }
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        }
    }
}

impl From<&Status> for CallError {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
        CallError {
            code: status.code(),
            message: message(status),
            reason: info.map(|info| info.reason.clone()),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            violations: violations.iter().map(|v| FieldViolation::new(&v.field, &v.description)).collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

/// The status's own text; of an error of the transport its causes too, which say what was tried.
fn message(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => Chain(source).to_string(),
        None if status.message().is_empty() => format!("the call failed: {}", status.code()),
        None => status.message().to_owned(),
    }
}

impl fmt::Display for CallError {
    /// The message, or one line for each wrong field; then when to try again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violations[..] {
            [] => f.write_str(&self.message)?,
            violations => {
                f.write_str("the request is not valid")?;
                for violation in violations {
                    write!(f, "\n  {violation}")?;
                }
            }
        }
        match self.retry_after {
            Some(delay) => write!(f, "\ntry again in {} s", delay.as_secs_f64().ceil()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CallError {}
