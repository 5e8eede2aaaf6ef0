//! A walk through all records of a shard or of a part of it, in their order.

use fearless_simd::Level;
use memchr::memchr;

use crate::blocks::{BLOCK, BLOCKS, Carry, Chunk, Grammar};
use crate::looks::RecordLooks;
use crate::machine::{EntryState, QUOTE};
use crate::range::count_newlines;

/// Bytes of a chunk, but for the last one.
const CHUNK: usize = BLOCK * BLOCKS;

/// A place between two bytes of the slice that is walked: from there on, no start and no end is passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Index of the first byte of its chunk.
    chunk: usize,
    /// What the machine knows before that.
    carry: Carry,
    /// Line feeds before that.
    line_feeds: u64,
    /// What the bytes before that hold, where the grammar measures.
    looks: RecordLooks,
    /// The block of the chunk that it lies in.
    block: usize,
    /// What is not passed of that block.
    starts: u64,
    ends: u64,
}

/// The first quote of the slice that is walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstQuote {
    pub(crate) index: usize,
    /// Line feeds before its chunk.
    line_feeds: u64,
}

/// Gives starts and ends of records in turn: whoever takes a start takes its end next, or passes over both.
pub(crate) struct RecordWalk<'a, G> {
    bytes: &'a [u8],
    grammar: G,
    level: Level,
    place: Place,
    chunk: Chunk,
    first_quote: Option<FirstQuote>,
}

impl<'a, G: Grammar> RecordWalk<'a, G> {
    pub(crate) fn new(bytes: &'a [u8], grammar: G, entry: EntryState) -> Self {
        Self::begin(bytes, grammar, entry, 0, 0)
    }

    /// A walk from within quotes, which begins where they may end: nothing else can before the slice's first quote.
    pub(crate) fn in_quotes(bytes: &'a [u8], grammar: G, first: FirstQuote) -> Self {
        Self::begin(bytes, grammar, EntryState::Quoted, first.index / CHUNK * CHUNK, first.line_feeds)
    }

    fn begin(bytes: &'a [u8], grammar: G, entry: EntryState, chunk: usize, line_feeds: u64) -> Self {
        let carry = Carry::of(entry);
        let looks = RecordLooks::default();
        let place = Place { chunk, carry, line_feeds, looks, block: 0, starts: 0, ends: 0 };
        let (level, chunk) = (Level::new(), Chunk::empty(carry));
        let mut walk = Self { bytes, grammar, level, place, chunk, first_quote: None };
        walk.look();
        walk.enter(0);
        walk
    }

    /// The next start of a record.
    pub(crate) fn next_start(&mut self) -> Option<usize> {
        while self.place.starts == 0 {
            self.next_block()?;
        }
        let found = self.index(self.place.starts);
        self.place.starts &= self.place.starts - 1;
        Some(found)
    }

    /// The CR or LF that ends the record in progress.
    pub(crate) fn next_end(&mut self) -> Option<usize> {
        while self.place.ends == 0 {
            self.next_block()?;
        }
        let found = self.index(self.place.ends);
        self.place.ends &= self.place.ends - 1;
        Some(found)
    }

    /// Passes over the record in progress and more of them, so that the start that is given next is the `count`th from here.
    ///
    /// `None`: it does not lie at or before `last`, and nothing is passed.
    pub(crate) fn pass(&mut self, count: u32, last: usize) -> Option<()> {
        let from = self.place;
        if self.find_start(count, last).is_some_and(|found| found <= last) {
            return Some(());
        }
        if self.place.chunk != from.chunk {
            self.place = from;
            self.look();
        }
        self.place = from;
        None
    }

    /// Line feeds before `index`, which lies in the block of the start that was given last.
    pub(crate) fn line_feeds_before(&self, index: usize) -> u64 {
        let Place { line_feeds, block, .. } = self.place;
        let before = self.chunk.line_feeds[block] & !(u64::MAX << (index % BLOCK));
        line_feeds + u64::from(count_before(&self.chunk.line_feeds_to, block) + before.count_ones())
    }

    /// What lies before `index`, in the block of the start or end that was given last, for the difference to another such place:
    /// all that a record holds, where the grammar measures.
    pub(crate) fn looks_before(&self, index: usize) -> RecordLooks {
        if !G::MEASURES {
            return RecordLooks::default();
        }
        let Place { mut looks, block, .. } = self.place;
        looks += self.chunk.looks_before[block];
        looks += self.chunk.weights[block].sum(!(u64::MAX << (index % BLOCK)));
        looks
    }

