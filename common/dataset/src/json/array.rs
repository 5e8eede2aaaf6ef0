//! The elements of an array within a JSON text, one a line.

use std::fmt;

use super::machine::{JsonError, JsonMachine, JsonPlace, Role};
use super::members::unescape;

/// The longest name of a member on the way to the array that is compared; longer ones are another.
const MAX_NAME_BYTES: usize = 4096;

/// How deep the whole text may be nested: its elements as deep as any item, and what they lie in.
const MAX_TEXT_DEPTH: u32 = 128;

/// Rewrites the array in a JSON text as JSON lines, from text that comes piece by piece. What it holds in memory is bounded by
/// the pointer and the longest name.
#[derive(Debug)]
pub struct ArraySplitter {
    machine: JsonMachine,
    /// Names and indexes that lead to the array, outermost first.
    pointer: Vec<String>,
    /// How many of them lead to what is being read.
    matched: usize,
    progress: Progress,
    /// The name that was read last in the container that is looked through, with its quotes.
    name: Vec<u8>,
    /// Elements passed over in that container.
    passed: u64,
    offset: u64,
    elements: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The value that begins next is what the matched part of the pointer leads to.
    AtTarget,
    /// Within a container on the way.
    Looking,
    /// Within the array.
    InArray { has_text: bool },
    /// Behind it.
    Done,
    /// The pointer leads nowhere.
    Lost,
}

/// Why a text gives no items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrayError {
    /// It is no JSON.
    Json {
        /// Where, from 0.
        offset: u64,
        /// What is wrong.
        error: JsonError,
    },
    /// What the pointer leads to is no array.
    NoArray {
        /// Where it begins.
        offset: u64,
    },
    /// The pointer leads nowhere.
    NotFound,
}

impl fmt::Display for ArrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { offset, error } => write!(f, "it is not JSON at byte {offset}: {error}"),
            Self::NoArray { offset } => write!(
                f,
                "Attempting to map over non-iterable node. The value at byte {offset} is no array; items of a JSON text are \
                 the elements of one (itemsPointer says where it lies)"
            ),
            Self::NotFound => f.write_str("itemsPointer leads nowhere in it"),
        }
    }
}

impl std::error::Error for ArrayError {}

impl ArraySplitter {
    /// A splitter for the array that `pointer` (RFC 6901) leads to; empty: the text itself.
    pub fn new(pointer: &str) -> Self {
        let part = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Self {
            machine: JsonMachine::new(MAX_TEXT_DEPTH),
            pointer: pointer.split('/').skip(1).map(part).collect(),
            matched: 0,
            progress: Progress::AtTarget,
            name: Vec::new(),
            passed: 0,
            offset: 0,
            elements: 0,
        }
    }

