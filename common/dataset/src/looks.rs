//! How long the values of a CSV record are as JSON, in one look at its bytes.

use fearless_simd::{Level, Simd, SimdBase, dispatch, u8x64};

use crate::blocks::{BLOCK, Carry, equal, in_quotes};
use crate::json::{escaped_byte_len, escapes};
use crate::machine::{EntryState, QUOTE};

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordLooks {
    /// The bytes of all its values in JSON, without the quotes around each.
    pub(crate) values_len: u64,
    /// Those between its values.
    pub(crate) delimiters: u64,
}

impl RecordLooks {
    /// `record` is one, or the start of one.
    pub(crate) fn of(level: Level, record: &[u8], delimiter: u8) -> Self {
        let (blocks, rest) = record.as_chunks();
        let mut last = [FILLER; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        let sums = dispatch!(level, simd => Sums::of(simd, blocks, &last, delimiter));
        let written = record.len() as u64 + sums.escapes + 2 * sums.doubled;
        let unwritten = 2 * sums.syntax + escaped_byte_len(&delimiter) * sums.delimiters;
        Self { values_len: written - unwritten, delimiters: sums.delimiters }
    }
}

/// What a last block is filled up with: it means nothing, and is written as it is.
const FILLER: u8 = b'x';

/// Counts over all blocks.
#[derive(Debug, Default)]
struct Sums {
    /// Bytes that escaping adds if every byte is of a value.
    escapes: u64,
    /// Quotes that begin or end a field or double another; the others are of a value.
    syntax: u64,
    /// Pairs of those that stand for one quote.
    doubled: u64,
    /// Delimiters outside of quotes.
    delimiters: u64,
}

impl Sums {
    #[inline(always)]
    fn of<S: Simd>(simd: S, blocks: &[[u8; BLOCK]], last: &[u8; BLOCK], delimiter: u8) -> Self {
        let (mut sums, mut carry) = (Self::default(), Carry::of(EntryState::RecordStart));
        let mut closed = 0;
        for block in blocks {
            sums.add(u8x64::from_slice(simd, block), delimiter, &mut carry, &mut closed);
        }
        sums.add(u8x64::from_slice(simd, last), delimiter, &mut carry, &mut closed);
        sums
    }

    /// `closed`: 1 if the byte before was a quote that closes a field, or seems to.
    #[inline(always)]
    fn add<S: Simd>(&mut self, block: u8x64<S>, delimiter: u8, carry: &mut Carry, closed: &mut u64) {
        let delimiters = equal(block, delimiter);
        // Line ends lie within quotes only: elsewhere they end a record.
        let (inside, syntax) = in_quotes(equal(block, QUOTE), delimiters, *carry);
        *carry = carry.after(inside, delimiters | syntax);
        let closing = syntax & !inside;
        self.escapes += escapes(block);
        self.syntax += u64::from(syntax.count_ones());
        self.doubled += u64::from((syntax & inside & ((closing << 1) | *closed)).count_ones());
        self.delimiters += u64::from((delimiters & !inside).count_ones());
        *closed = closing >> 63;
    }
}
