//! Which entry state a shard most likely has.
//!
//! Only speed depends on it: a wrong guess is found by composition, and the shard is scanned again.

use crate::cut::CutRules;
use crate::fields::count_fields;
use crate::machine::EntryState;
use crate::walk::Cursor;

/// How much of a shard is looked at: hundreds of records of usual length, and little against a shard.
const SAMPLE_BYTES: usize = 64 << 10;

/// Chooses the entry under which the records look most like the header; the likeliest of those possible if none does.
pub(crate) fn guess_entry(possible: &[EntryState], bytes: &[u8], rules: &CutRules) -> EntryState {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let mut best = possible[0];
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

/// Records with as many fields as the header has, less those with more or fewer; the least if there is none.
fn score(entry: EntryState, sample: &[u8], rules: &CutRules) -> i64 {
    let delimiter = rules.dialect.delimiter;
    let columns = rules.header.names.len();
    let mut cursor = Cursor::at_start(entry);
    let (mut alike, mut others) = (0, 0);
    if entry.in_record() {
        cursor.seek_record_end(sample, delimiter);
    }
    while !cursor.state.in_record() {
        let Some(start) = cursor.seek_record(sample) else { break };
        let Some(end) = cursor.seek_record_end(sample, delimiter) else { break };
        let counter =
            if count_fields(&sample[start..end], delimiter) == columns { &mut alike } else { &mut others };
        *counter += 1;
    }
    if alike == 0 { i64::MIN } else { alike - others }
}
