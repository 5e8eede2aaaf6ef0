//! A tree as a message: strict, and complete in what it finds wrong.
//!
//! Names may be spelled as in JSON or as in the proto files. Nothing is coerced, with one exception that ProtoJSON
//! makes: 64-bit integers may be strings.

use std::collections::BTreeMap;

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use super::free_form;
use super::tree::{Content, Entry, Node, Scalar};
use super::well_known;
use crate::suggest;
use crate::wire::violation::{Violations, quoted};

/// Reads messages from trees and collects what is wrong with them.
#[derive(Default)]
pub(crate) struct Decoder {
    pub(crate) violations: Violations,
}

impl Decoder {
    /// The message that `node` holds. Fields that are wrong are left out of it and noted.
    pub(crate) fn message(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> DynamicMessage {
        let mut decoded = DynamicMessage::new(message.clone());
        let Some(entries) = node.entries() else {
            self.wrong::<()>(path, node, "an object");
            return decoded;
        };
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        for entry in entries {
            let Some(field) = self.known_field(message, entry, path) else { continue };
            let field_path = join(path, field.name());
            if let Some(line) = seen.insert(field.number(), entry.line) {
                self.duplicate(&field_path, entry, line);
            } else if !entry.value.is_null() || takes_null(&field) {
                self.field(&mut decoded, &field, &entry.value, &field_path);
            }
        }
        decoded
    }

    fn known_field(
        &mut self,
        message: &MessageDescriptor,
        entry: &Entry,
        path: &str,
    ) -> Option<FieldDescriptor> {
        let field = find_field(message, &entry.key);
        if field.is_none() {
            let known: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
            let advice = suggest::advice(&entry.key, known.iter().map(String::as_str));
            let key = quoted(&entry.key);
            let at = at_line(entry.line);
            self.violations.add(path, format!("unknown key {key}{at}; {advice}"));
        }
        field
    }

    fn field(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, node: &Node, path: &str) {
        let value = if field.is_map() {
            self.map(field, node, path)
        } else if field.is_list() {
            self.list(field, node, path)
        } else {
            self.value(&field.kind(), node, path)
        };
        if let Some(value) = value {
            message.set_field(field, value);
        }
    }

    fn list(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Value> {
        let Content::Sequence(nodes) = &node.content else { return self.wrong(path, node, "a list") };
        let kind = field.kind();
        let values = nodes.iter().enumerate();
        Some(Value::List(
            values.filter_map(|(i, node)| self.value(&kind, node, &format!("{path}[{i}]"))).collect(),
        ))
    }

    /// All maps of this API have string keys.
    fn map(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Value> {
        let Kind::Message(entry_type) = field.kind() else { return None };
        let Some(entries) = node.entries() else { return self.wrong(path, node, "an object") };
        let value_kind = entry_type.map_entry_value_field().kind();
        let mut map = std::collections::HashMap::new();
        let mut lines = BTreeMap::new();
        for entry in entries {
            let entry_path = join(path, &entry.key);
            if let Some(line) = lines.insert(&entry.key, entry.line) {
                self.duplicate(&entry_path, entry, line);
            } else if let Some(value) = self.value(&value_kind, &entry.value, &entry_path) {
                map.insert(MapKey::String(entry.key.clone()), value);
            }
        }
        Some(Value::Map(map))
    }

    fn value(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Value> {
        match kind {
            Kind::Message(message) => self.message_value(message, node, path),
            Kind::Enum(values) => self.enum_value(values, node, path),
            Kind::Bool => match node.content {
                Content::Scalar(Scalar::Bool(value)) => Some(Value::Bool(value)),
                _ => self.wrong(path, node, "true or false"),
            },
            Kind::String => match &node.content {
                Content::Scalar(Scalar::Text(text)) => Some(Value::String(text.clone())),
                _ => self.wrong(path, node, "a string"),
            },
            Kind::Bytes => well_known::bytes(self, node, path),
            Kind::Double => self.double(node, path).map(Value::F64),
            Kind::Float => self.double(node, path).map(|value| Value::F32(value as f32)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => self.integer(node, path, false).map(Value::I32),
            Kind::Uint32 | Kind::Fixed32 => self.integer(node, path, false).map(Value::U32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => self.integer(node, path, true).map(Value::I64),
            Kind::Uint64 | Kind::Fixed64 => self.integer(node, path, true).map(Value::U64),
        }
    }

    fn message_value(&mut self, message: &MessageDescriptor, node: &Node, path: &str) -> Option<Value> {
        let mut decoded = DynamicMessage::new(message.clone());
        let transcoded = match message.full_name() {
            "google.protobuf.Struct" => decoded.transcode_from(&free_form::object(self, node, path)?),
            "google.protobuf.Value" => decoded.transcode_from(&free_form::value(self, node, path)?),
            "google.protobuf.ListValue" => decoded.transcode_from(&free_form::list(self, node, path)?),
            "google.protobuf.Duration" => decoded.transcode_from(&well_known::duration(self, node, path)?),
            "google.protobuf.Timestamp" => decoded.transcode_from(&well_known::timestamp(self, node, path)?),
            "google.protobuf.FieldMask" => decoded.transcode_from(&well_known::field_mask(self, node, path)?),
            _ => return Some(Value::Message(self.message(message, node, path))),
        };
        transcoded.expect("the depth of a tree is bounded below that of a message");
        Some(Value::Message(decoded))
    }

    fn enum_value(&mut self, values: &EnumDescriptor, node: &Node, path: &str) -> Option<Value> {
        let known: Vec<_> = values.values().filter(|value| value.number() != 0).collect();
        let Content::Scalar(Scalar::Text(text)) = &node.content else {
            let names: Vec<&str> = known.iter().map(|value| value.name()).collect();
            return self.wrong(path, node, &format!("one of {}", names.join(", ")));
        };
        let value = values.get_value_by_name(text);
        if value.is_none() {
            let advice = suggest::advice(text, known.iter().map(|value| value.name()));
            self.violations
                .add(path, format!("unknown value {}{}; {advice}", quoted(text), at_line(node.line)));
        }
        value.map(|value| Value::EnumNumber(value.number()))
    }

    fn double(&mut self, node: &Node, path: &str) -> Option<f64> {
        match &node.content {
            Content::Scalar(Scalar::Float(_, value)) => Some(*value),
            Content::Scalar(Scalar::Integer(text)) => text.parse().ok(),
            _ => self.wrong(path, node, "a number"),
        }
    }

    fn integer<T: std::str::FromStr>(&mut self, node: &Node, path: &str, string_is_fine: bool) -> Option<T> {
        let text = match &node.content {
            Content::Scalar(Scalar::Integer(text)) => text,
            Content::Scalar(Scalar::Text(text)) if string_is_fine && is_decimal(text) => text,
            _ => return self.wrong(path, node, "an integer in decimal digits"),
        };
        let value = text.parse().ok();
        if value.is_none() {
            let line = at_line(node.line);
            self.violations.add(path, format!("{} is out of range{line}", quoted(text)));
        }
        value
    }

    /// Notes that `node` is not what the field wants.
    pub(super) fn wrong<T>(&mut self, path: &str, node: &Node, wanted: &str) -> Option<T> {
        let hint = match (&node.content, wanted) {
            (Content::Scalar(Scalar::Text(_)), "a string") => "",
            (Content::Scalar(_), "a string") => "; put it in quotes",
            (Content::Scalar(Scalar::Text(text)), "true or false")
                if matches!(text.as_str(), "yes" | "no" | "on" | "off") =>
            {
                "; YAML 1.2 knows no other spelling"
            }
            (Content::Scalar(Scalar::Text(_)), "a number" | "an integer in decimal digits") => {
                "; write it without quotes"
            }
            _ => "",
        };
        let found = node.describe();
        self.violations.add(path, format!("wants {wanted}, not {found}{}{hint}", at_line(node.line)));
        None
    }

    /// Notes that a key stands twice.
    pub(super) fn duplicate(&mut self, path: &str, entry: &Entry, first_line: usize) {
        let key = quoted(&entry.key);
        let at = if entry.line == 0 {
            String::new()
        } else {
            format!(" on lines {first_line} and {}", entry.line)
        };
        self.violations.add(path, format!("key {key} stands twice{at}; remove one"));
    }
}

/// The field that `key` names, as JSON or as the proto files spell it.
pub(super) fn find_field(message: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key))
}

/// `path` and one more name.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// ` (line 3)`, or nothing for what stands in no text.
pub(super) fn at_line(line: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line})") }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Null means absent, but for a field that can hold null itself.
fn takes_null(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value" && !field.is_list(),
        _ => false,
    }
}
