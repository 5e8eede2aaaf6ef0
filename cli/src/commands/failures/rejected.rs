//! Rejected records as CSV: exactly the source's bytes, so that what is fixed in them can be submitted again.

use warifu_common::wire::v1::ItemFailure;

/// Puts records together to one CSV text.
pub(super) struct RejectedRecords {
    delimiter: u8,
    with_errors: bool,
    header_is_written: bool,
}

impl RejectedRecords {
    pub(super) fn new(delimiter: u8, with_errors: bool) -> Self {
        Self { delimiter, with_errors, header_is_written: false }
    }

    /// The bytes of one page; the first one begins with the header, if the source has one.
    pub(super) fn page(&mut self, header: &[u8], failures: &[ItemFailure]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.header_is_written && !header.is_empty() {
            self.header_is_written = true;
            self.record(&mut bytes, header, ["error", "cause"]);
        }
        for failure in failures {
            self.record(&mut bytes, &failure.record, [&failure.error, &failure.cause]);
        }
        bytes
    }

    fn record(&self, bytes: &mut Vec<u8>, record: &[u8], more_fields: [&str; 2]) {
        let content = record.without_terminator();
        bytes.extend_from_slice(content);
        if self.with_errors {
            for field in more_fields {
                bytes.push(self.delimiter);
                quote(bytes, field);
            }
        }
        let terminator = &record[content.len()..];
        // Only the source's last record may lack one, and here others can follow it.
        bytes.extend_from_slice(if terminator.is_empty() { b"\n" } else { terminator });
    }
}

trait RecordBytes {
    fn without_terminator(&self) -> &[u8];
}

impl RecordBytes for [u8] {
    /// The record without its terminator: `\n`, `\r\n` or `\r`.
    fn without_terminator(&self) -> &[u8] {
        let without_lf = self.strip_suffix(b"\n").unwrap_or(self);
        without_lf.strip_suffix(b"\r").unwrap_or(without_lf)
    }
}

fn quote(bytes: &mut Vec<u8>, field: &str) {
    bytes.push(b'"');
    bytes.extend_from_slice(field.replace('"', "\"\"").as_bytes());
    bytes.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(record: &str) -> ItemFailure {
        ItemFailure {
            record: record.into(),
            error: "Sql.22P02".into(),
            cause: "`x` is \"no\" int8".into(),
            ..ItemFailure::default()
        }
    }

    #[test]
    fn records_keep_their_bytes_and_the_header_comes_once() {
        let mut rejected = RejectedRecords::new(b',', false);
        let first = rejected.page(b"id,n\r\n", &[failure("\"a\nb\",x\r\n"), failure("c,y")]);
        let second = rejected.page(b"id,n\r\n", &[failure("d,z\n")]);
        assert_eq!(first, b"id,n\r\n\"a\nb\",x\r\nc,y\n");
        assert_eq!(second, b"d,z\n");
    }

    #[test]
    fn errors_become_two_more_columns() {
        let mut rejected = RejectedRecords::new(b';', true);
        let page = rejected.page(b"id;n\n", &[failure("a;x\r\n")]);
        let text = String::from_utf8(page).expect("the samples are UTF-8");
        assert_eq!(text, "id;n;\"error\";\"cause\"\na;x;\"Sql.22P02\";\"`x` is \"\"no\"\" int8\"\r\n");
    }

    #[test]
    fn a_source_without_a_header_gives_records_only() {
        let mut rejected = RejectedRecords::new(b',', false);
        assert_eq!(rejected.page(b"", &[failure("a,x\n")]), b"a,x\n");
    }
}
