//! The words for what goes wrong.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use warifu_common::model::{CallFailure, error_name};

use crate::handler::process::describe_end;
use crate::text::tail;

/// Bytes of the log that a failure's cause carries.
const CAUSE_LOG_BYTES: usize = 900;
/// Lines of a stack trace that a failure's cause carries; the cause's own bound cuts long ones.
const CAUSE_STACK_LINES: usize = 8;
/// Characters of an error report that is no JSON.
const SHOWN_REPORT_CHARS: usize = 200;

/// The name of an error whose report names none.
const UNHANDLED: &str = "Lambda.Unhandled";
/// What the process is called in causes.
const SUBJECT: &str = "the function's process";

/// What a runtime reports by `…/error`: `errorType` becomes the failure's name. `error_type` is the header of that name.
pub(super) fn reported(error_type: Option<&str>, body: &[u8]) -> CallFailure {
    let report: Value = serde_json::from_slice(body).unwrap_or_else(|_| {
        let shown = String::from_utf8_lossy(body);
        Value::from(shown.chars().take(SHOWN_REPORT_CHARS).collect::<String>())
    });
    let field = |name: &str| report.get(name).map(shown).filter(|text| !text.is_empty());
    let error = field("errorType").or_else(|| error_type.filter(|name| !name.is_empty()).map(str::to_owned));
    let message = field("errorMessage").or_else(|| report.as_str().map(str::to_owned)).unwrap_or_default();
    // Node's client has `trace` where the others have `stackTrace`.
    let stack = report.get("stackTrace").or_else(|| report.get("trace")).and_then(Value::as_array);
    let lines = stack.into_iter().flatten().map(shown).filter(|line| !line.is_empty());
    let cause = std::iter::once(message).chain(lines.take(CAUSE_STACK_LINES));
    let cause = cause.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
    CallFailure::system(error.unwrap_or_else(|| UNHANDLED.to_owned()), cause.trim())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The process ended `when`, with the last of its log.
pub(super) fn ended(status: Option<ExitStatus>, when: &str, log: &str) -> CallFailure {
    let (error, what) = match status {
        Some(status) => describe_end("Lambda", SUBJECT, status),
        None => ("Lambda.Lost".to_owned(), format!("{SUBJECT} cannot be waited for")),
    };
    CallFailure::system(error, with_log(format!("{what} {when}"), log))
}

/// The process did not ask for an event in time.
pub(super) fn init_timeout(timeout: Duration, log: &str) -> CallFailure {
    let what =
        format!("{SUBJECT} did not ask for an event within {} s (init_timeout)", timeout.as_secs_f64());
    CallFailure::system("Lambda.InitTimeout", with_log(what, log))
}

/// There is no process at all.
pub(super) fn not_started(program: &str, reason: &impl std::fmt::Display) -> CallFailure {
    CallFailure::system("Lambda.NotStarted", format!("cannot start {program}: {reason}"))
}

/// The answer is over `max_response_bytes`.
pub(super) fn response_too_large(size: u64, most: u64) -> CallFailure {
    let cause = format!(
        "the answer has {size} bytes, more than {most} (max_response_bytes); send fewer items or less"
    );
    CallFailure::system("Lambda.ResponseTooLarge", cause)
}

/// One process after another ended without taking the event.
pub(super) fn not_delivered(deliveries: u32) -> CallFailure {
    let cause =
        format!("{deliveries} processes of the function, one after another, ended without taking the event");
    CallFailure::system("Lambda.NotDelivered", cause)
}

/// Nobody waits for the answer any more.
pub(super) fn cancelled() -> CallFailure {
    CallFailure::system(error_name::ABORTED, "the call was cancelled")
}

fn with_log(what: String, log: &str) -> String {
    match tail(log.trim(), CAUSE_LOG_BYTES) {
        "" => what,
        log => format!("{what}: {log}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(header: Option<&str>, body: &str) -> (String, String) {
        let failure = reported(header, body.as_bytes());
        (failure.error, failure.cause)
    }

    #[test]
    fn reports_of_every_client_are_read() {
        let table = [
            (
                r#"{"errorMessage": "no such user", "errorType": "ValueError", "stackTrace": ["  File \"app.py\", line 3\n    raise\n"]}"#,
                ("ValueError", "no such user\n  File \"app.py\", line 3\n    raise"),
            ),
            (
                r#"{"errorType": "TypeError", "errorMessage": "x", "trace": ["TypeError: x", "    at handler (app.mjs:2:9)"]}"#,
                ("TypeError", "x\nTypeError: x\n    at handler (app.mjs:2:9)"),
            ),
            (
                r#"{"errorType": "&alloc::string::String", "errorMessage": "m"}"#,
                ("&alloc::string::String", "m"),
            ),
            (r#"{"errorMessage": {"code": 1}}"#, ("Header.Type", r#"{"code":1}"#)),
            ("", ("Header.Type", "")),
            ("not JSON", ("Header.Type", "not JSON")),
            ("[]", ("Header.Type", "")),
        ];
        for (body, (error, cause)) in table {
            assert_eq!(told(Some("Header.Type"), body), (error.to_owned(), cause.to_owned()), "{body}");
        }
        assert_eq!(told(None, "{}").0, "Lambda.Unhandled");
    }

    #[test]
    fn the_log_is_shown_from_its_end() {
        let failure = init_timeout(Duration::from_secs(10), &format!("first\n{}last\n", "x".repeat(1000)));
        assert!(failure.cause.starts_with("the function's process did not ask for an event within 10 s"));
        assert!(failure.cause.ends_with("xlast") && !failure.cause.contains("first"));
    }
}
