//! What comes back.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Number, Value};
use warifu_common::config::handlers::EventFormat;
use warifu_common::model::{CallFailure, error_name};

use crate::classify::invalid_output;
use crate::handler::{BatchCall, FailedItem, HandlerAnswer, Outputs};

/// How the documented answers look, for messages.
const FORMS: &str = "answer with null, with one element per item in an array or under \"results\", or with \"batchItemFailures\"";

/// Reads the answer to a batch's event.
pub(in crate::handler) fn read_reply(format: EventFormat, reply: &[u8], call: &BatchCall) -> HandlerAnswer {
    let read = match format {
        EventFormat::Warifu => read_own(reply, call),
        EventFormat::States { partial_failures } => read_states(reply, call, partial_failures),
    };
    read.unwrap_or_else(HandlerAnswer::Failed)
}

/// One JSON text without line breaks; nothing at all is `null`.
pub(super) fn compact_reply(reply: &[u8]) -> Result<Vec<u8>, CallFailure> {
    if reply.trim_ascii().is_empty() {
        return Ok(b"null".to_vec());
    }
    let IgnoredAny = serde_json::from_slice(reply).map_err(|error| not_json(&error))?;
    Ok(compact(reply))
}

fn read_own(reply: &[u8], call: &BatchCall) -> Result<HandlerAnswer, CallFailure> {
    let (results, failures) = match reply.trim_ascii() {
        b"" | b"null" => return Ok(HandlerAnswer::Succeeded),
        array @ [b'[', ..] => (Some(elements(array)?), Vec::new()),
        object => {
            let own: OwnReply<'_> = serde_json::from_slice(object).map_err(|error| {
                invalid_output(format!("the answer is none that is known ({error}); {FORMS}"))
            })?;
            (own.results, own.batch_item_failures.unwrap_or_default())
        }
    };
    if let Some(results) = &results
        && results.len() != call.item_count()
    {
        let (got, wanted) = (results.len(), call.item_count());
        return Err(invalid_output(format!(
            "the answer has {got} results for {wanted} items; give one for each"
        )));
    }
    let outputs = results.map(|results| outputs_of(&results));
    Ok(HandlerAnswer::Answered { outputs, failures: failed_items(failures, call)? })
}

/// Whatever was answered is the batch's output. One element per item is each item's own; anything else stands with the
/// first item that succeeded.
fn read_states(reply: &[u8], call: &BatchCall, partial_failures: bool) -> Result<HandlerAnswer, CallFailure> {
    let reply = compact_reply(reply)?;
    let failures = if partial_failures {
        // Only an object can name failures.
        let named = serde_json::from_slice::<StatesReply>(&reply);
        let named = if reply.starts_with(b"{") {
            named.map_err(|error| invalid_output(format!("the answer's batchItemFailures: {error}")))?
        } else {
            StatesReply::default()
        };
        failed_items(named.batch_item_failures.unwrap_or_default(), call)?
    } else {
        Vec::new()
    };
    if let Some(results) = elements(&reply).ok().filter(|results| results.len() == call.item_count()) {
        return Ok(HandlerAnswer::Answered { outputs: Some(outputs_of(&results)), failures });
    }
    let first =
        (0..call.item_count()).find(|position| failures.iter().all(|failed| failed.position != *position));
    let outputs = first.map(|position| Outputs::of_batch(&reply, position, call.item_count()));
    Ok(HandlerAnswer::Answered { outputs, failures })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OwnReply<'a> {
    #[serde(borrow)]
    results: Option<Vec<&'a RawValue>>,
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct StatesReply {
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: Identifier,
    #[serde(flatten)]
    failure: NamedFailure,
}

/// Why an item failed, in a handler's own words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedFailure {
    error_type: Option<String>,
    error_message: Option<Value>,
    #[serde(default)]
    retryable: bool,
}

/// An item's global index; queues' handlers are used to texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Identifier {
    Number(Number),
    Text(String),
}

impl Identifier {
    fn index(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            Self::Text(text) => text.parse().ok(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
        }
    }
}

/// An item's failure under the name that its handler gives.
pub(crate) fn item_failure(error_type: Option<String>, message: String, retryable: bool) -> CallFailure {
    let error = error_type.unwrap_or_else(|| error_name::TASK_FAILED.to_owned());
    CallFailure { retryable, ..CallFailure::business(error, message) }
}

