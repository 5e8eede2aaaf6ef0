//! The members of an object in compact, valid JSON.

use std::borrow::Cow;

use memchr::memchr2;

/// Name and value of each member of an object, both as they are written; nothing of any other value.
pub(crate) struct Members<'a> {
    rest: &'a str,
}

impl<'a> Members<'a> {
    /// The members of `value`, which is compact and valid.
    pub(crate) fn of(value: &'a str) -> Self {
        let inside = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        Self { rest: inside.unwrap_or_default() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = self.rest.split_at(string_len(self.rest));
        let rest = &rest[1..];
        let (value, rest) = rest.split_at(value_len(rest));
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((name, value))
    }
}

/// The length of the string, quotes included, that `text` begins with.
fn string_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut from = 1;
    while let Some(distance) = memchr2(b'"', b'\\', &bytes[from.min(bytes.len())..]) {
        let found = from + distance;
        if bytes[found] == b'"' {
            return found + 1;
        }
        from = found + 2;
    }
    bytes.len()
}

/// The length of the value that `text` begins with.
fn value_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut index, mut depth) = (0, 0_u32);
    while let Some(byte) = bytes.get(index) {
        match byte {
            b'"' => index += string_len(&text[index..]) - 1,
            b'[' | b'{' => depth += 1,
            b',' if depth == 0 => return index,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        index += 1;
    }
    bytes.len()
}

/// The text of a string that is written with its quotes. Half a surrogate pair, which is no character, becomes U+FFFD.
pub(crate) fn unescape(string: &str) -> Cow<'_, str> {
    let inside = string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(string);
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((before, escaped)) = rest.split_once('\\') {
        text.push_str(before);
        rest = take_escape(escaped, &mut text);
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Appends what the escape stands for that follows a backslash, and gives what follows it.
fn take_escape<'a>(escaped: &'a str, text: &mut String) -> &'a str {
    let mut chars = escaped.chars();
    let character = match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return take_code(chars.as_str(), text),
        Some(other) => other,
        None => return "",
    };
    text.push(character);
    chars.as_str()
}

/// The same for the four digits that follow `\u`, and for a second half of a pair behind them.
fn take_code<'a>(digits: &'a str, text: &mut String) -> &'a str {
    let Some((first, rest)) = code_unit(digits) else { return digits };
    if let Some((second, rest)) = rest.strip_prefix("\\u").and_then(code_unit)
        && let (0xd800..=0xdbff, 0xdc00..=0xdfff) = (first, second)
    {
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        text.push(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
        return rest;
    }
    text.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

fn code_unit(digits: &str) -> Option<(u32, &str)> {
    let (unit, rest) = digits.split_at_checked(4)?;
    Some((u32::from_str_radix(unit, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_found_whatever_their_values_hold() {
        let text = r#"{"a":1,"b\"}":[1,{"x":"]}"}],"c":"d,\\","":{},"e":null}"#;
        let members: Vec<_> = Members::of(text).collect();
        let expected = [
            (r#""a""#, "1"),
            (r#""b\"}""#, r#"[1,{"x":"]}"}]"#),
            (r#""c""#, r#""d,\\""#),
            (r#""""#, "{}"),
            (r#""e""#, "null"),
        ];
        assert_eq!(members, expected);
        for text in ["{}", "[]", "5", "\"{}\"", "null"] {
            assert_eq!(Members::of(text).count(), 0, "{text}");
        }
    }

    #[test]
    fn half_a_pair_is_replaced() {
        assert_eq!(unescape(r#""\ud83e\udd80""#), "🦀");
        assert_eq!(unescape(r#""a\ud83eb""#), "a\u{fffd}b");
        assert_eq!(unescape(r#""\udd80\ud83e""#), "\u{fffd}\u{fffd}");
        assert_eq!(unescape(r#""\ud83e\u0041""#), "\u{fffd}A");
    }

    proptest! {
        #[test]
        fn texts_come_back_as_serde_json_reads_them(text in ".{0,20}") {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&written), text.clone());
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{escaped}\"");
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
