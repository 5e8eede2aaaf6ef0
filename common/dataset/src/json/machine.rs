//! The JSON grammar (RFC 8259) as a machine that takes any number of bytes at a time, and never calls itself.

use std::fmt;

use memchr::memchr2;
use serde::{Deserialize, Serialize};

use crate::machine::is_json_space;

/// How deep arrays and objects may lie in one another in an item. Readers of JSON give up at about 128, or overflow their
/// stack; events put an item into some levels of their own.
pub const MAX_JSON_DEPTH: u32 = 100;

/// The machine's own bound, which a bit for each level needs: an item may lie in an array.
const MAX_LEVELS: u32 = 128;

/// Why bytes are no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JsonError {
    /// This byte cannot stand there.
    Unexpected(u8),
    /// The text ends within the value.
    EndsEarly,
    /// Arrays and objects lie deeper in one another than so many levels.
    TooDeep(u32),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected(byte @ b' '..=b'~') => write!(f, "`{}` cannot stand there", char::from(*byte)),
            Self::Unexpected(byte) => write!(f, "the byte {byte:#04x} cannot stand there"),
            Self::EndsEarly => f.write_str("the value is not complete"),
            Self::TooDeep(levels) => write!(f, "it is nested deeper than {levels} levels"),
        }
    }
}

impl std::error::Error for JsonError {}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// A value, or the end of the array that has just begun.
    FirstElement,
    Key,
    /// A key, or the end of the object that has just begun.
    FirstKey,
    Colon,
    /// A comma or an end; at level 0 nothing.
    AfterValue,
    String {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    Hex {
        is_key: bool,
        digits_left: u8,
    },
    Literal(&'static [u8]),
    Number(Number),
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    /// What `byte` makes of the number; `None`: it is no part of it.
    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::ExponentDigits)
    }
}

/// What a byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// White space between parts.
    Space,
    /// Part of the value.
    Part,
}

/// Where a machine is between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonPlace {
    /// How many arrays and objects are open.
    pub(crate) depth: u32,
    /// The innermost of them is an object.
    pub(crate) in_object: bool,
    /// A value may begin.
    pub(crate) begins_value: bool,
    pub(crate) in_string: bool,
    /// In a string that is the name of a member.
    pub(crate) in_key: bool,
}

/// A value in progress.
#[derive(Debug, Clone)]
pub(crate) struct JsonMachine {
    state: State,
    /// A bit for each level, the innermost lowest: 1 is an object.
    levels: u128,
    depth: u32,
    max_depth: u32,
}

impl JsonMachine {
    /// A machine before a value.
    pub(crate) fn new(max_depth: u32) -> Self {
        Self { state: State::Value, levels: 0, depth: 0, max_depth: max_depth.min(MAX_LEVELS) }
    }

    /// Where it is between two bytes.
    pub(crate) fn place(&self) -> JsonPlace {
        let string = match self.state {
            State::String { is_key } | State::Escape { is_key } | State::Hex { is_key, .. } => Some(is_key),
            _ => None,
        };
        JsonPlace {
            depth: self.depth,
            in_object: self.depth > 0 && self.levels & 1 == 1,
            begins_value: matches!(self.state, State::Value | State::FirstElement),
            in_string: string.is_some(),
            in_key: string == Some(true),
        }
    }

    /// Whether the value would be complete if nothing followed.
    pub(crate) fn is_complete(&self) -> bool {
        match self.state {
            State::AfterValue => self.depth == 0,
            State::Number(number) => self.depth == 0 && number.is_complete(),
            _ => false,
        }
    }

    /// How many of `bytes` surely are text within a string that is in progress.
    pub(crate) fn plain_len(&self, bytes: &[u8]) -> usize {
        if !matches!(self.state, State::String { .. }) {
            return 0;
        }
        let to_special = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        bytes[..to_special].iter().position(|byte| *byte < b' ').unwrap_or(to_special)
    }

