//! What a job makes of events and answers: `itemProcessor.payload` and `.outputPath`.

use std::borrow::Cow;

use warifu_common::dataset::Shape;
use warifu_common::model::template::PayloadHole;
use warifu_common::model::{CallFailure, error_name};

use crate::handler::BatchCall;

/// The most bytes of an event that `payload` made: an event may stand in it several times.
const MAX_EVENT_BYTES: u64 = 32 << 20;

/// The event as the job wants it, of the one that the format gives.
pub(super) fn reshaped(call: &BatchCall, event: Vec<u8>) -> Result<Vec<u8>, CallFailure> {
    let Some(payload) = call.run().templates.payload.as_ref().filter(|_| !call.is_compensation()) else {
        return Ok(event);
    };
    let event = std::str::from_utf8(&event).expect("items and templates are text");
    check(payload, event)?;
    let mut json = Vec::new();
    payload.write(&mut json, |hole, out| match hole {
        PayloadHole::Batch(hole) => call.fill(*hole, out),
        PayloadHole::Event(path) => {
            out.extend_from_slice(path.find_in_text(event).unwrap_or("null").as_bytes());
        }
    });
    Ok(json)
}

/// Every path names something, and all of it together is not too much.
fn check(payload: &Shape<PayloadHole>, event: &str) -> Result<(), CallFailure> {
    let mut bytes = payload.constant_bytes();
    for hole in payload.holes() {
        let PayloadHole::Event(path) = hole else { continue };
        let Some(value) = path.find_in_text(event) else {
            return Err(unmatched("payload", format!("{path} names nothing in the event")));
        };
        bytes = bytes.saturating_add(value.len() as u64);
    }
    if bytes <= MAX_EVENT_BYTES {
        return Ok(());
    }
    let cause = format!("payload makes an event of {bytes} bytes; at most {MAX_EVENT_BYTES} are allowed");
    Err(CallFailure::business(error_name::RECORD_TOO_LARGE, cause))
}

/// The part of an answer that is read as the answer.
pub(super) fn part_of<'a>(call: &BatchCall, reply: &'a [u8]) -> Result<Cow<'a, [u8]>, CallFailure> {
    let Some(path) = call.run().templates.output_path.as_ref().filter(|_| !call.is_compensation()) else {
        return Ok(Cow::Borrowed(reply));
    };
    let found = std::str::from_utf8(reply).ok().and_then(|reply| path.find_in_text(reply));
    match found {
        Some(part) => Ok(Cow::Borrowed(part.as_bytes())),
        None => Err(unmatched("outputPath", format!("{path} names nothing in the handler's answer"))),
    }
}

fn unmatched(field: &str, what: String) -> CallFailure {
    CallFailure::business(error_name::PARAMETER_PATH_FAILURE, format!("{field}: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::call_with;

    fn text(json: Result<Vec<u8>, CallFailure>) -> Result<String, String> {
        json.map(|json| String::from_utf8(json).unwrap())
            .map_err(|failure| format!("{}: {}", failure.error, failure.cause))
    }

    #[test]
    fn a_payload_takes_parts_of_the_event_and_of_the_batch_as_they_stand() {
        let event = r#"{"Items":[{"n":1.50},{"n":2}]}"#;
        let call = call_with(|spec| {
            spec.item_processor.payload = json!({
                "source": "step-function", "input.$": "$", "first.$": "$.Items[0].n",
                "id.$": "$$.Map.Item.BatchId", "size.$": "$$.Map.Item.BatchSize",
            })
            .as_object()
            .cloned();
        });
        let expected =
            format!(r#"{{"source":"step-function","input":{event},"first":1.50,"id":"run-1/7","size":2}}"#);
        assert_eq!(text(reshaped(&call, event.into())), Ok(expected));
        let failure = text(reshaped(&call, br#"{"Items":[]}"#.to_vec())).unwrap_err();
        assert_eq!(failure, "States.ParameterPathFailure: payload: $.Items[0].n names nothing in the event");
    }

    #[test]
    fn an_event_that_stands_too_often_in_its_payload_is_refused_before_it_is_made() {
        let call = call_with(|spec| {
            let entries = (0..100).map(|i| (format!("k{i}.$"), json!("$")));
            spec.item_processor.payload = Some(entries.collect());
        });
        let event = serde_json::to_vec(&"x".repeat(1 << 20)).unwrap();
        let failure = text(reshaped(&call, event)).unwrap_err();
        assert!(failure.starts_with("Warifu.RecordTooLarge: payload makes an event of 1048"), "{failure}");
    }

    #[test]
    fn an_output_path_takes_a_part_of_the_answer() {
        let call = call_with(|spec| spec.item_processor.output_path = Some("$.body[0]".to_owned()));
        let part = |reply: &str| {
            part_of(&call, reply.as_bytes()).map(|part| String::from_utf8(part.into()).unwrap())
        };
        assert_eq!(part(r#"{"status": 200, "body": [[1.0, 2], 3]}"#), Ok("[1.0, 2]".to_owned()));
        for reply in ["", "null", r#"{"body":[]}"#, "{\"body\""] {
            let failure = part(reply).unwrap_err();
            assert_eq!(failure.error, error_name::PARAMETER_PATH_FAILURE);
            assert_eq!(failure.cause, "outputPath: $.body[0] names nothing in the handler's answer");
        }
    }
}
