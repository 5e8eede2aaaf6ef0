//! JSON: strings as `serde_json` writes them, values without the white space between their parts.

mod array;
mod machine;
mod members;

pub use array::{ArrayError, ArraySplitter};
pub use machine::{JsonError, MAX_JSON_DEPTH};
pub(crate) use machine::{compact, compact_len};
pub(crate) use members::{Members, unescape};

/// The most bytes that one byte of text becomes (`\u001f`).
pub(crate) const MAX_ESCAPED_BYTES: u64 = 6;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many bytes `text` takes between the quotes of a JSON string.
pub(crate) fn escaped_len(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(ESCAPED_LEN[usize::from(*byte)])).sum()
}

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    out.push(b'"');
    for (index, byte) in bytes.iter().enumerate() {
        if ESCAPED_LEN[usize::from(*byte)] > 1 {
            out.extend_from_slice(&bytes[from..index]);
            write_escaped(*byte, out);
            from = index + 1;
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => return out.extend_from_slice(&long_escape(byte)),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn long_escape(byte: u8) -> [u8; 6] {
    [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Bytes that each byte of text takes in a JSON string. Text that is not ASCII is not escaped.
static ESCAPED_LEN: [u8; 256] = {
    let mut table = [1; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = 6;
        control += 1;
    }
    table[0x08] = 2;
    table[0x09] = 2;
    table[0x0a] = 2;
    table[0x0c] = 2;
    table[0x0d] = 2;
    table[b'"' as usize] = 2;
    table[b'\\' as usize] = 2;
    table
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn every_character_is_written_and_measured_as_serde_json_does() {
        for character in (0..=0x2ff_u32).chain([0x2028, 0xfeff, 0xfffd, 0x1f980]).filter_map(char::from_u32) {
            let text = format!("a{character}b");
            let mut written = Vec::new();
            write_string(&text, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&text).unwrap());
            let len = serde_json::to_string(&text).unwrap().len() as u64 - 2;
            assert_eq!(escaped_len(text.as_bytes()), len);
        }
    }
}