    /// The slice's first quote, if that is looked at already.
    pub(crate) fn first_quote(&self) -> Option<FirstQuote> {
        self.first_quote
    }

    /// The slice's line feeds and its first quote, also where the walk did not get to its end.
    pub(crate) fn finish(self) -> (u64, Option<usize>) {
        let rest = self.bytes.len().min(self.place.chunk + CHUNK);
        let looked_at =
            self.place.line_feeds + u64::from(count_before(&self.chunk.line_feeds_to, self.chunk.blocks));
        let beyond = &self.bytes[rest..];
        let quote = || memchr(QUOTE, beyond).map(|distance| rest + distance);
        (looked_at + count_newlines(beyond), self.first_quote.map(|quote| quote.index).or_else(quote))
    }

    /// Goes to the `count`th start from here, which is given next; gives up behind `last`.
    fn find_start(&mut self, count: u32, last: usize) -> Option<usize> {
        let Place { block, starts, .. } = self.place;
        let mut wanted = self.chunk.starts_to[block] - starts.count_ones() + count;
        loop {
            let here = count_before(&self.chunk.starts_to, self.chunk.blocks);
            if wanted <= here {
                break;
            }
            wanted -= here;
            self.next_chunk()?;
            if self.place.chunk > last {
                return None;
            }
        }
        let block = self.chunk.starts_to[..self.chunk.blocks].partition_point(|starts| *starts < wanted);
        self.enter(block);
        for _ in count_before(&self.chunk.starts_to, block) + 1..wanted {
            self.place.starts &= self.place.starts - 1;
        }
        self.place.ends &= u64::MAX << self.place.starts.trailing_zeros();
        Some(self.index(self.place.starts))
    }

    /// The index of the lowest of some bits of the block.
    fn index(&self, bits: u64) -> usize {
        self.place.chunk + self.place.block * BLOCK + bits.trailing_zeros() as usize
    }

    fn next_block(&mut self) -> Option<()> {
        if self.place.block + 1 < self.chunk.blocks {
            self.enter(self.place.block + 1);
            return Some(());
        }
        self.next_chunk()
    }

    fn next_chunk(&mut self) -> Option<()> {
        if self.bytes.len() <= self.place.chunk + CHUNK {
            return None;
        }
        self.place.line_feeds += u64::from(count_before(&self.chunk.line_feeds_to, self.chunk.blocks));
        self.place.looks += self.chunk.looks;
        self.place.chunk += CHUNK;
        self.place.carry = self.chunk.carry;
        self.look();
        self.enter(0);
        Some(())
    }

    fn enter(&mut self, block: usize) {
        self.place.block = block;
        self.place.starts = self.chunk.starts[block];
        self.place.ends = self.chunk.ends[block];
    }

    fn look(&mut self) {
        let bytes = &self.bytes[self.place.chunk..];
        self.chunk.fill(self.level, self.grammar, bytes, self.place.carry);
        if self.first_quote.is_none() && self.chunk.has_quotes {
            let Place { chunk, line_feeds, .. } = self.place;
            self.first_quote =
                memchr(QUOTE, bytes).map(|distance| FirstQuote { index: chunk + distance, line_feeds });
        }
    }
}

