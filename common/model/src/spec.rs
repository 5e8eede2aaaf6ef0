//! The specification of a map run, checked, with its defaults filled in.
//!
//! What a job file or request may say is decided in `wire`; whatever reaches these types is valid.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use warifu_dataset::HeaderLocation;

use crate::{
    AdaptiveConcurrency, AutoSize, Compensation, CsvEncoding, HandlerName, InputForm, Retrier, SourceObjects,
    Tolerance, TraceParent,
};

/// Items of a batch unless the job says otherwise.
pub const DEFAULT_MAX_ITEMS_PER_BATCH: u32 = 25;
/// JSON bytes of a batch unless the job says otherwise.
pub const DEFAULT_MAX_INPUT_BYTES_PER_BATCH: u64 = 262_144;
/// The most that `maxInputBytesPerBatch` may say.
pub const LARGEST_MAX_INPUT_BYTES_PER_BATCH: u64 = 1_048_576;
/// Time for one attempt at one batch unless the job says otherwise.
pub const DEFAULT_BATCH_TIMEOUT: Duration = Duration::from_secs(900);
/// The least that `maxItemsPerSecond` may say: an item in some 17 minutes.
pub const LEAST_ITEMS_PER_SECOND: f64 = 0.001;
/// The most that it may say: far beyond what a fleet does.
pub const MOST_ITEMS_PER_SECOND: f64 = 1e9;
/// The shortest `targetDuration`: less is no time to find out anything.
pub const SHORTEST_TARGET_DURATION: Duration = Duration::from_secs(1);
/// The longest one: a year.
pub const LONGEST_TARGET_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most bytes that a specification may take as JSON.
pub const MAX_SPEC_BYTES: usize = 256 * 1024;
/// Bytes of a shard unless the process is configured otherwise.
pub const DEFAULT_SHARD_BYTES: u64 = 8 * 1024 * 1024;

/// What a map run does: where items come from, how they are batched, who handles them, within which limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapRunSpec {
    /// Where the items come from; [`ItemReader::inline`] if they are `items`.
    pub item_reader: ItemReader,
    /// The items themselves, if the job gives them. As all parts that came later it is left out where it is absent, so that
    /// stored specifications keep their form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Value>>,
    /// What becomes of each item before it is put into a batch: a [template](crate::template) of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_selector: Option<Map<String, Value>>,
    /// How items are put into batches.
    pub item_batcher: ItemBatcher,
    /// Who handles a batch.
    pub item_processor: ItemProcessor,
    /// Batches in progress at once in the whole fleet; absent: no limit.
    pub max_concurrency: Option<u32>,
    /// The concurrency is chosen below that while the run goes on. Left out where it is absent, as `compensation` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// Items that are begun in a second in the whole fleet, within the bounds below; absent: no limit. Left out where it is
    /// absent, as `compensation` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items_per_second: Option<f64>,
    /// Failures that the run may have and still succeed.
    pub tolerance: Tolerance,
    /// Time for the whole run; absent: none.
    pub timeout: Option<Duration>,
    /// Where results go; absent: only a bounded part of the outputs is kept with the run.
    pub result_writer: Option<ResultWriter>,
    /// A handler that is called when the run ends for one of some reasons. Left out where it is absent: stored
    /// specifications keep the form that they had before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// The run's input, for templates.
    pub input: Map<String, Value>,
    /// Labels of the run; bounded sets, so that metrics may use them.
    pub labels: BTreeMap<String, String>,
    /// The trace that the run is part of: not the job's to say, but of the request that created it. It stands here because it
    /// goes wherever the specification goes, to the next leader and to every worker. An older process drops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<TraceParent>,
}

/// Which objects hold the items, and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemReader {
    /// S3 bucket, or `file:///directory` where local files are enabled.
    pub bucket: String,
    /// Key of the object; what the keys of several begin with, if `objects` says so. Empty: all of the bucket.
    pub key: String,
    /// A fixed version of it.
    pub version_id: Option<String>,
    /// Account that must own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// Which objects these are. As what follows, left out of stored forms that are older.
    #[serde(default, skip_serializing_if = "SourceObjects::is_one")]
    pub objects: SourceObjects,
    /// The handler that gives the items page by page, in place of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<HandlerName>,
    /// What they hold.
    #[serde(default, skip_serializing_if = "InputForm::is_csv")]
    pub form: InputForm,
    /// How a CSV is encoded.
    #[serde(default, skip_serializing_if = "CsvEncoding::is_utf8")]
    pub encoding: CsvEncoding,
    /// Where the header is.
    pub header_location: HeaderLocation,
    /// The byte between fields.
    pub delimiter: Delimiter,
    /// A quote still open at the object's end closes there, as the `csv` crate has it.
    pub lenient_quotes: bool,
    /// Items after this many are not read; absent: all.
    pub max_items: Option<u64>,
    /// Only records that begin in these bytes, first and last included.
    pub range: Option<(u64, Option<u64>)>,
}

impl MapRunSpec {
    /// A job that says nothing but where items come from and who handles them.
    pub fn new(item_reader: ItemReader, handler: HandlerName) -> Self {
        Self {
            item_reader,
            items: None,
            item_selector: None,
            item_batcher: ItemBatcher::default(),
            item_processor: ItemProcessor::new(handler),
            max_concurrency: None,
            adaptive_concurrency: None,
            max_items_per_second: None,
            tolerance: Tolerance::default(),
            timeout: None,
            result_writer: None,
            compensation: None,
            input: Map::new(),
            labels: BTreeMap::new(),
            trace_parent: None,
        }
    }