    /// Takes one byte.
    pub(crate) fn step(&mut self, byte: u8) -> Result<Role, JsonError> {
        if let State::Number(number) = self.state {
            match number.step(byte) {
                Some(next) => {
                    self.state = State::Number(next);
                    return Ok(Role::Part);
                }
                None if number.is_complete() => self.state = State::AfterValue,
                None => return Err(JsonError::Unexpected(byte)),
            }
        }
        match self.state {
            State::String { is_key } => self.step_in_string(byte, is_key)?,
            State::Escape { is_key } => self.state = escape(byte, is_key)?,
            State::Hex { is_key, digits_left } => self.state = hex(byte, is_key, digits_left)?,
            State::Literal(rest) => self.step_in_literal(byte, rest)?,
            _ if is_json_space(byte) => return Ok(Role::Space),
            State::Value => self.begin_value(byte)?,
            State::FirstElement if byte == b']' => self.leave(),
            State::FirstElement => self.begin_value(byte)?,
            State::FirstKey if byte == b'}' => self.leave(),
            State::Key | State::FirstKey if byte == b'"' => self.state = State::String { is_key: true },
            State::Colon if byte == b':' => self.state = State::Value,
            State::AfterValue => self.step_after_value(byte)?,
            State::Key | State::FirstKey | State::Colon | State::Number(_) => {
                return Err(JsonError::Unexpected(byte));
            }
        }
        Ok(Role::Part)
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), JsonError> {
        self.state = match byte {
            b'"' => State::String { is_key: false },
            b'[' => return self.enter(false),
            b'{' => return self.enter(true),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return Err(JsonError::Unexpected(byte)),
        };
        Ok(())
    }

    fn enter(&mut self, is_object: bool) -> Result<(), JsonError> {
        if self.depth == self.max_depth {
            return Err(JsonError::TooDeep(self.max_depth));
        }
        self.depth += 1;
        self.levels = self.levels << 1 | u128::from(is_object);
        self.state = if is_object { State::FirstKey } else { State::FirstElement };
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.levels >>= 1;
        self.state = State::AfterValue;
    }

    fn step_in_string(&mut self, byte: u8, is_key: bool) -> Result<(), JsonError> {
        match byte {
            b'"' if is_key => self.state = State::Colon,
            b'"' => self.state = State::AfterValue,
            b'\\' => self.state = State::Escape { is_key },
            0..b' ' => return Err(JsonError::Unexpected(byte)),
            _ => {}
        }
        Ok(())
    }

    fn step_in_literal(&mut self, byte: u8, rest: &'static [u8]) -> Result<(), JsonError> {
        match rest {
            [next] if *next == byte => self.state = State::AfterValue,
            [next, rest @ ..] if *next == byte => self.state = State::Literal(rest),
            _ => return Err(JsonError::Unexpected(byte)),
        }
        Ok(())
    }

    fn step_after_value(&mut self, byte: u8) -> Result<(), JsonError> {
        let in_object = self.levels & 1 == 1;
        match byte {
            b',' if self.depth > 0 && in_object => self.state = State::Key,
            b',' if self.depth > 0 => self.state = State::Value,
            b'}' if self.depth > 0 && in_object => self.leave(),
            b']' if self.depth > 0 && !in_object => self.leave(),
            _ => return Err(JsonError::Unexpected(byte)),
        }
        Ok(())
    }
}

fn escape(byte: u8, is_key: bool) -> Result<State, JsonError> {
    match byte {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(State::String { is_key }),
        b'u' => Ok(State::Hex { is_key, digits_left: 4 }),
        _ => Err(JsonError::Unexpected(byte)),
    }
}

fn hex(byte: u8, is_key: bool, digits_left: u8) -> Result<State, JsonError> {
    match (byte.is_ascii_hexdigit(), digits_left) {
        (false, _) => Err(JsonError::Unexpected(byte)),
        (true, 1) => Ok(State::String { is_key }),
        (true, _) => Ok(State::Hex { is_key, digits_left: digits_left - 1 }),
    }
}

