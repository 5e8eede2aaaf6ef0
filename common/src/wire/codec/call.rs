//! Calls as JSON: a method's request from text, its responses to text, and a failure as the Connect protocol words it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value as Json, json};
use std::sync::LazyLock;
use tonic::{Code, Status};
use tonic_types::pb;

use super::decode::Decoder;
use super::{DESCRIPTORS, encode, tree};
use crate::status::ERROR_DETAILS_DESCRIPTOR_SET;
use crate::wire::InvalidRequest;

/// `google.rpc`'s details, of which the failures of calls consist.
static DETAILS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(ERROR_DETAILS_DESCRIPTOR_SET).expect("tonic compiled these descriptors")
});

/// A method of the API that clients call: not the workers' stream.
#[derive(Debug, Clone)]
pub struct Method {
    request: MessageDescriptor,
    response: MessageDescriptor,
    is_streaming: bool,
}

impl Method {
    /// The method at `/package.Service/Method`, if requests are single messages there.
    pub fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = DESCRIPTORS.get_service_by_name(service)?;
        let method = service.methods().find(|known| known.name() == method)?;
        (!method.is_client_streaming()).then(|| Self {
            request: method.input(),
            response: method.output(),
            is_streaming: method.is_server_streaming(),
        })
    }

    /// True if it answers with any number of messages.
    pub fn is_streaming(&self) -> bool {
        self.is_streaming
    }

    /// The request's bytes from its JSON, at most [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES). Every wrong field is named.
    pub fn encode_request(&self, text: &[u8]) -> Result<Vec<u8>, InvalidRequest> {
        let text = std::str::from_utf8(text).map_err(|error| InvalidRequest::one("", error.to_string()))?;
        // YAML is for job files.
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| InvalidRequest::one("", format!("this is no JSON: {error}")))?;
        let root = tree::parse(text)?;
        let mut decoder = Decoder::default();
        let message = decoder.message(&self.request, &root, "");
        Ok(decoder.violations.into_result(message)?.encode_to_vec())
    }

    /// The JSON of a response from its bytes; `None` if they are none of its kind.
    pub fn decode_response(&self, bytes: &[u8]) -> Option<Json> {
        let message = DynamicMessage::decode(self.response.clone(), bytes).ok()?;
        Some(encode::message(&message))
    }
}

/// A failure as the Connect protocol words it. Its details carry their JSON beside their bytes, for people who read them.
pub fn failure_to_json(status: &Status) -> Json {
    let mut failure = json!({ "code": connect_code(status.code()), "message": status.message() });
    let details = pb::Status::decode(status.details()).map_or_else(|_| Vec::new(), |status| status.details);
    if !details.is_empty() {
        failure["details"] = details.iter().map(detail_to_json).collect();
    }
    failure
}

fn detail_to_json(detail: &prost_types::Any) -> Json {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    let mut json = json!({ "type": name, "value": STANDARD_NO_PAD.encode(&detail.value) });
    let kind = DETAILS.get_message_by_name(name);
    if let Some(message) = kind.and_then(|kind| DynamicMessage::decode(kind, &*detail.value).ok()) {
        json["debug"] = encode::message(&message);
    }
    json
}

/// The name of a code, as the Connect protocol spells it.
fn connect_code(code: Code) -> &'static str {
    match code {
        // Nothing fails with it.
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ApiError;
    use crate::wire::v1;

    #[test]
    fn a_request_is_read_strictly_and_a_response_written_as_the_command_line_does() {
        let method = Method::at("/warifu.v1.MapRunService/GetMapRun").unwrap();
        assert!(!method.is_streaming());
        let bytes = method.encode_request(br#"{"name": "mapRuns/r"}"#).unwrap();
        assert_eq!(v1::GetMapRunRequest::decode(&*bytes).unwrap().name, "mapRuns/r");
        let wrong = method.encode_request(br#"{"nam": "mapRuns/r", "name": 7}"#).unwrap_err();
        let fields: Vec<_> = wrong.violations.iter().map(|violation| violation.to_string()).collect();
        assert_eq!(fields.len(), 2, "{fields:?}");
        for text in [&b"name: mapRuns/r"[..], b"", b"{} {}", b"\xff"] {
            assert!(method.encode_request(text).is_err(), "{text:?}");
        }

        let map_run = v1::MapRun { name: "mapRuns/r".into(), ..Default::default() };
        let json = method.decode_response(&map_run.encode_to_vec()).unwrap();
        assert_eq!(json, super::super::to_json(&map_run));
        assert_eq!(method.decode_response(b"\xff"), None);
    }

    #[test]
    fn only_methods_that_clients_call_are_found() {
        assert!(Method::at("/warifu.v1.MapRunService/WatchMapRun").unwrap().is_streaming());
        assert!(!Method::at("/externalscaler.ExternalScaler/GetMetrics").unwrap().is_streaming());
        for path in ["/warifu.v1.WorkerService/Connect", "/warifu.v1.MapRunService/Get", "/", "", "/a/b"] {
            assert!(Method::at(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_failure_names_its_code_and_shows_its_details() {
        let status = Status::from(ApiError::Invalid(InvalidRequest::one("spec.label", "is too long")));
        let failure = failure_to_json(&status);
        assert_eq!(failure["code"], "invalid_argument");
        assert!(failure["message"].as_str().unwrap().contains("is too long"), "{failure}");
        let debug: Vec<_> = failure["details"].as_array().unwrap().iter().map(|d| &d["debug"]).collect();
        assert!(debug.iter().any(|detail| detail["reason"].is_string()), "{failure}");
        assert!(
            debug.iter().any(|detail| detail["fieldViolations"][0]["field"] == "spec.label"),
            "{failure}"
        );
        assert_eq!(failure_to_json(&Status::not_found("x")), json!({"code": "not_found", "message": "x"}));
    }
}
