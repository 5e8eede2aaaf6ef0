//! How long the values of CSV records are as JSON, sixty-four bytes at a time.
//!
//! Each byte of a record has a weight: the bytes that it takes in JSON, none if it only tells values apart. A record's length is the
//! sum of all weights before its end without those before its start.

use std::ops::{AddAssign, Sub};

use fearless_simd::{Level, Simd, SimdBase, SimdMask, dispatch, u8x64};

use crate::blocks::{BLOCK, Bits, Carry, Grammar, MeasuredCsv};
use crate::machine::EntryState;

/// What a record holds, or all bytes before one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RecordLooks {
    /// The bytes of all its values in JSON, without the quotes around each.
    pub(crate) values_len: u64,
    /// Those between its values.
    pub(crate) delimiters: u64,
}

impl RecordLooks {
    /// `record` is one, or the start of one.
    pub(crate) fn of(record: &[u8], delimiter: u8) -> Self {
        dispatch!(Level::new(), simd => look(simd, record, MeasuredCsv { delimiter }))
    }
}

impl AddAssign for RecordLooks {
    fn add_assign(&mut self, other: Self) {
        self.values_len += other.values_len;
        self.delimiters += other.delimiters;
    }
}

impl Sub for RecordLooks {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            values_len: self.values_len - other.values_len,
            delimiters: self.delimiters - other.delimiters,
        }
    }
}

#[inline(always)]
fn look<S: Simd>(simd: S, record: &[u8], grammar: MeasuredCsv) -> RecordLooks {
    let (mut looks, mut carry) = (RecordLooks::default(), Carry::of(EntryState::RecordStart));
    let (blocks, rest) = record.as_chunks::<BLOCK>();
    for block in blocks {
        let Bits { weights, .. } = grammar.look(u8x64::from_slice(simd, block), &mut carry);
        looks += weights.sum(u64::MAX);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let Bits { weights, .. } = grammar.look(u8x64::from_slice(simd, &last), &mut carry);
    looks += weights.sum(!(u64::MAX << rest.len()));
    looks
}

/// The weights of a block's bytes: each is the sum of those that have its bit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weights {
    ones: u64,
    twos: u64,
    fours: u64,
    /// Delimiters outside of quotes.
    delimiters: u64,
}

/// What is known of a block's quotes.
pub(crate) struct Quotes {
    /// All of them.
    pub(crate) all: u64,
    /// Those that begin or end a field or double another; the others are of a value.
    pub(crate) syntax: u64,
    /// Bytes in quotes, opening ones included.
    pub(crate) inside: u64,
    /// Bytes just after a quote that closes a field, or seems to.
    pub(crate) after_closing: u64,
}

impl Weights {
    #[inline(always)]
    pub(crate) fn of<S: Simd>(block: u8x64<S>, quotes: &Quotes, delimiters: u64) -> Self {
        let Quotes { all, syntax, inside, after_closing } = *quotes;
        let bits = |mask: <u8x64<S> as SimdBase<S>>::Mask| mask.to_bitmask();
        // `\b`, `\t`, `\n`, `\f` and `\r`; other control characters take six bytes.
        let short = bits(block.simd_ge(0x08) & block.simd_le(0x0d) & !block.simd_eq(0x0b));
        let long = bits(block.simd_lt(0x20)) & !short;
        let doubling = syntax & inside & after_closing;
        let delimiters = delimiters & !inside;
        let nothing = delimiters | (syntax & !doubling);
        let two = doubling | (all & !syntax) | short | bits(block.simd_eq(b'\\'));
        Self {
            ones: !(nothing | two | long),
            twos: (two | long) & !nothing,
            fours: long & !nothing,
            delimiters,
        }
    }

    /// What the bytes of `mask` hold.
    #[inline(always)]
    pub(crate) fn sum(self, mask: u64) -> RecordLooks {
        let count = |bits: u64| u64::from((bits & mask).count_ones());
        RecordLooks {
            values_len: count(self.ones) + 2 * count(self.twos) + 4 * count(self.fours),
            delimiters: count(self.delimiters),
        }
    }
}
