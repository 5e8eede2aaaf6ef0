//! `type = "http"`: a service that gets batches by POST.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;

use super::event_format::{self, EventFormat};
use crate::config::parts::{Secret, serialize_duration};
use crate::config::section::Section;

#[cfg(test)]
mod tests;
mod url;

pub use self::url::HttpUrl;

/// Until a connection is ready for a request, TLS included: a service of the same network answers within milliseconds.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any batch should take.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(86_400);
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// An answer is held in memory, once for each slot.
const DEFAULT_RESPONSE_BYTES: u64 = 16 << 20;
const LEAST_RESPONSE_BYTES: u64 = 1 << 10;
const MAX_RESPONSE_BYTES: u64 = 256 << 20;

/// A short overload passes, and a slot is not held for long.
const DEFAULT_RETRIES: u64 = 2;
const MAX_RETRIES: u64 = 10;

/// What servers commonly take: they refuse larger requests before anybody reads them.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 << 10;

/// Headers that the worker writes itself, or that belong to the connection.
const OWN_HEADERS: [HeaderName; 14] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ACCEPT_ENCODING,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("warifu-deadline"),
];

/// A service that is called for each batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpConfig {
    /// Where it is.
    pub url: HttpUrl,
    /// How its answers tell success from failure.
    pub protocol: HttpProtocol,
    /// The JSON that it gets and answers.
    #[serde(flatten)]
    pub event_format: EventFormat,
    /// Authorities that its certificate may come from, as PEM. Absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Until a connection is ready for a request.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_timeout: Duration,
    /// One request and its whole answer. Absent: as long as the attempt has.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_optional_duration")]
    pub request_timeout: Option<Duration>,
    /// Largest answer that is taken, in bytes.
    pub max_response_bytes: u64,
    /// Requests after the first one within one attempt, where the service was not reached or asked to come later.
    pub retries: u32,
    /// Headers of every request by their names in lower case.
    pub headers: BTreeMap<String, Secret>,
}

/// How answers tell success from failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpProtocol {
    /// By their status.
    Plain,
    /// As AWS's emulator of Lambda: status 200 also for errors, which have a form of their own.
    Lambda,
}

const PROTOCOLS: [(&str, HttpProtocol); 2] =
    [("plain", HttpProtocol::Plain), ("lambda", HttpProtocol::Lambda)];

fn serialize_optional_duration<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}

pub(super) fn read(mut section: Section<'_>) -> Option<HttpConfig> {
    let url = read_url(&mut section);
    let protocol = section.choice("protocol", &PROTOCOLS).unwrap_or(HttpProtocol::Plain);
    let event_format = event_format::read(&mut section, default_format(protocol));
    let headers = read_headers(&mut section);
    let authorized = url.as_ref().is_some_and(|url| url.authorization().is_some());
    if authorized && headers.contains_key(header::AUTHORIZATION.as_str()) {
        section.problem("headers", "has an Authorization, and the url names a user; keep one of them");
    }
    let ca_file = section.path("ca_file");
    if ca_file.is_some() && url.as_ref().is_some_and(|url| !url.is_https()) {
        section.problem("ca_file", "is only for an https:// url");
    }
    let connect_timeout = timeout(&mut section, "connect_timeout", MAX_CONNECT_TIMEOUT);
    let request_timeout = timeout(&mut section, "request_timeout", MAX_REQUEST_TIMEOUT);
    let max_response_bytes = section.integer("max_response_bytes", LEAST_RESPONSE_BYTES, MAX_RESPONSE_BYTES);
    let retries = section.integer("retries", 0, MAX_RETRIES).unwrap_or(DEFAULT_RETRIES);
    section.finish();
    Some(HttpConfig {
        url: url?,
        protocol,
        event_format,
        ca_file,
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        request_timeout,
        max_response_bytes: max_response_bytes.unwrap_or(DEFAULT_RESPONSE_BYTES),
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        headers,
    })
}

/// Its text is never repeated: it may hold secrets.
fn read_url(section: &mut Section<'_>) -> Option<HttpUrl> {
    let text = section.required_text("url")?;
    HttpUrl::parse(&text).map_err(|reason| section.problem("url", reason)).ok()
}

fn default_format(protocol: HttpProtocol) -> EventFormat {
    match protocol {
        HttpProtocol::Plain => EventFormat::Warifu,
        HttpProtocol::Lambda => EventFormat::States { partial_failures: false },
    }
}

fn timeout(section: &mut Section<'_>, key: &'static str, most: Duration) -> Option<Duration> {
    let timeout = section.duration(key)?;
    if !(LEAST_TIMEOUT..=most).contains(&timeout) {
        section.problem(key, format!("must be from 1ms to {}s", most.as_secs()));
        return None;
    }
    Some(timeout)
}

fn read_headers(section: &mut Section<'_>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    for (name, value) in section.text_map("headers") {
        match checked_header(&name, &value) {
            Ok(lower_case) if headers.contains_key(lower_case.as_str()) => {
                section.problem("headers", format!("names {lower_case} twice; letters' case does not count"));
            }
            Ok(lower_case) => drop(headers.insert(lower_case.as_str().to_owned(), Secret::new(value))),
            Err(reason) => section.problem("headers", format!("{name:?} {reason}")),
        }
    }
    if headers.len() > MAX_HEADERS {
        section.problem("headers", format!("has more than {MAX_HEADERS}"));
    }
    headers
}

fn checked_header(name: &str, value: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is no name of a header".to_owned())?;
    if OWN_HEADERS.contains(&name) {
        return Err("cannot be set: it is written for each request".to_owned());
    }
    if value.len() > MAX_HEADER_BYTES {
        return Err(format!("has a value of more than {MAX_HEADER_BYTES} bytes"));
    }
    HeaderValue::from_str(value)
        .map_err(|_| "has a value with other characters than visible ASCII".to_owned())?;
    Ok(name)
}
