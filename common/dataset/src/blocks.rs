//! Where records begin and end, sixty-four bytes at a time: a bit for each byte, and no branch for a record.
//!
//! In CSV a byte lies in quotes if the quotes up to it are odd, where quotes that neither open nor close a field are left
//! out. Such quotes are rare: they are looked for in every block, and taken out one by one.

use fearless_simd::{Level, Simd, SimdBase, SimdMask, dispatch, u8x64};

use crate::looks::{Quotes, RecordLooks, Weights};
use crate::machine::{EntryState, QUOTE};

/// Bytes of a block: one bit each in a word.
pub(crate) const BLOCK: usize = 64;

/// Blocks of a chunk. What is found in 4 KiB stays in the nearest cache until it is used.
pub(crate) const BLOCKS: usize = 64;

/// What the machine must know between two blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carry {
    /// All ones inside quotes, else zero.
    inside: u64,
    /// 1 if a quote would begin a field or, just after a quote that closes one, go on with it; not used inside quotes.
    opens: u64,
    /// 1 if no record is in progress.
    between: u64,
    /// 1 just after a quote that closes a field, or seems to.
    closed: u64,
}

impl Carry {
    pub(crate) fn of(entry: EntryState) -> Self {
        let (inside, opens) = match entry {
            EntryState::Quoted => (u64::MAX, 0),
            EntryState::Unquoted => (0, 0),
            EntryState::RecordStart
            | EntryState::AfterCr
            | EntryState::FieldStart
            | EntryState::QuoteInQuoted => (0, 1),
        };
        let closed = u64::from(entry == EntryState::QuoteInQuoted);
        Self { inside, opens, between: u64::from(!entry.in_record()), closed }
    }
}

/// What a block holds: a bit for each of its bytes, the lowest for the first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bits {
    /// First bytes of records.
    starts: u64,
    /// CR and LF that end a record.
    ends: u64,
    /// All line feeds.
    line_feeds: u64,
    /// All quotes, where quotes mean something.
    quotes: u64,
    /// How long each byte is in JSON, where the grammar measures.
    pub(crate) weights: Weights,
}

/// How bytes make records.
pub(crate) trait Grammar: Copy {
    /// Whether it tells how long records are in JSON.
    const MEASURES: bool = false;

    /// Looks at one block and takes `carry` over it.
    fn look<S: Simd>(self, block: u8x64<S>, carry: &mut Carry) -> Bits;
}

/// CSV as the `csv` crate reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Csv {
    pub(crate) delimiter: u8,
}

/// The same, and how long its values are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasuredCsv {
    pub(crate) delimiter: u8,
}

/// Lines that hold more than white space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonLines;

impl Grammar for Csv {
    #[inline(always)]
    fn look<S: Simd>(self, block: u8x64<S>, carry: &mut Carry) -> Bits {
        look_at_csv::<S, false>(block, self.delimiter, carry)
    }
}

impl Grammar for MeasuredCsv {
    const MEASURES: bool = true;

    #[inline(always)]
    fn look<S: Simd>(self, block: u8x64<S>, carry: &mut Carry) -> Bits {
        look_at_csv::<S, true>(block, self.delimiter, carry)
    }
}

#[inline(always)]
fn look_at_csv<S: Simd, const MEASURES: bool>(block: u8x64<S>, delimiter: u8, carry: &mut Carry) -> Bits {
    let quotes = equal(block, QUOTE);
    let line_feeds = equal(block, b'\n');
    let breaks = line_feeds | equal(block, b'\r');
    let delimiters = equal(block, delimiter);
    let before_field = breaks | delimiters;
    let (inside, syntax) = in_quotes(quotes, before_field, *carry);
    let ends = breaks & !inside;
    let reach = (ends << 1) | carry.between;
    let closing = syntax & !inside;
    let weights = if MEASURES {
        let after_closing = (closing << 1) | carry.closed;
        Weights::of(block, &Quotes { all: quotes, syntax, inside, after_closing }, delimiters)
    } else {
        Weights::default()
    };
    *carry = Carry {
        inside: 0_u64.wrapping_sub(inside >> 63),
        opens: (before_field | syntax) >> 63,
        between: ends >> 63,
        closed: closing >> 63,
    };
    Bits { starts: reach & !ends, ends: ends & !reach, line_feeds, quotes, weights }
}

