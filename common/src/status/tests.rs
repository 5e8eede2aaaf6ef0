//! Errors on their way to a status and back.

use std::time::Duration;

use tonic::{Code, Status};
use warifu_model::{HandlerName, MapRunId, MapRunState, WorkerId};

use super::{ApiError, CallError};
use crate::object_store::{MissingThing, ObjectAction, ObjectError};
use crate::wire::lease_stream::InvalidMessage;
use crate::wire::{FieldViolation, InvalidRequest};

fn call_error(error: ApiError) -> CallError {
    CallError::from(&Status::from(error))
}

fn id() -> MapRunId {
    MapRunId::new("run-1").unwrap()
}

fn missing() -> ObjectError {
    let place = "s3://input/a.csv".into();
    ObjectError::NotFound { missing: MissingThing::Object, place, detail: String::new() }
}

fn down() -> ObjectError {
    let (place, source) = ("s3://input/a.csv".into(), "connection refused".into());
    ObjectError::Unavailable { action: ObjectAction::Pin, place, after: None, source }
}

#[test]
fn every_error_has_its_code_and_reason() {
    let wrong_state =
        ApiError::WrongState { map_run: id(), state: MapRunState::Running, rule: "stop it".into() };
    let overloaded =
        ApiError::Overloaded { what: "too many runs".into(), retry_after: Duration::from_secs(9) };
    let version = ApiError::UnsupportedVersion { theirs: "9".into(), ours: "0.1".into() };
    let role = ApiError::RoleNotAllowed { role: "viewer".into(), method: "StopMapRun".into() };
    let worker = WorkerId::new("w1").unwrap();
    let message = InvalidMessage { field: "call", reason: "is not known".into() };
    let table = [
        (ApiError::Invalid(InvalidRequest::one("a", "b")), Code::InvalidArgument, "INVALID_REQUEST"),
        (ApiError::InvalidPageToken, Code::InvalidArgument, "INVALID_PAGE_TOKEN"),
        (ApiError::NotSupported { what: "x".into() }, Code::Unimplemented, "NOT_SUPPORTED"),
        (ApiError::InvalidMessage(message), Code::InvalidArgument, "INVALID_MESSAGE"),
        (ApiError::NoSuchMapRun(id()), Code::NotFound, "MAP_RUN_NOT_FOUND"),
        (ApiError::NoSuchWorker("w1".into()), Code::NotFound, "WORKER_NOT_FOUND"),
        (ApiError::MapRunExists(id()), Code::AlreadyExists, "MAP_RUN_EXISTS"),
        (ApiError::MapRunIdUsedBefore(id()), Code::AlreadyExists, "MAP_RUN_EXISTS"),
        (wrong_state, Code::FailedPrecondition, "WRONG_STATE"),
        (ApiError::NothingToRedrive(id()), Code::FailedPrecondition, "NOTHING_TO_REDRIVE"),
        (
            ApiError::HandlerNotAvailable(HandlerName::new("h").unwrap()),
            Code::FailedPrecondition,
            "HANDLER_NOT_AVAILABLE",
        ),
        (ApiError::Source(missing()), Code::FailedPrecondition, "SOURCE_NOT_FOUND"),
        (ApiError::Source(down()), Code::Unavailable, "OBJECT_STORE_UNAVAILABLE"),
        (ApiError::SourceNotReadable { cause: "x".into() }, Code::FailedPrecondition, "SOURCE_NOT_READABLE"),
        (ApiError::Destination(missing()), Code::FailedPrecondition, "DESTINATION_NOT_WRITABLE"),
        (ApiError::NotLeader, Code::Unavailable, "NOT_LEADER"),
        (ApiError::NotReady { doing: "starting" }, Code::Unavailable, "NOT_READY"),
        (ApiError::StoreUnavailable("locked".into()), Code::Unavailable, "STORE_UNAVAILABLE"),
        (overloaded, Code::ResourceExhausted, "OVERLOADED"),
        (ApiError::Unauthenticated, Code::Unauthenticated, "UNAUTHENTICATED"),
        (role, Code::PermissionDenied, "ROLE_NOT_ALLOWED"),
        (ApiError::WorkerOfAnother(worker.clone()), Code::PermissionDenied, "WORKER_OF_ANOTHER"),
        (version, Code::FailedPrecondition, "UNSUPPORTED_VERSION"),
        (ApiError::WorkerIdInUse(worker), Code::AlreadyExists, "WORKER_ID_IN_USE"),
        (ApiError::OutcomeUnknown("timeout".into()), Code::Unknown, "OUTCOME_UNKNOWN"),
        (ApiError::Internal("oops".into()), Code::Internal, "INTERNAL"),
    ];
    for (error, code, reason) in table {
        let text = error.to_string();
        let read = call_error(error);
        assert_eq!((read.code, read.reason.as_deref()), (code, Some(reason)), "{text}");
        let waiting_helps = matches!(code, Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(read.retry_after.is_some(), waiting_helps, "{text}");
    }
}

#[test]
fn each_wrong_field_reaches_the_caller() {
    let violations = vec![
        FieldViolation::new("spec.item_reader.bucket", "is required"),
        FieldViolation::new("", "takes too much"),
    ];
    let read = call_error(ApiError::Invalid(InvalidRequest { violations: violations.clone() }));
    assert_eq!(read.violations, violations);
    assert_eq!(
        read.to_string(),
        "the request is not valid\n  spec.item_reader.bucket: is required\n  takes too much"
    );
}

#[test]
fn whatever_the_request_held_the_headers_stay_small() {
    let violation = FieldViolation::new("é".repeat(5000), "ü".repeat(5000));
    let status = Status::from(ApiError::Invalid(InvalidRequest { violations: vec![violation; 500] }));
    assert!(status.message().len() <= 1024);
    assert!(status.details().len() <= 8 * 1024, "{}", status.details().len());
    let read = CallError::from(&status);
    assert!(read.violations.last().unwrap().description.contains("more fields are wrong"));
    let long = ApiError::NoSuchWorker("x".repeat(100_000));
    assert!(Status::from(long).details().len() <= 4096);
}

#[test]
fn an_internal_error_says_nothing_but_its_id() {
    let read = call_error(ApiError::Internal("password is hunter2".into()));
    assert!(!read.message.contains("hunter2"));
    assert!(read.message.contains(&read.metadata["error_id"]));
}

#[test]
fn an_error_of_a_peer_without_details_is_readable_too() {
    let read = CallError::from(&Status::unavailable("tcp connect error"));
    assert!(read.is_unreachable());
    assert_eq!(read.to_string(), "tcp connect error");
    assert_eq!(
        CallError::from(&Status::new(Code::NotFound, "")).to_string(),
        "the call failed: Some requested entity was not found"
    );
    assert!(!call_error(ApiError::NoSuchMapRun(id())).is_unreachable());
    let waiting = call_error(ApiError::NotLeader);
    assert_eq!(
        waiting.to_string(),
        "this coordinator does not lead, and no leader is known yet\ntry again in 1 s"
    );
}
