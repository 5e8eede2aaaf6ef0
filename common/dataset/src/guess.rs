//! Which entry state a shard most likely has.
//!
//! Only speed depends on it: a wrong guess is found by composition, and the shard is scanned again.

use crate::cut::CutRules;
use crate::format::RecordFormat;
use crate::machine::{EntryState, QUOTE};

/// How much of a shard is looked at, byte by byte: dozens of records of usual length, and little against a shard.
const SAMPLE_BYTES: usize = 16 << 10;

/// Chooses the entry under which the records look most like the header; the likeliest of those possible if none does.
pub(crate) fn guess_entry(possible: &[EntryState], bytes: &[u8], rules: &CutRules) -> EntryState {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let mut best = possible[0];
    if rules.format == RecordFormat::JsonLines {
        return best;
    }
    if possible.iter().all(|entry| entry.finds_same_records_as(best)) {
        return best;
    }
    let mut best_score = score(best, sample, rules);
    for entry in &possible[1..] {
        let score = score(*entry, sample, rules);
        if score > best_score {
            (best, best_score) = (*entry, score);
        }
    }
    best
}

/// Records that are well-formed and have as many fields as the header, less those that are not; the least if none is.
fn score(entry: EntryState, sample: &[u8], rules: &CutRules) -> i64 {
    let mut look = Look { alike: 0, others: 0, fields: 0, complete: false, stray_quotes: false };
    let mut state = entry;
    for byte in sample {
        let next = state.step(*byte, rules.format);
        look.take(state, *byte, next);
        if state.in_record() && !next.in_record() {
            look.end_record(rules.header.names.len());
        }
        state = next;
    }
    if look.alike == 0 { i64::MIN } else { look.alike - look.others }
}

/// What the records of a sample look like.
struct Look {
    alike: i64,
    others: i64,
    /// Fields of the record in progress.
    fields: usize,
    /// Its start was seen: it did not begin before the sample.
    complete: bool,
    /// It holds quotes where no writer puts them.
    stray_quotes: bool,
}

impl Look {
    fn take(&mut self, before: EntryState, byte: u8, after: EntryState) {
        if !before.in_record() && after.in_record() {
            self.complete = true;
            self.fields = 1;
        }
        self.fields += usize::from(after == EntryState::FieldStart);
        let quote_in_text = byte == QUOTE && before == EntryState::Unquoted;
        let text_after_quote = before == EntryState::QuoteInQuoted && after == EntryState::Unquoted;
        self.stray_quotes |= quote_in_text || text_after_quote;
    }

    fn end_record(&mut self, columns: usize) {
        if self.stray_quotes || (self.complete && self.fields != columns) {
            self.others += 1;
        } else if self.complete {
            self.alike += 1;
        }
        self.stray_quotes = false;
    }
}