impl Grammar for JsonLines {
    #[inline(always)]
    fn look<S: Simd>(self, block: u8x64<S>, carry: &mut Carry) -> Bits {
        let line_feeds = equal(block, b'\n');
        let blanks = equal(block, b' ') | equal(block, b'\t') | equal(block, b'\r');
        // The sum takes each line's first bit over the blanks that the line begins with.
        let (reach, beyond) = ((line_feeds << 1) | carry.between).overflowing_add(blanks);
        carry.between = (line_feeds >> 63) | u64::from(beyond);
        Bits {
            starts: reach & !blanks & !line_feeds,
            ends: line_feeds & !reach,
            line_feeds,
            ..Bits::default()
        }
    }
}

#[inline(always)]
fn equal<S: Simd>(block: u8x64<S>, byte: u8) -> u64 {
    block.simd_eq(byte).to_bitmask()
}

/// Which bytes lie in quotes, opening ones included, and which of `quotes` open a field, close one or double another.
///
/// `before_field`: delimiters and line ends; what of them lies in quotes does not matter.
#[inline(always)]
fn in_quotes(quotes: u64, before_field: u64, carry: Carry) -> (u64, u64) {
    let mut effective = quotes;
    loop {
        if effective == 0 {
            return (carry.inside, 0);
        }
        let inside = parity(effective) ^ carry.inside;
        let may_open = ((before_field | effective) << 1) | carry.opens;
        let stray = effective & inside & !may_open;
        if stray == 0 {
            return (inside, effective);
        }
        // Up to the first stray quote all is certain; without it, more is.
        effective &= !(stray & stray.wrapping_neg());
    }
}

/// For each bit whether it and those below it are odd in number.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}

/// What some blocks in a row hold.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// How many blocks there are.
    pub(crate) blocks: usize,
    pub(crate) starts: [u64; BLOCKS],
    pub(crate) ends: [u64; BLOCKS],
    pub(crate) line_feeds: [u64; BLOCKS],
    /// How many there are up to the end of each block.
    pub(crate) starts_to: [u32; BLOCKS],
    pub(crate) line_feeds_to: [u32; BLOCKS],
    /// How long bytes are in JSON, and what lies before each block: all nothing where the grammar does not measure.
    pub(crate) weights: [Weights; BLOCKS],
    pub(crate) looks_before: [RecordLooks; BLOCKS],
    /// What the whole chunk holds.
    pub(crate) looks: RecordLooks,
    /// Whether there are quotes.
    pub(crate) has_quotes: bool,
    /// What to know behind the last block.
    pub(crate) carry: Carry,
}

impl Chunk {
    /// A chunk of no blocks.
    pub(crate) fn empty(carry: Carry) -> Self {
        Self {
            blocks: 0,
            starts: [0; BLOCKS],
            ends: [0; BLOCKS],
            line_feeds: [0; BLOCKS],
            starts_to: [0; BLOCKS],
            line_feeds_to: [0; BLOCKS],
            weights: [Weights::default(); BLOCKS],
            looks_before: [RecordLooks::default(); BLOCKS],
            looks: RecordLooks::default(),
            has_quotes: false,
            carry,
        }
    }

    /// Looks at the first bytes of `bytes`, before which the machine knows `carry`. Only what ends with the data may be
    /// shorter than a chunk.
    pub(crate) fn fill(&mut self, level: Level, grammar: impl Grammar, bytes: &[u8], carry: Carry) {
        self.carry = carry;
        self.looks = RecordLooks::default();
        dispatch!(level, simd => self.fill_by(simd, grammar, &bytes[..bytes.len().min(BLOCK * BLOCKS)]));
    }

    #[inline(always)]
    fn fill_by<S: Simd, G: Grammar>(&mut self, simd: S, grammar: G, bytes: &[u8]) {
        let (mut carry, mut quotes, mut starts, mut line_feeds) = (self.carry, 0, 0, 0);
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for (at, block) in blocks.iter().enumerate() {
            let bits = grammar.look(u8x64::from_slice(simd, block), &mut carry);
            quotes |= bits.quotes;
            starts += bits.starts.count_ones();
            line_feeds += bits.line_feeds.count_ones();
            self.starts[at] = bits.starts;
            self.ends[at] = bits.ends;
            self.line_feeds[at] = bits.line_feeds;
            self.starts_to[at] = starts;
            self.line_feeds_to[at] = line_feeds;
            if G::MEASURES {
                self.weigh(at, bits.weights);
            }
        }
        self.blocks = blocks.len();
        if !rest.is_empty() {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            let bits = grammar.look(u8x64::from_slice(simd, &block), &mut carry);
            let at = self.blocks;
            quotes |= bits.quotes;
            // No record begins behind the last byte.
            self.starts[at] = bits.starts & !(u64::MAX << rest.len());
            self.ends[at] = bits.ends;
            self.line_feeds[at] = bits.line_feeds;
            self.starts_to[at] = starts + self.starts[at].count_ones();
            self.line_feeds_to[at] = line_feeds + bits.line_feeds.count_ones();
            if G::MEASURES {
                self.weigh(at, bits.weights);
            }
            self.blocks += 1;
        }
        self.has_quotes = quotes != 0;
        self.carry = carry;
    }