fn failed_items(failures: Vec<ItemFailure>, call: &BatchCall) -> Result<Vec<FailedItem>, CallFailure> {
    let failed_item = |ItemFailure { item_identifier, failure }: ItemFailure| {
        let index = item_identifier.index();
        // Items are sent in the order of their indexes.
        let position = index.and_then(|index| position_of(call, index)).ok_or_else(|| {
            let shown = item_identifier.shown();
            invalid_output(format!(
                "batchItemFailures names the item {shown}, which is no index of an item that was sent"
            ))
        })?;
        let message = match failure.error_message {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        Ok(FailedItem { position, failure: item_failure(failure.error_type, message, failure.retryable) })
    };
    failures.into_iter().map(failed_item).collect()
}

fn position_of(call: &BatchCall, index: u64) -> Option<usize> {
    let (mut low, mut high) = (0, call.item_count());
    while low < high {
        let middle = low.midpoint(high);
        match call.item(middle).index().cmp(&index) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn elements(array: &[u8]) -> Result<Vec<&RawValue>, CallFailure> {
    serde_json::from_slice(array).map_err(|error| not_json(&error))
}

fn outputs_of(results: &[&RawValue]) -> Outputs {
    let mut outputs = Outputs::new();
    results.iter().for_each(|result| outputs.push(&compact(result.get().as_bytes())));
    outputs
}

fn not_json(error: &serde_json::Error) -> CallFailure {
    invalid_output(format!("the answer is not JSON: {error}"))
}

/// A JSON text without the white space between its parts; numbers keep their digits.
fn compact(json: &[u8]) -> Vec<u8> {
    let mut within_text = false;
    let mut escaped = false;
    let mut kept = Vec::with_capacity(json.len());
    for &byte in json {
        if within_text {
            within_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            within_text = byte == b'"';
        }
        kept.push(byte);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::call_of;

    const OWN: EventFormat = EventFormat::Warifu;
    const STATES: EventFormat = EventFormat::States { partial_failures: false };
    const PARTIAL: EventFormat = EventFormat::States { partial_failures: true };

    /// The answer for items 700 and 701 in short: `=` an output, `!` a failure, `?` a malformed answer.
    fn shown(format: EventFormat, reply: &str) -> String {
        let call = call_of("a\n1\n2\n");
        match read_reply(format, reply.as_bytes(), &call) {
            HandlerAnswer::Succeeded => "all".to_owned(),
            HandlerAnswer::Failed(failure) => {
                assert_eq!(failure.error, error_name::INVALID_HANDLER_OUTPUT);
                "?".to_owned()
            }
            HandlerAnswer::RunFailed(fault) => panic!("{fault:?}"),
            HandlerAnswer::Answered { outputs, failures } => {
                let item = |position| {
                    if let Some(FailedItem { failure, .. }) = failures.iter().find(|f| f.position == position)
                    {
                        let again = if failure.retryable { "+" } else { "" };
                        return format!("!{}:{}{again}", failure.error, failure.cause);
                    }
                    let output = outputs.as_ref().and_then(|outputs| outputs.get(position));
                    output.map_or("=".to_owned(), |output| format!("={}", String::from_utf8_lossy(output)))
                };
                format!("{} {}", item(0), item(1))
            }
        }
    }

    #[test]
    fn our_own_answers_say_something_of_each_item_or_of_none() {
        let table = [
            ("", "all"),
            (" null\n", "all"),
            ("[1, {\"a\" : 1.50} ]", "=1 ={\"a\":1.50}"),
            ("[1]", "?"),
            (
                "{\"results\": [\"a\\\" b\",\n 12345678901234567890123]}",
                "=\"a\\\" b\" =12345678901234567890123",
            ),
            ("{\"results\": [1, 2, 3]}", "?"),
            ("{\"batchItemFailures\": []}", "= ="),
            (
                r#"{"batchItemFailures": [{"itemIdentifier": 701, "errorType": "Bad", "errorMessage": "m", "retryable": true}]}"#,
                "= !Bad:m+",
            ),
            (
                r#"{"results": [1, null], "batchItemFailures": [{"itemIdentifier": "701"}]}"#,
                "=1 !States.TaskFailed:",
            ),
            (
                r#"{"batchItemFailures": [{"itemIdentifier": 700, "errorMessage": {"a": 1}}]}"#,
                "!States.TaskFailed:{\"a\":1} =",
            ),
            (r#"{"batchItemFailures": [{"itemIdentifier": 7}]}"#, "?"),
            (r#"{"batchItemFailures": [{"itemIdentifier": -1}]}"#, "?"),
            (r#"{"batchItemFailures": [{}]}"#, "?"),
            (r#"{"ok": true}"#, "?"),
            ("1", "?"),
            ("\"text\"", "?"),
            ("[1, 2", "?"),
        ];
        for (reply, expected) in table {
            assert_eq!(shown(OWN, reply), expected, "{reply}");
        }
    }

    #[test]
    fn any_json_is_an_output_to_states() {
        let named = r#"{"n": 2, "batchItemFailures": [{"itemIdentifier": "700", "errorType": "Bad"}]}"#;
        let table = [
            (STATES, "", "=null =null"),
            (STATES, "{\"n\": 2}", "={\"n\":2} =null"),
            (STATES, "[\"a\", 2]", "=\"a\" =2"),
            (STATES, "[1, 2, 3]", "=[1,2,3] =null"),
            (STATES, "{", "?"),
            (
                STATES,
                named,
                "={\"n\":2,\"batchItemFailures\":[{\"itemIdentifier\":\"700\",\"errorType\":\"Bad\"}]} =null",
            ),
            (PARTIAL, "{\"n\": 2}", "={\"n\":2} =null"),
            (PARTIAL, "true", "=true =null"),
            (
                PARTIAL,
                named,
                "!Bad: ={\"n\":2,\"batchItemFailures\":[{\"itemIdentifier\":\"700\",\"errorType\":\"Bad\"}]}",
            ),
            (PARTIAL, r#"{"batchItemFailures": [{"itemIdentifier": "x"}]}"#, "?"),
            (PARTIAL, r#"{"batchItemFailures": 1}"#, "?"),
        ];
        for (format, reply, expected) in table {
            assert_eq!(shown(format, reply), expected, "{reply}");
        }
    }
}
