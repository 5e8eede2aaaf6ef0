//! What every possible entry of a shard leads to.

use serde::{Deserialize, Serialize};

use crate::format::RecordFormat;
use crate::leap::Leap;
use crate::machine::EntryState;
use crate::positions::Walked;
use crate::range::Window;
use crate::walk::Cursor;

/// The piece from the first quote on that all entries walk; each further one is twice as long. Wrong entries mostly agree
/// with the right one after the first quoted field, so that little is walked twice.
const QUOTED_PIECE_BYTES: usize = 1 << 10;

/// Where the machine goes from one entry state through a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryExit {
    /// The state before the first byte.
    pub entry: EntryState,
    /// The state after the last byte.
    pub exit: EntryState,
    /// Where the quote began that is open (or may be closed) at exit; `None` also if it began before the range.
    pub open_quote: Option<u64>,
    /// Where the record began that is in progress at exit; `None` also if it began before the range.
    pub open_record: Option<u64>,
    /// Offset just past the CR or LF that ended the record in progress at entry; `None` also if none was in progress.
    pub inherited_end: Option<u64>,
}

impl EntryExit {
    /// What happens through no bytes at all.
    pub(crate) fn nothing(entry: EntryState) -> Self {
        Self { entry, exit: entry, open_quote: None, open_record: None, inherited_end: None }
    }

    /// Whether the same records begin in the range from both entries: the records in progress, if any, end alike.
    pub(crate) fn finds_same_records_as(&self, other: &Self) -> bool {
        self.entry.in_record() == other.entry.in_record() && self.inherited_end == other.inherited_end
    }

    /// This range and the next as one; `next` must enter where this exits.
    fn then(self, next: Self) -> Self {
        let record_goes_on = self.exit.in_record() && next.inherited_end.is_none();
        let first_record_goes_on = self.entry.in_record() && self.inherited_end.is_none();
        Self {
            entry: self.entry,
            exit: next.exit,
            open_quote: next
                .open_quote
                .or(self.open_quote.filter(|_| next.exit.in_quotes() && record_goes_on)),
            open_record: next.open_record.or(self.open_record.filter(|_| record_goes_on)),
            inherited_end: self.inherited_end.or(next.inherited_end.filter(|_| first_record_goes_on)),
        }
    }
}

/// Where `entries` lead to through `window`; `known` is what was found there from one entry.
///
/// All are walked together, each state once, until they agree; from there on, the known exit says the rest.
pub(crate) fn walk_all(
    entries: &[EntryState],
    known: &Walked,
    window: &Window<'_>,
    format: RecordFormat,
) -> Vec<EntryExit> {
    let mut exits: Vec<EntryExit> = entries.iter().map(|entry| EntryExit::nothing(*entry)).collect();
    let without_quotes = known.first_quote.unwrap_or(window.bytes.len());
    let mut from = 0;
    let mut piece = QUOTED_PIECE_BYTES;
    while from < window.bytes.len() {
        let agreed = exits.iter().all(|exit| exit.exit == exits[0].exit);
        let to = match agreed {
            true => window.bytes.len(),
            false if from < without_quotes => without_quotes,
            false => window.bytes.len().min(from + piece),
        };
        let bytes = Window { base: window.offset(from), bytes: &window.bytes[from..to] };
        match known.exit.as_ref().filter(|_| agreed) {
            Some(exit) => join(&mut exits, exit, &bytes, format),
            None => walk_piece(&mut exits, &bytes, format, to > without_quotes),
        }
        if from >= without_quotes {
            piece *= 2;
        }
        from = to;
    }
    exits
}

/// Takes all `exits` through one more piece, each state once.
fn walk_piece(exits: &mut [EntryExit], piece: &Window<'_>, format: RecordFormat, quotes: bool) {
    let leap = Leap::new(piece, format, quotes);
    let mut walked: Vec<EntryExit> = Vec::with_capacity(exits.len());
    for exit in exits {
        let known = walked.iter().find(|other| other.entry == exit.exit).copied();
        let next = known.unwrap_or_else(|| leap.walk(exit.exit));
        walked.push(next);
        *exit = exit.then(next);
    }
}

/// Takes all `exits`, which agree, through `rest`, where `main` went through them too.
fn join(exits: &mut [EntryExit], main: &EntryExit, rest: &Window<'_>, format: RecordFormat) {
    let entry = exits[0].exit;
    let end =
        if entry.in_record() { Cursor::at_start(entry).seek_record_end(rest.bytes, format) } else { None };
    let next = EntryExit {
        entry,
        exit: main.exit,
        open_quote: main.open_quote.filter(|offset| *offset >= rest.base),
        open_record: main.open_record.filter(|offset| *offset >= rest.base),
        inherited_end: end.map(|index| rest.offset(index + 1)),
    };
    for exit in exits {
        *exit = exit.then(next);
    }
}

/// The states that are possible after `previous`, and `known` too.
pub(crate) fn entries_after(
    previous: Option<u8>,
    known: Option<EntryState>,
    format: RecordFormat,
) -> Vec<EntryState> {
    let mut entries = EntryState::possible_after(previous, format).to_vec();
    entries.extend(known.filter(|entry| !EntryState::possible_after(previous, format).contains(entry)));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks byte by byte, one piece each: the leaps never see more than one byte.
    fn walk_by_bytes(entry: EntryState, bytes: &[u8]) -> EntryExit {
        let csv = RecordFormat::default();
        let mut exits = [EntryExit::nothing(entry)];
        for (byte, base) in bytes.chunks(1).zip(0..) {
            walk_piece(&mut exits, &Window { base, bytes: byte }, csv, true);
            assert_eq!(exits[0].exit, bytes[..=base as usize].iter().fold(entry, |s, b| s.step(*b, csv)));
        }
        exits[0]
    }

    proptest::proptest! {
        #[test]
        fn pieces_of_any_size_come_to_the_same(
            letters in proptest::collection::vec(0..5_usize, 1..60),
            entry in 0..6_usize,
            size in 1..60_usize,
        ) {
            use EntryState::*;
            let bytes: Vec<u8> = letters.into_iter().map(|letter| b"a,\"\r\n"[letter]).collect();
            let entry = [RecordStart, FieldStart, Unquoted, Quoted, QuoteInQuoted, AfterCr][entry];
            let mut exits = [EntryExit::nothing(entry)];
            for (piece, base) in bytes.chunks(size).zip((0..).step_by(size)) {
                walk_piece(&mut exits, &Window { base, bytes: piece }, RecordFormat::default(), true);
            }
            proptest::prop_assert_eq!(exits[0], walk_by_bytes(entry, &bytes));
        }
    }
}