/// Appends a value without the white space between its parts; numbers and strings keep their text. An error says where in
/// `text`, and leaves part of the value in `out`.
pub(crate) fn compact(text: &[u8], out: &mut Vec<u8>) -> Result<(), (usize, JsonError)> {
    each_part(text, |part| out.extend_from_slice(part))
}

/// How many bytes [`compact`] appends; all of `text` if it is no JSON.
pub(crate) fn compact_len(text: &[u8]) -> u64 {
    let mut bytes = 0;
    match each_part(text, |part| bytes += part.len()) {
        Ok(()) => bytes as u64,
        Err(_) => text.len() as u64,
    }
}

fn each_part(text: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), (usize, JsonError)> {
    let mut machine = JsonMachine::new(MAX_JSON_DEPTH);
    let (mut index, mut part_start) = (0, 0);
    while index < text.len() {
        index += machine.plain_len(&text[index..]);
        let Some(byte) = text.get(index) else { break };
        if machine.step(*byte).map_err(|error| (index, error))? == Role::Space {
            take(&text[part_start..index]);
            part_start = index + 1;
        }
        index += 1;
    }
    take(&text[part_start..]);
    if machine.is_complete() { Ok(()) } else { Err((text.len(), JsonError::EndsEarly)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn compacted(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        compact(text, &mut out).is_ok().then_some(out)
    }

    /// `serde_json`'s verdict, which looks at no text within strings.
    fn is_json(text: &[u8]) -> bool {
        serde_json::from_slice::<IgnoredAny>(text).is_ok()
    }

    fn words() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> = vec![
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"",
            b"\"a\"",
            b"\\",
            b"\\u12aF",
            b"0",
            b"-1",
            b"1.5",
            b"1e9",
            b"E",
            b"+",
            b".",
            b"true",
            b"false",
            b"null",
            b" ",
            b"\t",
            b"\r\n",
            b"x",
            b"\x01",
            "あ".as_bytes(),
        ];
        proptest::collection::vec(proptest::sample::select(words), 0..12).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_json_is_so_to_serde_json_too(text in words()) {
            prop_assert_eq!(compacted(&text).is_some(), is_json(&text), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter("JSON has no other", |number| number.is_finite()).prop_map(Into::into),
            ".{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_compact_form_is_what_serde_json_writes(value in any_value()) {
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            let compact = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(compacted(&pretty).unwrap(), compact.clone());
            prop_assert_eq!(compact_len(&pretty), compact.len() as u64);
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        let text = b" [ 1.50 , 1e400, 123456789012345678901234567890 ,-0 ] ";
        assert_eq!(compacted(text).unwrap(), b"[1.50,1e400,123456789012345678901234567890,-0]");
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, at, error) in [
            (&b"{\"a\":1,}"[..], 7, JsonError::Unexpected(b'}')),
            (b"01", 1, JsonError::Unexpected(b'1')),
            (b"nul", 3, JsonError::EndsEarly),
            (b"\"a\nb\"", 2, JsonError::Unexpected(b'\n')),
            (b"", 0, JsonError::EndsEarly),
            (b"1 2", 2, JsonError::Unexpected(b'2')),
        ] {
            assert_eq!(compact(text, &mut Vec::new()), Err((at, error)), "{text:?}");
        }
        assert_eq!(JsonError::Unexpected(b'}').to_string(), "`}` cannot stand there");
        assert_eq!(JsonError::Unexpected(7).to_string(), "the byte 0x07 cannot stand there");
    }

    #[test]
    fn nesting_has_a_bound_and_needs_no_stack() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(compacted(nested(MAX_JSON_DEPTH as usize).as_bytes()).is_some());
        let error = JsonError::TooDeep(MAX_JSON_DEPTH);
        for depth in [101, 10_000, 1_000_000] {
            assert_eq!(compact(nested(depth).as_bytes(), &mut Vec::new()), Err((100, error)));
        }
        assert_eq!(error.to_string(), "it is nested deeper than 100 levels");
    }
}
