//! `--set itemReader.key=x.csv`: single values of a job file, from the command line.

use std::str::FromStr;

use prost_reflect::{Kind, MessageDescriptor};

use super::decode::find_field;
use super::tree::{self, Content, Entry, Node};
use super::well_known::to_camel_case;
use crate::suggest;
use crate::wire::InvalidRequest;
use crate::wire::violation::quoted;

/// One value for one field of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Names from the specification down: `itemReader.key`, `itemProcessor.retry.0.maxAttempts`, `labels.team`.
    path: Vec<String>,
    /// As typed.
    value: String,
}

impl FromStr for Override {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, InvalidRequest> {
        let example = "write it as itemReader.key=x.csv";
        let Some((path, value)) = text.split_once('=') else {
            return Err(InvalidRequest::one("", format!("{} has no `=`; {example}", quoted(text))));
        };
        let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) || path.len() > tree::MAX_DEPTH {
            return Err(InvalidRequest::one("", format!("{} names no field; {example}", quoted(text))));
        }
        Ok(Self { path, value: value.to_owned() })
    }
}

/// What a place in the tree is for.
#[derive(Clone)]
enum Place {
    /// A value of the API's schema, or a list of such.
    Typed { kind: Kind, list: bool },
    /// A value of a free-form object.
    FreeForm,
}

impl Place {
    /// True where names are those of fields, which have two spellings; elsewhere they are the user's own.
    fn has_fields(&self) -> bool {
        match self {
            Place::Typed { kind: Kind::Message(message), list: false } => {
                !message.is_map_entry() && !is_free(message)
            }
            Place::Typed { .. } | Place::FreeForm => false,
        }
    }
}

fn is_free(message: &MessageDescriptor) -> bool {
    matches!(message.full_name(), "google.protobuf.Struct" | "google.protobuf.Value")
}

/// Puts the value into the specification `spec`, which `message` describes.
pub(super) fn apply(
    spec: &mut Node,
    message: &MessageDescriptor,
    change: &Override,
) -> Result<(), InvalidRequest> {
    let mut place = Place::Typed { kind: Kind::Message(message.clone()), list: false };
    let mut node = spec;
    for name in &change.path {
        let any_spelling = place.has_fields();
        place = inside(&place, name, change)?;
        node = step_into(node, name, any_spelling).ok_or_else(|| no_such_place(name, change))?;
    }
    *node = value(&place, &change.value)?;
    Ok(())
}

fn inside(place: &Place, name: &str, change: &Override) -> Result<Place, InvalidRequest> {
    match place {
        Place::FreeForm => Ok(Place::FreeForm),
        Place::Typed { kind, list: true } => Ok(Place::Typed { kind: kind.clone(), list: false }),
        Place::Typed { kind: Kind::Message(message), list: false } => inside_message(message, name, change),
        Place::Typed { .. } => Err(no_such_place(name, change)),
    }
}

fn inside_message(
    message: &MessageDescriptor,
    name: &str,
    change: &Override,
) -> Result<Place, InvalidRequest> {
    if is_free(message) {
        return Ok(Place::FreeForm);
    }
    if message.is_map_entry() {
        return Ok(Place::Typed { kind: message.map_entry_value_field().kind(), list: false });
    }
    let Some(field) = find_field(message, name) else {
        let known: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
        let advice = suggest::advice(name, known.iter().map(String::as_str));
        let path = change.path.join(".");
        return Err(InvalidRequest::one("", format!("--set {path}: unknown key {}; {advice}", quoted(name))));
    };
    // A map is a list of entries to protobuf; here it is an object whose keys are free.
    Ok(Place::Typed { kind: field.kind(), list: field.is_list() && !field.is_map() })
}

/// The child of `node` at `name`, made if it is not there.
fn step_into<'a>(node: &'a mut Node, name: &str, any_spelling: bool) -> Option<&'a mut Node> {
    if node.is_null() {
        *node = Node::empty_mapping();
    }
    match &mut node.content {
        Content::Sequence(nodes) => nodes.get_mut(name.parse::<usize>().ok()?),
        Content::Mapping(entries) => {
            let index = entries
                .iter()
                .position(|entry| is_named(&entry.key, name, any_spelling))
                .unwrap_or_else(|| {
                    let value = Node { content: Content::Scalar(tree::Scalar::Null), line: 0 };
                    entries.push(Entry { key: name.to_owned(), line: 0, value });
                    entries.len() - 1
                });
            Some(&mut entries[index].value)
        }
        Content::Scalar(_) => None,
    }
}

fn is_named(key: &str, name: &str, any_spelling: bool) -> bool {
    key == name || (any_spelling && to_camel_case(key) == to_camel_case(name))
}

/// What was typed, as a string where a string is wanted, else as YAML.
fn value(place: &Place, text: &str) -> Result<Node, InvalidRequest> {
    match place {
        Place::Typed { kind: Kind::String | Kind::Enum(_) | Kind::Bytes, list: false } => {
            Ok(Node::text(text))
        }
        Place::Typed { kind: Kind::Message(message), list: false } if is_written_as_string(message) => {
            Ok(Node::text(text))
        }
        Place::Typed { .. } | Place::FreeForm if text.trim().is_empty() => {
            Ok(Node { content: Content::Scalar(tree::Scalar::Null), line: 0 })
        }
        Place::Typed { .. } | Place::FreeForm => tree::parse(text),
    }
}

fn is_written_as_string(message: &MessageDescriptor) -> bool {
    matches!(
        message.full_name(),
        "google.protobuf.Duration" | "google.protobuf.Timestamp" | "google.protobuf.FieldMask"
    )
}

fn no_such_place(name: &str, change: &Override) -> InvalidRequest {
    let path = change.path.join(".");
    InvalidRequest::one("", format!("--set {path}: there is no {} to set", quoted(name)))
}
