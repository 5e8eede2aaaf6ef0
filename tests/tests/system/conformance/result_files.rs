//! Entries of result files, field by field.

use std::collections::BTreeSet;

use serde_json::Value;

/// Makes sure of the same keys in the same order, with values of the same types; of texts those that are JSON, and dates, of the same
/// form.
#[track_caller]
pub(super) fn expect_same_shape(ours: &Value, theirs: &Value, name: &str) {
    assert_eq!(shape(ours), shape(theirs), "{name}");
}

fn shape(entry: &Value) -> Vec<(String, String)> {
    // An output is whatever the child gave.
    let kind = |key: &str, value: &Value| if key == "Output" { "text".to_owned() } else { kind(value) };
    entry.as_object().unwrap().iter().map(|(key, value)| (key.clone(), kind(key, value))).collect()
}

/// What a value is.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => {
            text.chars().map(|digit| if digit.is_ascii_digit() { '0' } else { digit }).collect()
        }
        Value::String(text) if text.starts_with("arn:") => {
            text.split(':').take(3).collect::<Vec<_>>().join(":")
        }
        Value::String(text) if text.starts_with('{') => "an object as text".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Object(fields) => format!("an object of {:?}", fields.keys().collect::<BTreeSet<_>>()),
        Value::Array(_) => "an array".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Null => "null".to_owned(),
    }
}
