//! One shard, walked without knowledge of the others.

use serde::{Deserialize, Serialize};

use crate::cut::CutRules;
use crate::entries::{EntryExit, entries_after, walk_all};
use crate::machine::EntryState;
use crate::positions::{Positions, find_positions};
use crate::range::{ByteRange, Window};

/// One shard to be scanned.
#[derive(Debug, Clone)]
pub struct ScanRequest<'a> {
    /// The shard's bytes, all of them and no more.
    pub bytes: &'a [u8],
    /// Where they lie in the object.
    pub range: ByteRange,
    /// The byte before them; `None` if they are the data's first, where no record is in progress.
    pub previous: Option<u8>,
    /// The entry state if composition knows it, else it is guessed.
    pub entry: Option<EntryState>,
    /// Whether nothing of the object follows.
    pub ends_object: bool,
    /// How many records to count at most; `Some(0)` asks for states only.
    pub item_limit: Option<u64>,
    /// How batches are cut.
    pub rules: &'a CutRules,
}

impl<'a> ScanRequest<'a> {
    pub(crate) fn window(&self) -> Window<'a> {
        Window { base: self.range.start, bytes: self.bytes }
    }
}

/// All that a scan of one shard found: a fact about its bytes, whoever scanned them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardScan {
    /// The shard.
    pub range: ByteRange,
    /// One for every entry state that the byte before the shard allows, and for the one that was asked for.
    pub exits: Vec<EntryExit>,
    /// Items and batches for the guessed or known entry.
    pub positions: Positions,
    /// Line feeds in the shard.
    pub newlines: u64,
}

/// Scans one shard.
///
/// # Panics
///
/// If `bytes` is not as long as `range`.
pub fn scan(request: &ScanRequest<'_>) -> ShardScan {
    assert_eq!(request.bytes.len() as u64, request.range.len(), "the bytes are those of the range");
    let format = request.rules.format;
    let entries = entries_after(request.previous, request.entry, format);
    let walked = find_positions(request);
    ShardScan {
        range: request.range,
        exits: walk_all(&entries, &walked, &request.window(), format),
        positions: walked.positions,
        newlines: walked.newlines,
    }
}
