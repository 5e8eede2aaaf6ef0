//! Splits an object of records (CSV or JSON lines) at any byte, exactly, and reads its items back.
//!
//! A quoted field of CSV may hold line breaks, so the text near a cut cannot tell whether it lies inside quotes. Here every
//! possibility is carried until the truth is known:
//!
//! 1. [`probe`] reads the object's head: byte order mark, header record, names, where the data starts.
//! 2. [`ShardPlan`] cuts `[data_start, end)` into shards of equal size, at any byte.
//! 3. [`scan`] walks one shard, knowing nothing of the others. It returns the exit state for **every** entry that is
//!    possible, and item and batch positions for the one that it guesses. Shards can be scanned in any order.
//! 4. [`Composer`] folds the scans from left to right over exact states. A shard guessed wrong is asked for again; what a
//!    scan found wrong counts only once its entry is confirmed.
//! 5. [`SpanReader`] cuts again from a [`Checkpoint`] and gives the items of each batch.
//!
//! **Owns** the machine that finds records ([`EntryState`]) of each [`RecordFormat`], the batch cutting rule ([`CutRules`])
//! and how an item becomes JSON, bare or in a [`Shape`]. **Does not
//! know** where bytes come from, who scans, what a lease or a map run is: pure functions over byte slices, no I/O, no async.
//!
//! Invariants, each of them a property in `tests/`:
//!
//! - **Invariant:** for any bytes and any cuts, composition and reading give exactly the records of the `csv` crate on the whole.
//! - **Invariant:** what [`SpanReader`] cuts equals what [`scan`] counted, from every checkpoint.
//! - **Invariant:** a guess changes how often a shard is scanned, never what comes out.
//! - **Invariant:** whatever would make scan or cutting cut differently raises [`CUT_VERSION`].
//!
//! Start reading in `machine.rs` (the states), then `walk.rs` (the same, in leaps), `blocks.rs` (the same, as bits), `scan.rs` and
//! `compose.rs`.

mod blocks;
mod columns;
mod compose;
mod convert;
mod csv_records;
mod cut;
mod dialect;
mod entries;
mod fields;
mod format;
mod guess;
mod header;
mod item;
mod item_field;
mod items;
mod json;
mod json_path;
mod json_records;
mod leap;
mod looks;
mod machine;
mod measure;
mod packed;
mod plan;
mod positions;
mod problem;
mod range;
mod reader;
mod record_walk;
mod scan;
mod shape;
mod sourced;
mod walk;

pub use compose::{Composed, ComposedShard, Composer};
pub use convert::{ConvertError, CsvToJsonLines};
pub use cut::{CutRules, SHAPES_SINCE, SOURCES_SINCE};
pub use dialect::{Dialect, HeaderLocation, Limits};
pub use entries::EntryExit;
pub use format::RecordFormat;
pub use header::{Header, HeaderProblem, Probe, ProbeError, probe};
pub use item::{Batch, Item, ItemProblem};
pub use item_field::Field;
pub use items::Items;
pub use json::{ArrayError, ArraySplitter, JsonError, MAX_JSON_DEPTH};
pub use json_path::{JsonPath, JsonPathProblem, PathStep};
pub use machine::EntryState;
pub use plan::ShardPlan;
pub use positions::{Checkpoint, Positions};
pub use problem::DataProblem;
pub use range::ByteRange;
pub use reader::{SpanReader, SpanShard, SpanStep};
pub use scan::{ScanRequest, ShardScan, scan};
pub use shape::{ItemHole, ItemShape, MEASURED_DIGITS, Part, Shape, ShapedField};
pub use sourced::{SourcedLines, split_sourced};

/// The newest version of everything that decides where batches are cut.
///
/// A run pins the first version that knows all that it asks for. A version is added whenever [`scan`], the cutting rule or
/// the size of an item's JSON would come out differently for some input; a worker that does not know a run's version must
/// refuse to scan or read for it. All versions so far cut alike where both know the rules.
pub const CUT_VERSION: u32 = SOURCES_SINCE;

/// The versions that this package knows.
pub const CUT_VERSIONS: std::ops::RangeInclusive<u32> = 1..=CUT_VERSION;
