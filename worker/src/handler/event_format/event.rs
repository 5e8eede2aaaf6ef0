//! What is sent.

use serde_json::{Value, json};
use warifu_common::config::handlers::EventFormat;

use crate::handler::BatchCall;

/// The event for a whole batch.
pub(in crate::handler) fn batch_event(format: EventFormat, call: &BatchCall) -> Vec<u8> {
    let batch_input = call.batch_input();
    match format {
        EventFormat::Warifu => {
            let mut event = b"{\"batchInput\":".to_vec();
            event.extend_from_slice(batch_input.as_deref().unwrap_or("{}").as_bytes());
            event.extend_from_slice(b",\"items\":");
            write_items(&mut event, call);
            event.extend_from_slice(format!(",\"batch\":{}}}", batch_facts(call)).as_bytes());
            event
        }
        EventFormat::States { .. } => {
            let mut event = b"{".to_vec();
            if let Some(batch_input) = batch_input {
                event.extend_from_slice(b"\"BatchInput\":");
                event.extend_from_slice(batch_input.as_bytes());
                event.push(b',');
            }
            event.extend_from_slice(b"\"Items\":");
            write_items(&mut event, call);
            event.push(b'}');
            event
        }
    }
}

/// The event for one item of a job that has no `itemBatcher`, as AWS sends it.
pub(super) fn item_event(call: &BatchCall, position: usize) -> Vec<u8> {
    let mut event = Vec::new();
    call.item(position).write_json(&mut event);
    event
}

fn write_items(event: &mut Vec<u8>, call: &BatchCall) {
    let mut before = b'[';
    for item in call.items() {
        event.push(before);
        item.write_json(event);
        before = b',';
    }
    event.push(b']');
}

fn batch_facts(call: &BatchCall) -> Value {
    let identity = call.identity();
    let keys = (0..call.item_count()).map(|position| call.item_idempotency_key(position));
    let mut facts = json!({
        "mapRunId": call.run().map_run.as_str(),
        "batchNumber": identity.batch_number,
        "attempt": identity.attempt,
        "round": identity.round,
        "indexes": call.items().map(|item| item.index()).collect::<Vec<_>>(),
        "idempotencyKey": call.idempotency_key(),
        "itemIdempotencyKeys": keys.collect::<Vec<_>>(),
    });
    if let Some(place) = call.trace_parent() {
        facts["traceparent"] = place.to_string().into();
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::call_of;

    fn text(format: EventFormat, call: &BatchCall) -> String {
        String::from_utf8(batch_event(format, call)).unwrap()
    }

    #[test]
    fn our_own_event_says_which_items_these_are() {
        let expected = concat!(
            r#"{"batchInput":{"k":"v"},"items":[{"a":"1","b":"x\"y"},{"a":"2","b":""}],"batch":{"#,
            r#""mapRunId":"run-1","batchNumber":7,"attempt":1,"round":0,"indexes":[700,701],"#,
            r#""idempotencyKey":"run-1/7/0","itemIdempotencyKeys":["run-1/700/0","run-1/701/0"]}}"#,
        );
        assert_eq!(text(EventFormat::Warifu, &call_of("a,b\n1,\"x\"\"y\"\n2,\n")), expected);
    }

    #[test]
    fn our_own_event_says_which_trace_it_is_part_of() {
        let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let event = text(EventFormat::Warifu, &call_of("a\n1\n").within_trace(place.parse().unwrap()));
        assert!(event.contains(&format!(r#""traceparent":"{place}"#)), "{event}");
    }

    #[test]
    fn the_event_of_states_is_awss_own() {
        let call = call_of("a\n1\n2\n");
        let states = EventFormat::States { partial_failures: false };
        assert_eq!(text(states, &call), r#"{"BatchInput":{"k":"v"},"Items":[{"a":"1"},{"a":"2"}]}"#);
        assert_eq!(item_event(&call, 1), br#"{"a":"2"}"#);
    }
}