/// The sum before `block` of those up to the end of each block.
fn count_before(sums: &[u32; BLOCKS], block: usize) -> u32 {
    block.checked_sub(1).map_or(0, |last| sums[last])
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::blocks::{Csv, MeasuredCsv};
    use crate::format::RecordFormat;

    const CSV: Csv = Csv { delimiter: b',' };

    /// Starts and ends of records as the machine finds them, byte by byte; an end for each start, if only the slice's.
    fn step_through(bytes: &[u8], entry: EntryState) -> Vec<(usize, Option<usize>)> {
        let (mut state, mut found) = (entry, vec![]);
        for (index, byte) in bytes.iter().enumerate() {
            let next = state.step(*byte, RecordFormat::default());
            match (state.in_record(), next.in_record(), found.last_mut()) {
                (false, true, _) => found.push((index, None)),
                (true, false, Some((_, end))) => *end = Some(index),
                _ => {}
            }
            state = next;
        }
        found
    }

    fn line_feeds(bytes: &[u8]) -> u64 {
        bytes.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Several chunks of some letters and a long field, again and again.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        (vec(0..12_usize, 1..200), 0..3_000_usize, 0..20_000_usize).prop_map(|(letters, quiet, length)| {
            let letters = letters.iter().map(|letter| *b"\"\"\r\n\n,,".get(*letter).unwrap_or(&b'a'));
            let unit: Vec<u8> = letters.chain(std::iter::repeat_n(b'b', quiet)).collect();
            unit.into_iter().cycle().take(length).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_walk_gives_all_records_that_it_does_not_pass(
            bytes in any_bytes(),
            steps in vec((0..60_u32, prop_oneof![Just(0), 1..9_000_usize]), 1..40),
            entry in prop_oneof![Just(EntryState::RecordStart), Just(EntryState::Unquoted), Just(EntryState::Quoted)],
        ) {
            let records = step_through(&bytes, entry);
            let mut walk = RecordWalk::new(&bytes, CSV, entry);
            if entry.in_record() {
                let end = (0..bytes.len()).scan(entry, |state, index| {
                    *state = state.step(bytes[index], RecordFormat::default());
                    Some((index, state.in_record()))
                });
                prop_assert_eq!(walk.next_end(), end.filter(|(_, goes_on)| !goes_on).map(|(index, _)| index).next());
            }
            let (mut at, mut steps) = (0, steps.into_iter().cycle());
            while at < records.len() {
                let (start, end) = records[at];
                prop_assert_eq!(walk.next_start(), Some(start));
                prop_assert_eq!(walk.line_feeds_before(start), line_feeds(&bytes[..start]));
                let (count, distance) = steps.next().expect("it never ends");
                let wanted = records.get(at + count as usize).filter(|(next, _)| *next <= start + distance);
                if count > 0 && distance > 0 {
                    prop_assert_eq!(walk.pass(count, start + distance).is_some(), wanted.is_some());
                    if wanted.is_some() {
                        at += count as usize;
                        continue;
                    }
                }
                prop_assert_eq!(walk.next_end(), end);
                at += 1;
            }
            if records.last().is_none_or(|(_, end)| end.is_some()) {
                prop_assert_eq!(walk.next_start(), None);
            }
            prop_assert_eq!(walk.finish(), (line_feeds(&bytes), memchr(QUOTE, &bytes)));
        }

        #[test]
        fn a_walk_that_measures_finds_in_each_record_what_the_record_alone_holds(
            bytes in any_bytes(),
            steps in vec((0..60_u32, 1..9_000_usize), 1..40),
        ) {
            let mut walk = RecordWalk::new(&bytes, MeasuredCsv { delimiter: b',' }, EntryState::RecordStart);
            for (count, distance) in steps.into_iter().cycle() {
                let Some(start) = walk.next_start() else { break };
                let before = walk.looks_before(start);
                if count % 2 == 1 && walk.pass(count, start + distance).is_some() {
                    continue;
                }
                let Some(end) = walk.next_end() else { break };
                prop_assert_eq!(walk.looks_before(end) - before, RecordLooks::of(&bytes[start..end], b','));
            }
        }

        #[test]
        fn a_walk_that_ends_early_still_tells_of_all_bytes(bytes in any_bytes(), records in 0..30) {
            let mut walk = RecordWalk::new(&bytes, CSV, EntryState::RecordStart);
            for _ in 0..records {
                if walk.next_start().is_none() || walk.next_end().is_none() {
                    break;
                }
            }
            prop_assert_eq!(walk.finish(), (line_feeds(&bytes), memchr(QUOTE, &bytes)));
        }

        #[test]
        fn a_walk_from_within_quotes_may_begin_at_the_first_quote(quiet in 0..20_000_usize, bytes in any_bytes()) {
            let bytes = [b"a\n".repeat(quiet / 2), bytes].concat();
            let mut outside = RecordWalk::new(&bytes, CSV, EntryState::Unquoted);
            while outside.first_quote().is_none() && outside.next_end().is_some() && outside.next_start().is_some() {}
            if let Some(first) = outside.first_quote() {
                let (mut short, mut long) =
                    (RecordWalk::in_quotes(&bytes, CSV, first), RecordWalk::new(&bytes, CSV, EntryState::Quoted));
                loop {
                    let end = long.next_end();
                    prop_assert_eq!(short.next_end(), end);
                    let start = end.and_then(|_| long.next_start());
                    prop_assert_eq!(end.and_then(|_| short.next_start()), start);
                    let Some(start) = start else { break };
                    prop_assert_eq!(short.line_feeds_before(start), long.line_feeds_before(start));
                }
                prop_assert_eq!(short.finish(), long.finish());
            }
        }
    }
}