    /// How many elements were written whole.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Takes the next bytes of the text, and appends lines.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ArrayError> {
        let mut index = 0;
        while index < bytes.len() {
            let plain = self.machine.plain_len(&bytes[index..]);
            self.take_text(&bytes[index..index + plain], out);
            index += plain;
            self.offset += plain as u64;
            if let Some(byte) = bytes.get(index) {
                self.take(*byte, out)?;
                index += 1;
                self.offset += 1;
            }
        }
        Ok(())
    }

    /// Says that nothing follows.
    pub fn finish(&self) -> Result<(), ArrayError> {
        if !self.machine.is_complete() {
            return Err(ArrayError::Json { offset: self.offset, error: JsonError::EndsEarly });
        }
        if self.progress == Progress::Done { Ok(()) } else { Err(ArrayError::NotFound) }
    }

    /// How many containers lie around the members of the one that is looked through, or around the array's elements.
    fn level(&self) -> u32 {
        self.matched as u32 + 1
    }

    fn take_text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let place = self.machine.place();
        if matches!(self.progress, Progress::InArray { .. }) {
            out.extend_from_slice(text);
        } else if place.in_key && place.depth == self.level() {
            let room = MAX_NAME_BYTES.saturating_sub(self.name.len());
            self.name.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), ArrayError> {
        let before = self.machine.place();
        let role = self.machine.step(byte);
        let role = role.map_err(|error| ArrayError::Json { offset: self.offset, error })?;
        if role == Role::Space {
            return Ok(());
        }
        match self.progress {
            Progress::AtTarget => self.begin_target(byte),
            Progress::Looking => self.look(byte, before),
            Progress::InArray { has_text } => {
                self.take_element(byte, before, has_text, out);
                Ok(())
            }
            Progress::Done | Progress::Lost => Ok(()),
        }
    }

    /// The value begins with `byte` that the matched part of the pointer leads to.
    fn begin_target(&mut self, byte: u8) -> Result<(), ArrayError> {
        let whole = self.matched == self.pointer.len();
        self.progress = match byte {
            b'[' if whole => Progress::InArray { has_text: false },
            _ if whole => return Err(ArrayError::NoArray { offset: self.offset }),
            b'[' | b'{' => {
                self.passed = 0;
                Progress::Looking
            }
            _ => Progress::Lost,
        };
        Ok(())
    }

    /// Looks for the member of the container that the pointer names next.
    fn look(&mut self, byte: u8, before: JsonPlace) -> Result<(), ArrayError> {
        let after = self.machine.place();
        if after.depth < self.level() {
            self.progress = Progress::Lost;
        } else if before.depth > self.level() {
            // Within a member that is another.
        } else if before.in_key || after.in_key {
            if !before.in_key {
                self.name.clear();
            }
            self.name.push(byte);
        } else if byte == b',' && !before.in_string {
            self.passed += 1;
        } else if before.begins_value && self.is_named(before.in_object) {
            self.matched += 1;
            return self.begin_target(byte);
        }
        Ok(())
    }

    /// Whether the member that begins is the one that the pointer names.
    fn is_named(&self, in_object: bool) -> bool {
        let wanted = &self.pointer[self.matched];
        if in_object {
            return std::str::from_utf8(&self.name).is_ok_and(|name| unescape(name) == wanted.as_str());
        }
        wanted.parse() == Ok(self.passed)
    }

    fn take_element(&mut self, byte: u8, before: JsonPlace, has_text: bool, out: &mut Vec<u8>) {
        let at_level = before.depth == self.level() && !before.in_string;
        let ends_array = at_level && byte == b']';
        if !(ends_array || at_level && byte == b',') {
            out.push(byte);
            self.progress = Progress::InArray { has_text: true };
            return;
        }
        if has_text {
            out.push(b'\n');
            self.elements += 1;
        }
        self.progress = if ends_array { Progress::Done } else { Progress::InArray { has_text: false } };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// The lines, whatever the sizes of the pieces.
    fn split(text: &[u8], pointer: &str) -> Result<String, String> {
        let whole = split_by(text, pointer, text.len().max(1));
        for size in 1..5 {
            assert_eq!(split_by(text, pointer, size), whole, "{}", String::from_utf8_lossy(text));
        }
        whole
    }

    fn split_by(text: &[u8], pointer: &str, size: usize) -> Result<String, String> {
        let mut splitter = ArraySplitter::new(pointer);
        let mut out = Vec::new();
        let fed = text.chunks(size).try_for_each(|piece| splitter.feed(piece, &mut out));
        fed.and_then(|()| splitter.finish()).map_err(|error| error.to_string())?;
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, splitter.elements());
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn elements_become_lines_without_white_space() {
        let text: &[u8] = br#" [ {"a" : 1.50}, "x, ]", [1,[2]] , 5,null,{} ]  "#;
        let lines = "{\"a\":1.50}\n\"x, ]\"\n[1,[2]]\n5\nnull\n{}\n";
        assert_eq!(split(text, "").unwrap(), lines);
        assert_eq!(split(b"[]", "").unwrap(), "");
        assert_eq!(split(b" [ ] ", "").unwrap(), "");
    }

    #[test]
    fn the_pointer_leads_through_objects_and_arrays() {
        let text = br#"{"a":{"b":[7]},"data":{"x":{"rows":[0]},"r/o~w\u0073":[9,{"list":[1,2]}],"rows":[3]},"rows":[4]}"#;
        for (pointer, lines) in [
            ("/data/rows", "3\n"),
            ("/rows", "4\n"),
            ("/a/b", "7\n"),
            ("/data/x/rows", "0\n"),
            ("/data/r~1o~0ws/1/list", "1\n2\n"),
        ] {
            assert_eq!(split(text, pointer).as_deref(), Ok(lines), "{pointer}");
        }
        for pointer in ["/a/rows", "/data/rows/0/x", "/nothing", "/data/r~1o~0ws/2", "/a/b/7"] {
            assert_eq!(split(text, pointer).unwrap_err(), "itemsPointer leads nowhere in it", "{pointer}");
        }
        assert!(split(text, "/data").unwrap_err().contains("byte 22 is no array"));
    }

    #[test]
    fn what_is_no_array_or_no_json_is_told_with_its_place() {
        let error = split(br#"{"Items": 1}"#, "").unwrap_err();
        assert!(error.starts_with("Attempting to map over non-iterable node."), "{error}");
        for (text, told) in [
            (&b"[1,]"[..], "byte 3: `]` cannot stand there"),
            (b"[1", "byte 2: the value is not complete"),
            (b"", "byte 0: the value is not complete"),
            (b"[1] x", "byte 4: `x` cannot stand there"),
            (b"{\"a\":1", "non-iterable"),
        ] {
            assert!(split(text, "").unwrap_err().contains(told), "{:?}", split(text, ""));
        }
        let deep = "[".repeat(10_000);
        assert!(split(deep.as_bytes(), "").unwrap_err().contains("nested deeper than 128 levels"));
    }
}
