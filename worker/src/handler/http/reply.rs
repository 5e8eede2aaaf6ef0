//! What a service's answer means, by its status and its body.

use http::StatusCode;
use http::header::{self, HeaderMap};
use serde::Deserialize;
use serde_json::Value;
use warifu_common::config::handlers::HttpProtocol;
use warifu_common::model::{CallFailure, error_name};

use super::exchange::Reply;
use crate::classify::invalid_output;

/// Lambda's own sign that the function failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// How the text begins that AWS's emulator answers with status 200 when a function takes too long.
const EMULATOR_TIMEOUT: &[u8] = b"Task timed out after";

/// The body to read by the event format, or why the call failed.
pub(super) fn read(protocol: HttpProtocol, reply: Reply, max_bytes: u64) -> Result<Vec<u8>, CallFailure> {
    let is_success = match protocol {
        HttpProtocol::Plain => reply.status.is_success(),
        HttpProtocol::Lambda => reply.status == StatusCode::OK,
    };
    if !is_success {
        return Err(status_failure(&reply));
    }
    if let Some(encoding) = encoding(&reply.headers) {
        let cause =
            format!("the answer is encoded as {encoding:?}, which was not asked for; answer with plain JSON");
        return Err(invalid_output(cause));
    }
    let Some(body) = reply.body else {
        return Err(invalid_output(format!(
            "the answer has more than {max_bytes} bytes, max_response_bytes"
        )));
    };
    match protocol {
        HttpProtocol::Plain => Ok(body),
        HttpProtocol::Lambda => read_function(&reply.headers, body),
    }
}

/// An encoding that is none of plain text.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let encoding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("?");
    (!encoding.trim().is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

/// A function's output, or how it failed.
fn read_function(headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, CallFailure> {
    if let Some(sign) = headers.get(FUNCTION_ERROR) {
        let failed = NamedError::read(&body);
        let sign = String::from_utf8_lossy(sign.as_bytes()).into_owned();
        return Err(failed.map_or_else(
            || CallFailure::system(error_name::TASK_FAILED, with_body(sign, &body)),
            NamedError::failure,
        ));
    }
    if body.trim_ascii().is_empty() {
        return Err(invalid_output(
            "the function answered with nothing; a function's output is JSON, or null",
        ));
    }
    if body.starts_with(EMULATOR_TIMEOUT) {
        return Err(CallFailure::system("Sandbox.Timedout", text_of(&body)));
    }
    match NamedError::read(&body).filter(NamedError::is_complete) {
        Some(error) => Err(error.failure()),
        None => Ok(body),
    }
}

/// A response of another status than those of success.
fn status_failure(reply: &Reply) -> CallFailure {
    let status = reply.status;
    let mut cause = format!("the service answered {status}");
    if status.is_redirection() {
        cause += &redirect(&reply.headers);
    }
    if let Some(retry_after) = reply.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()) {
        cause += &format!(" (Retry-After: {retry_after})");
    }
    let body =
        if encoding(&reply.headers).is_some() { &[] } else { reply.body.as_deref().unwrap_or_default() };
    let cause = match NamedError::read(body) {
        Some(error) => format!("{cause}: {}", error.shown()),
        None => with_body(cause, body),
    };
    let error = format!("Http.{}", status.as_u16());
    let is_about_time = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if status.is_client_error() && !is_about_time {
        CallFailure::business(error, cause)
    } else {
        CallFailure::system(error, cause)
    }
}

/// Where a redirect leads: the host alone, as paths and queries may hold secrets.
fn redirect(headers: &HeaderMap) -> String {
    let advice = "redirects are not followed: put the address that answers into the handler's url";
    let Some(location) = headers.get(header::LOCATION).and_then(|location| location.to_str().ok()) else {
        return format!("; {advice}");
    };
    let absolute = if location.starts_with("//") { format!("http:{location}") } else { location.to_owned() };
    match absolute.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) {
        Some(host) => format!(" and points to the host {host}; {advice}"),
        None => format!(" and points to the same host; {advice}"),
    }
}

/// The form in which functions, and many services, tell what went wrong.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedError {
    error_type: Option<Value>,
    error_message: Option<Value>,
}

impl NamedError {
    /// `None` if nothing of it is there.
    fn read(body: &[u8]) -> Option<Self> {
        if !body.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let error: Self = serde_json::from_slice(body).ok()?;
        (error.error_type.is_some() || error.error_message.is_some()).then_some(error)
    }

    /// Whether it can be nothing else than an error.
    fn is_complete(&self) -> bool {
        self.error_type.as_ref().is_some_and(Value::is_string) && self.error_message.is_some()
    }

    fn failure(self) -> CallFailure {
        let name = shown(self.error_type.as_ref());
        let name = if name.is_empty() { error_name::TASK_FAILED.to_owned() } else { name };
        CallFailure::system(name, shown(self.error_message.as_ref()))
    }

    fn shown(&self) -> String {
        let (name, message) = (shown(self.error_type.as_ref()), shown(self.error_message.as_ref()));
        if name.is_empty() || message.is_empty() { name + &message } else { format!("{name}: {message}") }
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn with_body(cause: String, body: &[u8]) -> String {
    let text = text_of(body);
    if text.is_empty() { cause } else { format!("{cause}: {text}") }
}

/// A body that is text; what is none is not shown. One that was cut may end within a character.
fn text_of(body: &[u8]) -> String {
    let text = body.utf8_chunks().next().map_or("", |chunk| chunk.valid()).trim();
    let is_text = text.chars().all(|c| !c.is_control() || c.is_whitespace());
    if is_text { text.to_owned() } else { String::new() }
}
