//! Values without a schema: `google.protobuf.Struct` and its kin, from trees and to JSON.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

use super::decode::{Decoder, at_line, join};
use super::tree::{Content, Node, Scalar};

/// The largest integer that a double holds without loss, as its neighbours are held too: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// What to say of an integer that a double cannot hold.
pub const UNSAFE_INTEGER: &str =
    "integers beyond ±9007199254740991 must be strings: a double cannot hold them";

/// An object without a schema.
pub(super) fn object(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Struct> {
    let Some(entries) = node.entries() else { return decoder.wrong(path, node, "an object") };
    let mut fields = std::collections::BTreeMap::new();
    let mut lines = std::collections::BTreeMap::new();
    for entry in entries {
        let entry_path = join(path, &entry.key);
        if let Some(line) = lines.insert(&entry.key, entry.line) {
            decoder.duplicate(&entry_path, entry, line);
        } else if let Some(value) = value(decoder, &entry.value, &entry_path) {
            fields.insert(entry.key.clone(), value);
        }
    }
    Some(Struct { fields })
}

/// A list without a schema.
pub(super) fn list(decoder: &mut Decoder, node: &Node, path: &str) -> Option<ListValue> {
    let Content::Sequence(nodes) = &node.content else { return decoder.wrong(path, node, "a list") };
    let values = nodes.iter().enumerate();
    let values = values.filter_map(|(i, node)| value(decoder, node, &format!("{path}[{i}]"))).collect();
    Some(ListValue { values })
}

/// Any value.
pub(super) fn value(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Value> {
    let kind = match &node.content {
        Content::Mapping(_) => Kind::StructValue(object(decoder, node, path)?),
        Content::Sequence(_) => Kind::ListValue(list(decoder, node, path)?),
        Content::Scalar(Scalar::Null) => Kind::NullValue(0),
        Content::Scalar(Scalar::Bool(value)) => Kind::BoolValue(*value),
        Content::Scalar(Scalar::Text(text)) => Kind::StringValue(text.clone()),
        Content::Scalar(Scalar::Float(_, value)) => Kind::NumberValue(*value),
        Content::Scalar(Scalar::Integer(text)) => Kind::NumberValue(integer(decoder, text, node, path)?),
        Content::Scalar(Scalar::Odd(text)) => {
            let at = at_line(node.line);
            let advice = "write a decimal number, or put it in quotes if it is a string";
            decoder.violations.add(path, format!("`{text}`{at} can be read in more than one way; {advice}"));
            return None;
        }
    };
    Some(Value { kind: Some(kind) })
}

fn integer(decoder: &mut Decoder, text: &str, node: &Node, path: &str) -> Option<f64> {
    match text.parse::<i64>() {
        Ok(value) if value.unsigned_abs() <= MAX_SAFE_INTEGER => Some(value as f64),
        _ => {
            decoder.violations.add(path, format!("{UNSAFE_INTEGER}{}", at_line(node.line)));
            None
        }
    }
}

/// The JSON of an object without a schema; integral numbers have no fraction.
pub fn object_to_json(object: &Struct) -> Map<String, Json> {
    object.fields.iter().map(|(key, value)| (key.clone(), value_to_json(value))).collect()
}

/// The JSON of any value.
pub fn value_to_json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(*value),
        Some(Kind::NumberValue(value)) => number_to_json(*value),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(value_to_json).collect()),
        Some(Kind::StructValue(object)) => Json::Object(object_to_json(object)),
    }
}

/// A number as JSON has it, without a fraction if it has none; null for what JSON has no number for.
pub(super) fn number_to_json(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER as f64 {
        return Json::from(value as i64);
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

/// The protobuf form of a JSON object.
pub fn object_from_json(object: &Map<String, Json>) -> Struct {
    Struct { fields: object.iter().map(|(key, value)| (key.clone(), value_from_json(value))).collect() }
}

/// The protobuf form of any JSON value. Numbers become doubles.
pub fn value_from_json(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(value_from_json).collect() })
        }
        Json::Object(object) => Kind::StructValue(object_from_json(object)),
    };
    Value { kind: Some(kind) }
}
