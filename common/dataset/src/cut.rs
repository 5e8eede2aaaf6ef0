//! Where one batch ends and the next begins.
//!
//! Scan and reader feed the same [`Cutter`] with the same records, so they cut alike. A batch's borders depend on nothing
//! before its first item: cutting can start again at any of them.

use serde::{Deserialize, Serialize};

use crate::format::RecordFormat;
use crate::header::Header;
use crate::looks::RecordLooks;
use crate::measure::ItemMeasure;
use crate::range::{ByteRange, Window};
use crate::shape::ItemShape;

/// The version of batch cutting that measures items in their shape, and numbers that are not known yet as their largest.
pub const SHAPES_SINCE: u32 = 2;

/// The version of batch cutting that knows lines with the object that each comes from ([`SourcedLines`](crate::SourcedLines)),
/// and the first whose workers take items from handlers.
pub const SOURCES_SINCE: u32 = 3;

/// All inputs of batch cutting; a run pins them together with [`CUT_VERSION`](crate::CUT_VERSION).
///
/// A batch holds consecutive items of one shard. It is closed when it holds `max_items`, or when the next item would take
/// the compact JSON `{"BatchInput":…,"Items":[…]}` over `max_input_bytes`, items in their shape; an item that alone takes more
/// makes a batch of its own. So does a record that is not terminated within its shard, unless the shard ends the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutRules {
    /// The most items in a batch; 0 is taken as 1.
    pub max_items: u32,
    /// The most bytes of a batch's compact JSON.
    pub max_input_bytes: u64,
    /// Bytes of that JSON without items: of `{"BatchInput":…,"Items":[]}`.
    pub envelope_bytes: u64,
    /// The object's header.
    pub header: Header,
    /// How its records are written.
    pub format: RecordFormat,
    /// Whether each JSON line begins with the object that it comes from ([`SourcedLines`](crate::SourcedLines)).
    #[serde(default)]
    pub sourced: bool,
    /// The longest record, without its terminator.
    pub max_record_bytes: u64,
    /// What becomes of an item before it is put into a batch; absent: nothing.
    pub shape: Option<ItemShape>,
}

/// One record as the cutter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its bytes without the terminator, as far as they are known.
    pub(crate) range: ByteRange,
    /// Whether it ends beyond its shard, and so is a batch of its own.
    pub(crate) crossing: bool,
    /// What it holds, if that was looked at.
    pub(crate) looks: Option<RecordLooks>,
}

/// Bytes of an item's JSON.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    /// Else it is an upper bound.
    measured: bool,
}

/// Where batches of such records are certainly within their bound, measuring them is not prepared for.
const USUAL_RECORD_BYTES: u64 = 256;

/// Decides for each record of a shard, in order, whether it begins a new batch.
#[derive(Debug, Clone)]
pub(crate) struct Cutter {
    measure: ItemMeasure,
    max_items: u32,
    max_input_bytes: u64,
    envelope_bytes: u64,
    /// Items in the batch in progress.
    items: u32,
    /// At least the bytes of its JSON; exact but for what `bounded` adds too much.
    bytes: u64,
    /// Those of its records that are in `bytes` with their upper bound.
    bounded: Vec<ByteRange>,
    /// The batch in progress takes no more items.
    closed: bool,
}

impl Cutter {
    /// A cutter at a batch border.
    pub(crate) fn new(rules: &CutRules) -> Self {
        Self {
            measure: ItemMeasure::new(rules),
            max_items: rules.max_items.max(1),
            max_input_bytes: rules.max_input_bytes,
            envelope_bytes: rules.envelope_bytes,
            items: 0,
            bytes: 0,
            bounded: Vec::new(),
            closed: true,
        }
    }

    /// Takes the next record; `true`: it begins a new batch.
    ///
    /// `window` must hold the record and the batch in progress; only the start of a crossing record is looked at.
    pub(crate) fn take(&mut self, record: Record, window: &Window<'_>) -> bool {
        let certainly_begins = record.crossing || !self.has_room();
        let size = if certainly_begins { self.bound(record.range) } else { self.size(record, window) };
        let begins = certainly_begins || !self.stays_within(size.bytes);
        if begins {
            self.begin_batch();
        }
        self.add(record, size);
        begins
    }

    /// How far apart a batch's first item and the next batch may begin at most, if it is certain that a batch of `max_items`
    /// items takes no more than its bound, whatever they hold.
    pub(crate) fn certain_batch_bytes(&self) -> u64 {
        let items = u64::from(self.max_items);
        self.max_input_bytes
            .checked_sub(self.envelope_bytes)
            .map_or(0, |bytes| self.measure.certain_record_bytes(items, bytes))
    }

    /// The most items of a batch; at least one.
    pub(crate) fn max_items(&self) -> u32 {
        self.max_items
    }

    /// Whether records should be looked at as they are found: their items can be measured by that, and are likely to be.
    pub(crate) fn wants_looks(&self) -> bool {
        let usual = u64::from(self.max_items).saturating_mul(USUAL_RECORD_BYTES);
        self.measure.knows_looks() && self.certain_batch_bytes() < usual
    }

    /// Whether the batch in progress can hold one more item, as far as their number goes.
    pub(crate) fn has_room(&self) -> bool {
        !self.closed && self.items < self.max_items
    }

    /// Ends the batch in progress: the next record begins one.
    pub(crate) fn close_batch(&mut self) {
        self.closed = true;
    }

    fn begin_batch(&mut self) {
        self.items = 0;
        self.bytes = self.envelope_bytes;
        self.bounded.clear();
    }

    fn add(&mut self, record: Record, size: Size) {
        let comma = u64::from(self.items > 0);
        self.items += 1;
        self.closed = record.crossing;
        self.bytes = self.bytes.saturating_add(comma + size.bytes);
        if !size.measured {
            self.bounded.push(record.range);
        }
    }

    /// The size of one more item. One whose record was not looked at is measured only if an upper bound says that the JSON may not
    /// stay within its bound.
    fn size(&mut self, record: Record, window: &Window<'_>) -> Size {
        if let Some(bytes) = record.looks.and_then(|looks| self.measure.of_looks(looks)) {
            if !self.stays_within(bytes) {
                self.measure_bounded(window);
            }
            return Size { bytes, measured: true };
        }
        let bound = self.bound(record.range);
        if self.stays_within(bound.bytes) {
            return bound;
        }
        self.measure_bounded(window);
        if self.stays_within(bound.bytes) {
            return bound;
        }
        // Of an item that alone is too large, no more than that is found out.
        let bytes = self.measure.exact_up_to(self.max_input_bytes, window.slice(record.range));
        Size { bytes, measured: true }
    }

    fn bound(&self, record: ByteRange) -> Size {
        Size { bytes: self.measure.upper_bound(record.len()), measured: false }
    }

    fn stays_within(&self, item_bytes: u64) -> bool {
        self.bytes.saturating_add(1).saturating_add(item_bytes) <= self.max_input_bytes
    }

    fn measure_bounded(&mut self, window: &Window<'_>) {
        for record in self.bounded.drain(..) {
            let exact = self.measure.exact_up_to(self.max_input_bytes, window.slice(record));
            let excess = self.measure.upper_bound(record.len()) - exact;
            self.bytes = self.bytes.saturating_sub(excess);
        }
    }
}
