//! The fields of one record.

use memchr::memchr;

use crate::machine::QUOTE;

/// Gives `visitor` the unescaped content of each field of `record` in order, in pieces, and the end of each field.
///
/// `record` is one record without its terminator, not empty. A quote that never closes ends with the record.
pub(crate) fn visit_fields<V: FieldVisitor>(record: &[u8], delimiter: u8, visitor: &mut V) {
    let mut rest = Some(record);
    while let Some(field) = rest {
        rest = match field.strip_prefix(&[QUOTE]) {
            Some(quoted) => visit_quoted(quoted, delimiter, visitor),
            None => visit_unquoted(field, delimiter, visitor),
        };
        if !visitor.field_end() {
            return;
        }
    }
}

/// Takes fields as `visit_fields` finds them.
pub(crate) trait FieldVisitor {
    /// More content of the field in progress.
    fn piece(&mut self, bytes: &[u8]);

    /// The field in progress is complete. `false`: no more fields are wanted.
    fn field_end(&mut self) -> bool;
}

/// Visits content up to a delimiter; returns what follows it, `None` at the record's end.
fn visit_unquoted<'a>(bytes: &'a [u8], delimiter: u8, visitor: &mut impl FieldVisitor) -> Option<&'a [u8]> {
    match memchr(delimiter, bytes) {
        Some(at) => {
            visitor.piece(&bytes[..at]);
            Some(&bytes[at + 1..])
        }
        None => {
            visitor.piece(bytes);
            None
        }
    }
}

/// The same from just past an opening quote on.
fn visit_quoted<'a>(mut bytes: &'a [u8], delimiter: u8, visitor: &mut impl FieldVisitor) -> Option<&'a [u8]> {
    while let Some(at) = memchr(QUOTE, bytes) {
        if bytes.get(at + 1) != Some(&QUOTE) {
            visitor.piece(&bytes[..at]);
            return visit_unquoted(&bytes[at + 1..], delimiter, visitor);
        }
        visitor.piece(&bytes[..=at]);
        bytes = &bytes[at + 2..];
    }
    visitor.piece(bytes);
    None
}
