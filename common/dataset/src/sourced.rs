//! JSON lines that say which object each comes from, for data sets that are put together from several objects.
//!
//! Such a line is the object's address as a JSON string, a space, and the line as it was, whatever it was: a line that is no
//! JSON stays one that is none, and fails alone. White space before a value, and lines of nothing else, are left out.

use memchr::{memchr, memchr2};

use crate::json;
use crate::machine::is_json_space;

/// Between an address and the line.
const BETWEEN: u8 = b' ';

/// Puts an object's address before each of its lines, which come piece by piece. It holds no part of them.
#[derive(Debug)]
pub struct SourcedLines {
    prefix: Vec<u8>,
    in_line: bool,
}

impl SourcedLines {
    /// Before the first line of the object at `source`.
    pub fn new(source: &str) -> Self {
        let mut prefix = Vec::with_capacity(source.len() + 3);
        json::write_string(source, &mut prefix);
        prefix.push(BETWEEN);
        Self { prefix, in_line: false }
    }

    /// Takes the next bytes, and appends what becomes of them.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if !self.in_line {
                let is_value = |byte: &u8| !(is_json_space(*byte) || *byte == b'\n');
                let Some(start) = bytes.iter().position(is_value) else { return };
                bytes = &bytes[start..];
                out.extend_from_slice(&self.prefix);
            }
            let end = memchr(b'\n', bytes).map(|index| index + 1);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            out.extend_from_slice(line);
            self.in_line = end.is_none();
            bytes = rest;
        }
    }
}

/// The address as JSON, and the line as it was. What [`SourcedLines`] did not write is a line without an address.
pub fn split_sourced(record: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 1;
    while let Some(next) = record.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next;
        if record[at] == b'\\' {
            at += 2;
            continue;
        }
        at += 1;
        return match record.get(at) {
            Some(&BETWEEN) if record[0] == b'"' => (&record[..at], &record[at + 1..]),
            _ => (&[], record),
        };
    }
    (&[], record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_split_into_its_object_and_itself_in_whatever_pieces_it_came() {
        let lines = b" {\"a\": 1}\r\n \t\r\n\n1,2\n\"x\" y\n\xff\n\t7";
        for source in ["s3://b/k", "s3://b/\"q\\uo\" te\\", "s3://b/\u{1}\u{e9}\n"] {
            for piece in 1..=lines.len() {
                let (mut sourced, mut out) = (SourcedLines::new(source), Vec::new());
                lines.chunks(piece).for_each(|bytes| sourced.feed(bytes, &mut out));
                let split: Vec<_> = out.split(|byte| *byte == b'\n').map(split_sourced).collect();
                let values: Vec<&[u8]> = split.iter().map(|(_, value)| *value).collect();
                assert_eq!(values, [&b"{\"a\": 1}\r"[..], b"1,2", b"\"x\" y", b"\xff", b"7"], "{piece}");
                for (address, _) in split {
                    assert_eq!(serde_json::from_slice::<String>(address).ok().as_deref(), Some(source));
                }
            }
        }
    }

    #[test]
    fn what_has_no_address_is_a_line_as_it_is() {
        for record in [&b""[..], b"x", b"\"", b"\"a", b"\"a\\", b"\"a\"", b"\"a\",1", b"[\"a\" 1]"] {
            assert_eq!(split_sourced(record), (&b""[..], record));
        }
    }
}
