//! A message as JSON or YAML, for people and scripts.
//!
//! ProtoJSON, with three liberties that its readers accept: 64-bit integers are numbers, integral numbers have no
//! fraction, and [`Counts`](crate::wire::v1::Counts) are written whole, so that a script finds a 0 where nothing failed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value,
};
use prost_types::{Duration, FieldMask, ListValue, Struct, Timestamp};
use serde_json::{Map, Value as Json};

use super::{free_form, well_known};

/// Messages that are written with their zeros.
const WRITTEN_WHOLE: [&str; 1] = ["warifu.v1.Counts"];

/// The JSON of a message; fields in the order of the proto files.
pub(super) fn message(message: &DynamicMessage) -> Json {
    match message.descriptor().full_name() {
        "google.protobuf.Struct" => {
            transcoded(message, |object: Struct| Json::Object(free_form::object_to_json(&object)))
        }
        "google.protobuf.Value" => transcoded(message, |value| free_form::value_to_json(&value)),
        "google.protobuf.ListValue" => transcoded(message, |list: ListValue| {
            Json::Array(list.values.iter().map(free_form::value_to_json).collect())
        }),
        "google.protobuf.Duration" => transcoded(message, |duration: Duration| duration.to_string().into()),
        "google.protobuf.Timestamp" => transcoded(message, |time: Timestamp| time.to_string().into()),
        "google.protobuf.FieldMask" => transcoded(message, |mask: FieldMask| {
            let paths: Vec<String> = mask.paths.iter().map(|path| well_known::to_camel_case(path)).collect();
            paths.join(",").into()
        }),
        _ => Json::Object(fields(message)),
    }
}

fn transcoded<M: prost::Message + Default>(
    message: &DynamicMessage,
    to_json: impl FnOnce(M) -> Json,
) -> Json {
    message.transcode_to().map_or(Json::Null, to_json)
}

fn fields(message: &DynamicMessage) -> Map<String, Json> {
    let descriptor = message.descriptor();
    let whole = WRITTEN_WHOLE.contains(&descriptor.full_name());
    let mut fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    fields
        .iter()
        .filter(|field| message.has_field(field) || (whole && !field.supports_presence()))
        .map(|field| (field.json_name().to_owned(), field_value(field, &message.get_field(field))))
        .collect()
}

fn field_value(field: &FieldDescriptor, field_value: &Value) -> Json {
    let kind = field.kind();
    match field_value {
        Value::List(values) => Json::Array(values.iter().map(|item| value(&kind, item)).collect()),
        Value::Map(map) => {
            let Kind::Message(entry) = &kind else { return Json::Null };
            let value_kind = entry.map_entry_value_field().kind();
            let sorted: std::collections::BTreeMap<&MapKey, &Value> = map.iter().collect();
            Json::Object(
                sorted.into_iter().map(|(key, item)| (map_key(key), value(&value_kind, item))).collect(),
            )
        }
        single => value(&kind, single),
    }
}

fn value(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F32(value) => free_form::number_to_json(f64::from(*value)),
        Value::F64(value) => free_form::number_to_json(*value),
        Value::String(text) => text.clone().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(values) => enum_name(values, *number),
            _ => (*number).into(),
        },
        Value::Message(inner) => message(inner),
        Value::List(_) | Value::Map(_) => Json::Null,
    }
}

/// Its short name, or its number if this version knows none.
fn enum_name(values: &EnumDescriptor, number: i32) -> Json {
    values.get_value(number).map_or(Json::from(number), |value| value.name().into())
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
