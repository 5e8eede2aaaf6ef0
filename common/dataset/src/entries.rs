//! What every possible entry of a shard leads to.

use serde::{Deserialize, Serialize};

use crate::machine::EntryState;
use crate::range::Window;
use crate::walk::Cursor;

/// The first piece that all entries walk; each further one is twice as long. Wrong entries mostly agree with the
/// right one after the first quoted field, so that little is walked twice.
const FIRST_PIECE_BYTES: usize = 1 << 10;

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
    fn nothing(entry: EntryState) -> Self {
        Self { entry, exit: entry, open_quote: None, open_record: None, inherited_end: None }
    }

    /// Walks `window` from `entry`.
    fn walk(entry: EntryState, window: &Window<'_>, delimiter: u8) -> Self {
        let mut cursor = Cursor::at_start(entry);
        let mut end = None;
        let mut open_record = None;
        if entry.in_record() {
            end = cursor.seek_record_end(window.bytes, delimiter);
        }
        while !cursor.state.in_record() {
            open_record = cursor.seek_record(window.bytes);
            if open_record.is_none() || cursor.seek_record_end(window.bytes, delimiter).is_none() {
                break;
            }
        }
        Self {
            entry,
            exit: cursor.state,
            open_quote: cursor.open_quote.map(|index| window.offset(index)),
            open_record: open_record.map(|index| window.offset(index)),
            inherited_end: end.map(|index| window.offset(index + 1)),
        }
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

/// Walks `window` from each of `entries`, together as soon as they agree.
pub(crate) fn walk_all(entries: &[EntryState], window: &Window<'_>, delimiter: u8) -> Vec<EntryExit> {
    let mut exits: Vec<EntryExit> = entries.iter().map(|entry| EntryExit::nothing(*entry)).collect();
    let mut from = 0;
    let mut piece = FIRST_PIECE_BYTES;
    while from < window.bytes.len() {
        let agreed = exits.iter().all(|exit| exit.exit == exits[0].exit);
        let to = if agreed { window.bytes.len() } else { window.bytes.len().min(from + piece) };
        let bytes = Window { base: window.offset(from), bytes: &window.bytes[from..to] };
        walk_piece(&mut exits, &bytes, delimiter);
        from = to;
        piece *= 2;
    }
    exits
}

/// Takes all `exits` through one more piece, each state once.
fn walk_piece(exits: &mut [EntryExit], piece: &Window<'_>, delimiter: u8) {
    let mut walked: Vec<EntryExit> = Vec::with_capacity(exits.len());
    for exit in exits {
        let state = exit.exit;
        let known = walked.iter().find(|other| other.entry == state).copied();
        let next = known.unwrap_or_else(|| EntryExit::walk(state, piece, delimiter));
        walked.push(next);
        *exit = exit.then(next);
    }
}

/// The exits of all states that are possible after `previous`, and of `known` too.
pub(crate) fn exits_after(
    previous: Option<u8>,
    known: Option<EntryState>,
    window: &Window<'_>,
    delimiter: u8,
) -> Vec<EntryExit> {
    let mut entries = EntryState::possible_after(previous, delimiter).to_vec();
    entries.extend(known.filter(|entry| !EntryState::possible_after(previous, delimiter).contains(entry)));
    walk_all(&entries, window, delimiter)
}