    #[inline(always)]
    fn weigh(&mut self, block: usize, weights: Weights) {
        self.weights[block] = weights;
        self.looks_before[block] = self.looks;
        self.looks += weights.sum(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::format::RecordFormat;

    /// Starts, ends and line feeds as the machine finds them, byte by byte.
    fn step_through(bytes: &[u8], entry: EntryState, format: RecordFormat) -> [Vec<usize>; 3] {
        let (mut state, mut found) = (entry, [vec![], vec![], vec![]]);
        for (index, byte) in bytes.iter().enumerate() {
            let next = state.step(*byte, format);
            let begins = !state.in_record() && next.in_record();
            let ends = state.in_record() && !next.in_record();
            let marks = [begins, ends, *byte == b'\n'];
            for (found, _) in found.iter_mut().zip(marks).filter(|(_, is_mark)| *is_mark) {
                found.push(index);
            }
            state = next;
        }
        found
    }

    fn indexes(words: &[u64]) -> Vec<usize> {
        (0..words.len() * BLOCK).filter(|index| words[index / BLOCK] >> (index % BLOCK) & 1 == 1).collect()
    }

    fn check(bytes: &[u8], entry: EntryState, format: RecordFormat, grammar: impl Grammar) {
        let expected = step_through(bytes, entry, format);
        for level in [Level::new(), Level::baseline()] {
            let mut chunk = Chunk::empty(Carry::of(entry));
            chunk.fill(level, grammar, bytes, Carry::of(entry));
            let words = [&chunk.starts, &chunk.ends, &chunk.line_feeds];
            let found = words.map(|words| indexes(&words[..chunk.blocks]));
            assert_eq!(found, expected, "from {entry:?} through {bytes:?}");
            for (block, (starts, line_feeds)) in
                chunk.starts_to.iter().zip(chunk.line_feeds_to).enumerate().take(chunk.blocks)
            {
                let before = |found: &[usize]| {
                    found.iter().filter(|index| **index < (block + 1) * BLOCK).count() as u32
                };
                assert_eq!((*starts, line_feeds), (before(&expected[0]), before(&expected[2])));
            }
            let means = matches!(format, RecordFormat::Csv(_));
            assert_eq!(chunk.has_quotes, means && bytes.contains(&QUOTE));
        }
    }

    const ENTRIES: [EntryState; 6] = [
        EntryState::RecordStart,
        EntryState::FieldStart,
        EntryState::Unquoted,
        EntryState::Quoted,
        EntryState::QuoteInQuoted,
        EntryState::AfterCr,
    ];

    fn bytes(letters: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        // Runs make what reaches over blocks.
        vec((select(letters), prop_oneof![9 => 1..4_usize, 1 => 1..150_usize]), 0..120).prop_map(|runs| {
            let runs = runs.into_iter().map(|(letter, length)| vec![letter; length]);
            let mut bytes = runs.collect::<Vec<_>>().concat();
            bytes.truncate(BLOCK * BLOCKS);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_of_csv_hold_what_the_machine_finds(
            bytes in bytes(b"\"\"\"\",,a\r\n\n"),
            entry in select(ENTRIES.to_vec()),
        ) {
            check(&bytes, entry, RecordFormat::default(), Csv { delimiter: b',' });
        }

        #[test]
        fn blocks_of_lines_hold_what_the_machine_finds(
            bytes in bytes(b" \t\r\n\n\"a"),
            entry in select(vec![EntryState::RecordStart, EntryState::Unquoted]),
        ) {
            check(&bytes, entry, RecordFormat::JsonLines, JsonLines);
        }
    }
}
