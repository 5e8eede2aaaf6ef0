//! Checks that several parts of a specification share.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::{Map, Value as Json};

use crate::wire::codec::{MAX_SAFE_INTEGER, UNSAFE_INTEGER, object_to_json};
use crate::wire::violation::{Violations, quoted};

/// Longest key that S3 takes.
const MAX_KEY_BYTES: usize = 1024;

/// The value of an enum field; one that this version does not know is noted and taken as not set.
pub(super) fn known<E: TryFrom<i32> + Default>(value: i32, field: &str, violations: &mut Violations) -> E {
    E::try_from(value).unwrap_or_else(|_| {
        violations.add(field, format!("has the value {value}, which this version does not know"));
        E::default()
    })
}

/// Notes what is wrong with the name of a bucket.
pub(super) fn bucket(bucket: &str, field: &str, violations: &mut Violations) {
    let problem = if bucket.is_empty() {
        "is required".to_owned()
    } else if let Some(path) = bucket.strip_prefix("file://") {
        if path.starts_with('/') {
            return;
        }
        format!("is {}; a directory is written with three slashes, file:///directory", quoted(bucket))
    } else if bucket.contains("://") || bucket.contains('/') && !bucket.starts_with("arn:") {
        format!(
            "is {}; write the bucket's name alone, and what follows it into the key or prefix",
            quoted(bucket)
        )
    } else if bucket.len() > 255 || bucket.chars().any(|c| c.is_whitespace() || c.is_control()) {
        format!("is {}, which is no name of a bucket", quoted(bucket))
    } else {
        return;
    };
    violations.add(field, problem);
}

/// Notes what is wrong with the start of a key, or a whole one.
pub(super) fn key(key: &str, field: &str, violations: &mut Violations) {
    violations.require(key.len() <= MAX_KEY_BYTES, field, || {
        format!("takes {} bytes; S3 allows {MAX_KEY_BYTES}", key.len())
    });
    violations.require(!key.contains('\0'), field, || "contains a NUL character".to_owned());
}

/// A free-form object as JSON; numbers that do not survive a double are noted.
pub(super) fn free_form(
    object: Option<&Struct>,
    field: &str,
    violations: &mut Violations,
) -> Option<Map<String, Json>> {
    let object = object?;
    check_object(object, field, violations);
    Some(object_to_json(object))
}

/// Notes numbers in a free-form value that do not survive a double.
pub(super) fn free_form_value(value: &Value, field: &str, violations: &mut Violations) {
    if let Some(kind) = &value.kind {
        check_value(kind, field, violations);
    }
}

fn check_object(object: &Struct, field: &str, violations: &mut Violations) {
    for (key, value) in &object.fields {
        if let Some(kind) = &value.kind {
            check_value(kind, &format!("{field}.{key}"), violations);
        }
    }
}

fn check_value(value: &Kind, field: &str, violations: &mut Violations) {
    match value {
        Kind::NumberValue(number) => check_number(*number, field, violations),
        Kind::StructValue(object) => check_object(object, field, violations),
        Kind::ListValue(list) => {
            for (i, value) in list.values.iter().enumerate() {
                if let Some(kind) = &value.kind {
                    check_value(kind, &format!("{field}[{i}]"), violations);
                }
            }
        }
        Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StringValue(_) => {}
    }
}

fn check_number(number: f64, field: &str, violations: &mut Violations) {
    if !number.is_finite() {
        violations.add(field, format!("is {number}, for which JSON has no number; use a string"));
    } else if number.fract() == 0.0 && number.abs() > MAX_SAFE_INTEGER as f64 {
        violations.add(field, UNSAFE_INTEGER);
    }
}
