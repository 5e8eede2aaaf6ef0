//! Values that ProtoJSON writes as strings: durations, times, field masks, bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::Value;
use prost_types::{Duration, FieldMask, Timestamp};

use super::decode::{Decoder, at_line};
use super::tree::{Content, Node, Scalar};
use crate::wire::violation::quoted;

fn text<'a>(decoder: &mut Decoder, node: &'a Node, path: &str, wanted: &str) -> Option<&'a str> {
    match &node.content {
        Content::Scalar(Scalar::Text(text)) => Some(text),
        _ => decoder.wrong(path, node, wanted),
    }
}

/// `30s` or `1.5s`.
pub(super) fn duration(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Duration> {
    let wanted = "a duration such as 30s";
    let text = text(decoder, node, path, wanted)?;
    match parse_duration(text) {
        Some(duration) => Some(duration),
        None => decoder.wrong(path, node, wanted),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    if number.len() > 32 || !number.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    text.parse().ok()
}

/// `2025-01-31T12:00:00Z`.
pub(super) fn timestamp(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Timestamp> {
    let wanted = "a time such as 2025-01-31T12:00:00Z";
    let text = text(decoder, node, path, wanted)?;
    match text.parse() {
        Ok(timestamp) => Some(timestamp),
        Err(_) => decoder.wrong(path, node, wanted),
    }
}

/// `spec.maxConcurrency,spec.toleratedFailureCount`.
pub(super) fn field_mask(decoder: &mut Decoder, node: &Node, path: &str) -> Option<FieldMask> {
    let text = text(decoder, node, path, "field paths, separated by commas")?;
    let paths = text.split(',').filter(|path| !path.is_empty()).map(to_snake_case).collect();
    Some(FieldMask { paths })
}

fn to_snake_case(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 8);
    for c in path.trim().chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// `spec.max_concurrency` as ProtoJSON has it.
pub(super) fn to_camel_case(path: &str) -> String {
    let mut camel = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

/// Base64.
pub(super) fn bytes(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Value> {
    let text = text(decoder, node, path, "bytes in base64")?;
    match STANDARD.decode(text) {
        Ok(bytes) => Some(Value::Bytes(bytes.into())),
        Err(error) => {
            let at = at_line(node.line);
            decoder.violations.add(path, format!("{} is no base64{at}: {error}", quoted(text)));
            None
        }
    }
}
