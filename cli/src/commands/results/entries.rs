//! The entries of one result file, with their places: lines, or the elements of an array.

use std::io::BufRead;

use anyhow::bail;

/// Goes through a file, one entry after another; only that one is in memory.
pub(super) struct Entries<R> {
    reader: R,
    is_array: bool,
    /// Bytes read.
    offset: u64,
    entry: Vec<u8>,
    state: ArrayState,
}

/// Where an array is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArrayState {
    /// Before its bracket.
    Before,
    Within,
    /// Behind its other bracket.
    Behind,
}

impl<R: BufRead> Entries<R> {
    pub(super) fn new(reader: R, is_array: bool) -> Self {
        Self { reader, is_array, offset: 0, entry: Vec::new(), state: ArrayState::Before }
    }

    /// The entry that was found last, without white space around it.
    pub(super) fn entry(&self) -> &[u8] {
        self.entry.trim_ascii()
    }

    /// Finds the next entry that is not blank: where it begins, or `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<u64>> {
        loop {
            let start = self.offset;
            self.entry.clear();
            let more = if self.is_array { self.read_element()? } else { self.read_line()? };
            let blank = self.entry.len() - self.entry.trim_ascii_start().len();
            if blank < self.entry.len() {
                let bracket = u64::from(self.is_array && start == 0);
                return Ok(Some(start + bracket + blank as u64));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    fn read_line(&mut self) -> anyhow::Result<bool> {
        let length = self.reader.read_until(b'\n', &mut self.entry)?;
        self.offset += length as u64;
        Ok(length > 0)
    }

    /// Reads up to the comma or bracket behind an element; `false`: the array has ended.
    fn read_element(&mut self) -> anyhow::Result<bool> {
        if self.state == ArrayState::Behind {
            return Ok(false);
        }
        let mut nesting = Nesting::default();
        loop {
            let Some(byte) = self.read_byte()? else { bail!("the array has no end: the file is cut") };
            match (self.state, byte) {
                (ArrayState::Before, b'[') => self.state = ArrayState::Within,
                (ArrayState::Before, _) => bail!("the file does not begin with an array"),
                (_, b',') if nesting.is_outside() => return Ok(true),
                (_, b']') if nesting.is_outside() => {
                    self.state = ArrayState::Behind;
                    return Ok(false);
                }
                _ => {
                    nesting.take(byte);
                    self.entry.push(byte);
                }
            }
        }
    }

    fn read_byte(&mut self) -> std::io::Result<Option<u8>> {
        let byte = self.reader.fill_buf()?.first().copied();
        if byte.is_some() {
            self.reader.consume(1);
            self.offset += 1;
        }
        Ok(byte)
    }
}

/// How deep within an element a byte is.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.in_text
    }

    fn take(&mut self, byte: u8) {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_text = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(text: &str, is_array: bool) -> anyhow::Result<Vec<String>> {
        let mut entries = Entries::new(text.as_bytes(), is_array);
        let mut found = Vec::new();
        while let Some(offset) = entries.next()? {
            let entry = String::from_utf8(entries.entry().to_vec()).unwrap();
            assert!(text[offset as usize..].starts_with(&entry), "{offset}: {entry}");
            found.push(entry);
        }
        assert_eq!(entries.next()?, None, "the end stays the end");
        Ok(found)
    }

    #[test]
    fn elements_are_found_whatever_stands_in_them() {
        let elements =
            [json!("],\"[\\"), json!([1, [2, {"a": ","}]]), json!({"}": "\\\""}), json!(null), json!(-1.5)];
        let compact = serde_json::to_string(&elements).unwrap();
        let pretty = serde_json::to_string_pretty(&elements).unwrap();
        for text in [&compact, &pretty] {
            let found = all(text, true).unwrap();
            let found: Vec<serde_json::Value> =
                found.iter().map(|element| serde_json::from_str(element).unwrap()).collect();
            assert_eq!(found, elements);
        }
        assert!(all("[]", true).unwrap().is_empty());
        assert_eq!(all("1\n\n 2\r\n3", false).unwrap(), ["1", "2", "3"]);
    }

    #[test]
    fn a_file_that_is_cut_or_no_array_is_told() {
        for text in ["[1,2", "[\"]", "{}", ""] {
            assert!(all(text, true).is_err(), "{text}");
        }
    }
}