    /// The handlers without which the run makes no progress: the one that gives the items if there is one, and the one that gets
    /// them, each once.
    pub fn handlers(&self) -> impl Iterator<Item = &HandlerName> {
        let processor = &self.item_processor.handler;
        let reader = self.item_reader.handler.as_ref().filter(|reader| *reader != processor);
        reader.into_iter().chain([processor])
    }
}

impl ItemReader {
    /// An object that is read with all defaults.
    pub fn of_object(bucket: impl Into<String>, key: impl Into<String>, form: InputForm) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
            version_id: None,
            expected_bucket_owner: None,
            objects: SourceObjects::One,
            handler: None,
            form,
            encoding: CsvEncoding::Utf8,
            header_location: HeaderLocation::FirstRow,
            delimiter: Delimiter::Comma,
            lenient_quotes: false,
            max_items: None,
            range: None,
        }
    }

    /// Items that a handler gives.
    pub fn of_handler(handler: HandlerName, max_items: Option<u64>) -> Self {
        Self { handler: Some(handler), max_items, ..Self::of_object("", "", InputForm::JsonLines) }
    }

    /// What stands in place of a source if the job gives the items: they are written as JSON lines when the run is created.
    pub fn inline() -> Self {
        Self::of_object("", "", InputForm::JsonLines)
    }
}

/// The byte between the fields of a CSV record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Delimiter {
    /// `,`
    #[default]
    Comma,
    /// `|`
    Pipe,
    /// `;`
    Semicolon,
    /// A space.
    Space,
    /// A tab.
    Tab,
}

impl Delimiter {
    /// The byte itself.
    pub fn byte(self) -> u8 {
        match self {
            Delimiter::Comma => b',',
            Delimiter::Pipe => b'|',
            Delimiter::Semicolon => b';',
            Delimiter::Space => b' ',
            Delimiter::Tab => b'\t',
        }
    }
}

/// How items are put into batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemBatcher {
    /// False if the job has no `itemBatcher`: events then carry the bare item where their format says so.
    pub configured: bool,
    /// Items of a batch, at least 1.
    pub max_items_per_batch: u32,
    /// Bytes of a batch as the compact JSON that the handler gets.
    pub max_input_bytes_per_batch: u64,
    /// Part of every batch: a [template](crate::template) of batches.
    pub batch_input: Option<Map<String, Value>>,
    /// `max_items_per_batch` is chosen within these bounds when the run's first items are known; until then it is the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_size: Option<AutoSize>,
}

impl Default for ItemBatcher {
    /// What a job gets that has no `itemBatcher`.
    fn default() -> Self {
        Self {
            configured: false,
            max_items_per_batch: DEFAULT_MAX_ITEMS_PER_BATCH,
            max_input_bytes_per_batch: DEFAULT_MAX_INPUT_BYTES_PER_BATCH,
            batch_input: None,
            auto_size: None,
        }
    }
}

/// Who handles a batch, for how long, and what happens when it fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemProcessor {
    /// A handler that workers have configured.
    pub handler: HandlerName,
    /// Time for one attempt at one batch.
    pub timeout: Duration,
    /// The retry policy; empty: one attempt.
    pub retry: Vec<Retrier>,
    /// What the event is in place of the batch: a [template](crate::template) of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    /// The part of the handler's answer that is read as the answer: a JSONPath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_path: Option<String>,
}

impl ItemProcessor {
    /// One attempt of the default length at each batch.
    pub fn new(handler: HandlerName) -> Self {
        Self { handler, timeout: DEFAULT_BATCH_TIMEOUT, retry: Vec::new(), payload: None, output_path: None }
    }
}

/// Where results go, and in which form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResultWriter {
    /// S3 bucket, or `file:///directory` where local files are enabled.
    pub bucket: String,
    /// Put before `MAP_RUN_ID/`; empty or ending in `/`.
    pub prefix: String,
    /// Compression of result files.
    pub compression: Compression,
    /// What an entry of a result file is. Left out where it is the default: stored specifications keep the form that they
    /// had before there was a choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transformation: Transformation,
    /// How entries make up a file. Left out likewise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub output_type: OutputType,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an entry of a result file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Transformation {
    /// An item with its outcome.
    #[default]
    Items,
    /// An execution in AWS's shape: a batch, or an item of a job without `itemBatcher`.
    None,
    /// The output of such an execution alone; what did not succeed as with `None`.
    Compact,
    /// The same, and an output that is an array gives an entry for each of its elements.
    Flatten,
}

/// How entries make up a result file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OutputType {
    /// Each on a line of its own.
    #[default]
    Jsonl,
    /// As the elements of one array.
    Json,
}

/// Compression of result files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// The limits of a run that may be changed while it runs. `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LimitsUpdate {
    /// The new `max_concurrency`; `Some(None)` lifts the limit.
    pub max_concurrency: Option<Option<u32>>,
    /// The new `max_items_per_second`; `Some(None)` lifts the limit.
    pub max_items_per_second: Option<Option<f64>>,
    /// The new tolerated count; `Some(None)` takes that limit away.
    pub tolerated_failure_count: Option<Option<u64>>,
    /// The new tolerated percentage; `Some(None)` takes that limit away.
    pub tolerated_failure_percentage: Option<Option<f64>>,
}

impl LimitsUpdate {
    /// Applies the changes to a specification.
    pub fn apply_to(&self, spec: &mut MapRunSpec) {
        if let Some(max_concurrency) = self.max_concurrency {
            spec.max_concurrency = max_concurrency;
        }
        if let Some(rate) = self.max_items_per_second {
            spec.max_items_per_second = rate;
        }
        if let Some(count) = self.tolerated_failure_count {
            spec.tolerance.count = count;
        }
        if let Some(percentage) = self.tolerated_failure_percentage {
            spec.tolerance.percentage = percentage;
        }
    }
}
