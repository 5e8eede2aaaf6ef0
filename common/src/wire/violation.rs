//! What is wrong with a request, field by field.

use std::fmt;

/// Longest text of a caller that is repeated in a message about it.
const MAX_QUOTED_BYTES: usize = 64;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldViolation {
    /// Its path as the proto files spell it, `spec.item_batcher.max_items_per_batch`; empty for the whole request.
    pub field: String,
    /// What is wrong and what to do.
    pub description: String,
}

impl FieldViolation {
    /// Says what is wrong with `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.description)
        } else {
            write!(f, "{}: {}", self.field, self.description)
        }
    }
}

/// A request that cannot be carried out as it is: change it. All wrong fields at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidRequest {
    /// At least one.
    pub violations: Vec<FieldViolation>,
}

impl InvalidRequest {
    /// A request with one wrong field.
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { violations: vec![FieldViolation::new(field, description)] }
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.violations.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

/// Collects what is wrong with one request. Checks go on after the first problem.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<FieldViolation>,
}

impl Violations {
    /// Notes that `field` is wrong.
    pub(crate) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.found.push(FieldViolation::new(field, description));
    }

    /// Notes that `field` is wrong unless `fine`.
    pub(crate) fn require(&mut self, fine: bool, field: &str, description: impl FnOnce() -> String) {
        if !fine {
            self.add(field, description());
        }
    }

    /// `value` if nothing was wrong.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, InvalidRequest> {
        if self.found.is_empty() { Ok(value) } else { Err(InvalidRequest { violations: self.found }) }
    }

    /// What was wrong. There must be something.
    pub(crate) fn into_error(self) -> InvalidRequest {
        debug_assert!(!self.found.is_empty(), "a request without violations is no error");
        InvalidRequest { violations: self.found }
    }
}

/// A caller's text, quoted and cut to a length that fits a message.
pub(crate) fn quoted(text: &str) -> String {
    let cut = truncated(text, MAX_QUOTED_BYTES);
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", cut.escape_debug())
}

/// The longest start of `text` that takes at most `max_bytes`.
pub(crate) fn truncated(text: &str, max_bytes: usize) -> &str {
    let end = text.floor_char_boundary(max_bytes);
    &text[..end]
}
