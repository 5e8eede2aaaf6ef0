//! The `csv` crate's machine, byte by byte, written down a second time.

use warifu_dataset::{EntryState, ShardScan};

/// One step: the next state, and whether the byte belongs to a record's content or delimiters.
pub fn step(state: EntryState, byte: u8, delimiter: u8) -> EntryState {
    let ends_record = byte == b'\r' || byte == b'\n';
    let no_record = state == EntryState::RecordStart || state == EntryState::AfterCr;
    if no_record && ends_record {
        return EntryState::RecordStart;
    }
    if state == EntryState::Quoted {
        return if byte == b'"' { EntryState::QuoteInQuoted } else { EntryState::Quoted };
    }
    if byte == b'"' {
        return if state == EntryState::Unquoted { EntryState::Unquoted } else { EntryState::Quoted };
    }
    if byte == delimiter {
        return EntryState::FieldStart;
    }
    match byte {
        b'\r' => EntryState::AfterCr,
        b'\n' => EntryState::RecordStart,
        _ => EntryState::Unquoted,
    }
}

/// What one walk over a range saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    pub exit: EntryState,
    pub open_quote: Option<u64>,
    pub open_record: Option<u64>,
    pub inherited_end: Option<u64>,
    /// Start and end, without terminator, of the records that begin in the range; the last may be open.
    pub records: Vec<(u64, u64)>,
}

/// Walks `bytes`, which begin at offset `base`.
pub fn walk(bytes: &[u8], base: u64, entry: EntryState, delimiter: u8) -> Walk {
    let mut walk =
        Walk { exit: entry, open_quote: None, open_record: None, inherited_end: None, records: vec![] };
    for (byte, offset) in bytes.iter().zip(base..) {
        let before = walk.exit;
        let after = step(before, *byte, delimiter);
        walk.exit = after;
        if !before.in_record() && after.in_record() {
            walk.open_record = Some(offset);
        }
        if after == EntryState::Quoted && before != EntryState::Quoted && before != EntryState::QuoteInQuoted
        {
            walk.open_quote = Some(offset);
        }
        if after != EntryState::Quoted && after != EntryState::QuoteInQuoted {
            walk.open_quote = None;
        }
        if before.in_record() && !after.in_record() {
            match walk.open_record.take() {
                Some(start) => walk.records.push((start, offset)),
                None => walk.inherited_end = Some(offset + 1),
            }
        }
    }
    walk.records.extend(walk.open_record.map(|start| (start, base + bytes.len() as u64)));
    walk
}

/// A scan names every entry that the byte before allows, each with the exit of the naive walk.
pub fn check_exits(object: &[u8], scan: &ShardScan, delimiter: u8, first: bool) {
    let bytes = &object[scan.range.start as usize..scan.range.end as usize];
    let mut entries: Vec<EntryState> = scan.exits.iter().map(|exit| exit.entry).collect();
    for exit in &scan.exits {
        let walk = walk(bytes, scan.range.start, exit.entry, delimiter);
        assert_eq!(
            (exit.exit, exit.open_quote, exit.open_record, exit.inherited_end),
            (walk.exit, walk.open_quote, walk.open_record, walk.inherited_end),
            "from {:?} through {bytes:?}",
            exit.entry
        );
    }
    entries.sort();
    let mut possible =
        if first { vec![EntryState::RecordStart] } else { possible(object, scan.range.start, delimiter) };
    possible.sort();
    assert_eq!(entries, possible);
}

/// The states that some state leads to with the byte before `offset`.
fn possible(object: &[u8], offset: u64, delimiter: u8) -> Vec<EntryState> {
    let all = [
        EntryState::RecordStart,
        EntryState::FieldStart,
        EntryState::Unquoted,
        EntryState::Quoted,
        EntryState::QuoteInQuoted,
        EntryState::AfterCr,
    ];
    let byte = object[offset as usize - 1];
    all.into_iter()
        .filter(|state| all.iter().any(|before| step(*before, byte, delimiter) == *state))
        .collect()
}
