//! JSON: strings as `serde_json` writes them, values without the white space between their parts.

mod array;
mod machine;
mod members;

use fearless_simd::{Level, Simd, SimdBase, SimdMask, dispatch, u8x64};

pub use array::{ArrayError, ArraySplitter};
pub use machine::{JsonError, MAX_JSON_DEPTH};
pub(crate) use machine::{compact, compact_len};
pub(crate) use members::{Members, unescape};

/// The most bytes that one byte of text becomes (`\u001f`).
pub(crate) const MAX_ESCAPED_BYTES: u64 = 6;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many bytes `text` takes between the quotes of a JSON string.
pub(crate) fn escaped_len(text: &[u8]) -> u64 {
    if text.len() < LONG { text.iter().map(escaped_byte_len).sum() } else { long_escaped_len(text) }
}

/// The same of one byte.
fn escaped_byte_len(byte: &u8) -> u64 {
    u64::from(ESCAPED_LEN[usize::from(*byte)])
}

/// What a last block is filled up with: it is not escaped.
const FILLER: u8 = b'x';

/// From so many bytes on it pays to look at sixty-four of them at once.
const LONG: usize = 32;

#[inline(never)]
fn long_escaped_len(text: &[u8]) -> u64 {
    let (blocks, rest) = text.as_chunks();
    let mut last = [FILLER; 64];
    last[..rest.len()].copy_from_slice(rest);
    text.len() as u64 + dispatch!(Level::new(), simd => escapes_in(simd, blocks, &last))
}

/// A loop, for what iterators call is not compiled for the processor's instructions.
#[inline(always)]
fn escapes_in<S: Simd>(simd: S, blocks: &[[u8; 64]], last: &[u8; 64]) -> u64 {
    let mut sum = escapes(u8x64::from_slice(simd, last));
    for block in blocks {
        sum += escapes(u8x64::from_slice(simd, block));
    }
    sum
}

/// How many bytes escaping adds to a block.
#[inline(always)]
fn escapes<S: Simd>(bytes: u8x64<S>) -> u64 {
    let quoted = bytes.simd_eq(b'"') | bytes.simd_eq(b'\\');
    let control = bytes.simd_lt(0x20);
    let short = bytes.simd_ge(0x08) & bytes.simd_le(0x0d) & !bytes.simd_eq(0x0b);
    let count = |mask: u64| u64::from(mask.count_ones());
    count(quoted.to_bitmask()) + 5 * count(control.to_bitmask()) - 4 * count(short.to_bitmask())
}

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    let (blocks, rest) = text.as_bytes().as_chunks::<16>();
    out.push(b'"');
    for block in blocks {
        if block.iter().fold(false, |escaped, byte| escaped | is_escaped(*byte)) {
            write_bytes(block, out);
        } else {
            out.extend_from_slice(block);
        }
    }
    write_bytes(rest, out);
    out.push(b'"');
}

/// Whether a byte of text cannot stand in a JSON string as it is.
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if is_escaped(*byte) {
            out.extend_from_slice(&bytes[from..index]);
            write_escaped(*byte, out);
            from = index + 1;
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    match short_escape(byte) {
        Some(short) => out.extend_from_slice(&[b'\\', short]),
        None => out.extend_from_slice(&long_escape(byte)),
    }
}

/// What follows the backslash where an escaped byte has a form of two bytes.
const fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        0x08 => Some(b'b'),
        0x09 => Some(b't'),
        0x0a => Some(b'n'),
        0x0c => Some(b'f'),
        0x0d => Some(b'r'),
        _ => None,
    }
}

fn long_escape(byte: u8) -> [u8; 6] {
    [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Bytes that each byte of text takes in a JSON string. Text that is not ASCII is not escaped.
static ESCAPED_LEN: [u8; 256] = {
    let mut table = [1; 256];
    let mut byte = 0;
    while byte < table.len() {
        if is_escaped(byte as u8) {
            table[byte] = if short_escape(byte as u8).is_some() { 2 } else { 6 };
        }
        byte += 1;
    }
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
            assert_eq!(escaped_len(text.repeat(101).as_bytes()), 101 * len);
        }
    }
}
