//! Which entry state a shard most likely has.
//!
//! Only speed depends on it: a wrong guess is found by composition, and the shard is scanned again.

use std::cmp::Reverse;

use crate::cut::CutRules;
use crate::format::RecordFormat;
use crate::machine::{EntryState, QUOTE};
use crate::scan::ScanRequest;

/// How much before a shard's first quote is looked at, byte by byte: records before it count only where quotes do not decide.
const BYTES_BEFORE: usize = 1 << 10;

/// How much is looked at from the first quote on. Nearly always the states agree long before.
const BYTES_FROM: usize = 16 << 10;

/// A guess that the shard's first quote has yet to confirm.
///
/// Before it, records in quotes and records look alike; there may be megabytes of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guess<'a> {
    bytes: &'a [u8],
    rules: &'a CutRules,
    possible: &'static [EntryState],
}

impl<'a> Guess<'a> {
    /// The likeliest entry without a look at the shard, and what to ask about it later, if there is a choice.
    pub(crate) fn first(request: &ScanRequest<'a>) -> (EntryState, Option<Self>) {
        let format = request.rules.format;
        let possible = EntryState::possible_after(request.previous, format);
        let only = possible.iter().all(|entry| entry.finds_same_records_as(possible[0]));
        let guess = Self { bytes: request.bytes, rules: request.rules, possible };
        (possible[0], (!only && format != RecordFormat::JsonLines).then_some(guess))
    }

    /// The likeliest entry, now that the index of the shard's first quote is known: whose records have the fewest quotes where
    /// no writer puts them and, of those that are alike in this, look most like the header; the first one of those.
    pub(crate) fn likeliest(&self, first_quote: usize) -> EntryState {
        let from = first_quote.saturating_sub(BYTES_BEFORE);
        let to = self.bytes.len().min(first_quote.saturating_add(BYTES_FROM));
        let mut looks: Vec<Look<'_>> =
            self.possible.iter().map(|entry| Look::at(self.state_at(*entry, from), self.rules)).collect();
        for byte in &self.bytes[from..to] {
            looks.iter_mut().for_each(|look| look.take(*byte));
            if looks.iter().all(|look| look.state == looks[0].state) {
                break;
            }
        }
        let mut best = 0;
        for place in 1..looks.len() {
            let rank = |place: usize| looks[place].rank(self.possible[place] != EntryState::Quoted);
            if rank(place) > rank(best) {
                best = place;
            }
        }
        self.possible[best]
    }

    /// The state at index `from`, which no quote precedes.
    fn state_at(&self, entry: EntryState, from: usize) -> EntryState {
        match from.checked_sub(1) {
            Some(last) if entry != EntryState::Quoted => {
                EntryState::possible_after(Some(self.bytes[last]), self.rules.format)[0]
            }
            Some(_) | None => entry,
        }
    }
}

/// What the records of a sample look like from one entry.
struct Look<'a> {
    rules: &'a CutRules,
    state: EntryState,
    /// Quotes where no writer puts them.
    strays: u64,
    /// Well-formed records with as many fields as the header.
    alike: i64,
    others: i64,
    /// Fields of the record in progress.
    fields: usize,
    /// Its start was seen: it did not begin before the sample.
    complete: bool,
    /// `strays` at its start.
    strays_before: u64,
}

impl<'a> Look<'a> {
    fn at(state: EntryState, rules: &'a CutRules) -> Self {
        Self { rules, state, strays: 0, alike: 0, others: 0, fields: 0, complete: false, strays_before: 0 }
    }

    fn take(&mut self, byte: u8) {
        let before = self.state;
        let after = before.step(byte, self.rules.format);
        self.state = after;
        if !before.in_record() && after.in_record() {
            self.complete = true;
            self.fields = 1;
        }
        self.fields += usize::from(after == EntryState::FieldStart);
        let quote_in_text = byte == QUOTE && before == EntryState::Unquoted;
        let text_after_quote = before == EntryState::QuoteInQuoted && after == EntryState::Unquoted;
        self.strays += u64::from(quote_in_text || text_after_quote);
        if before.in_record() && !after.in_record() {
            self.end_record();
        }
    }

    fn end_record(&mut self) {
        if self.strays > self.strays_before || (self.complete && self.fields != self.rules.header.names.len())
        {
            self.others += 1;
        } else if self.complete {
            self.alike += 1;
        }
        self.strays_before = self.strays;
    }

    /// The likelier, the greater. Where nothing else tells, a shard begins outside of quotes.
    fn rank(&self, outside: bool) -> (Reverse<u64>, i64, bool) {
        let likeness = if self.alike == 0 { i64::MIN } else { self.alike - self.others };
        (Reverse(self.strays), likeness, outside)
    }
}
