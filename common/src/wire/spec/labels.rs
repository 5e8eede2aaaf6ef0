//! `labels`.

use std::collections::BTreeMap;

use crate::wire::violation::{Violations, quoted};

/// Most labels of a run: each may become a dimension of a metric.
const MAX_LABELS: usize = 64;
/// Longest key and longest value.
const MAX_BYTES: usize = 63;

/// The job's labels.
pub(super) fn read(
    labels: &BTreeMap<String, String>,
    violations: &mut Violations,
) -> BTreeMap<String, String> {
    violations.require(labels.len() <= MAX_LABELS, "spec.labels", || {
        format!("has {} entries; at most {MAX_LABELS} are allowed", labels.len())
    });
    for (key, value) in labels.iter().take(MAX_LABELS) {
        violations.require(is_key(key), "spec.labels", || {
            format!("key {} is not [a-z]([a-z0-9_.-]{{0,61}}[a-z0-9])?", quoted(key))
        });
        violations.require(is_value(value), &format!("spec.labels.{key}"), || {
            format!("is {}; up to {MAX_BYTES} letters, digits, `_`, `.` and `-` are allowed", quoted(value))
        });
    }
    labels.clone()
}

fn is_key(key: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    key.len() <= MAX_BYTES
        && key.bytes().all(inside)
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_value(value: &str) -> bool {
    value.len() <= MAX_BYTES && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
