//! What the tests of this crate share.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warifu_common::dataset::{
    Batch, ByteRange, Checkpoint, CutRules, HeaderLocation, Limits, RecordFormat, ScanRequest, ShardScan,
    SpanReader, SpanShard, SpanStep, probe,
};
use warifu_common::model::protocol::{Grant, GrantedBatch, RunContext, ShardSpan, SourcePin};
use warifu_common::model::spec::{ItemBatcher, ItemProcessor, ItemReader, MapRunSpec};
use warifu_common::model::template::RunTemplates;
use warifu_common::model::{
    AccessRules, BatchOrdinal, HandlerName, InputForm, LeaderTerm, LeaseEpoch, LeaseId, MapRunId, SessionId,
    ShardNumber, WallTime, WorkerId,
};
use warifu_common::object_store::{
    ListedObject, MIN_PART_BYTES, MissingThing, ObjectError, ObjectLocation, ObjectStore, PinnedObject,
    StoredObject, Upload,
};

use crate::handler::{BatchCall, BatchIdentity, Handler, HandlerAnswer, RunFacts};
use crate::run::OpenRun;

/// All items of a CSV text as one batch; the text is one shard.
pub(crate) fn batch_of(csv: &[u8]) -> Arc<Batch> {
    let probe =
        probe(csv, true, RecordFormat::default(), &HeaderLocation::FirstRow, &Limits::default()).unwrap();
    let rules = CutRules {
        max_items: u32::MAX,
        max_input_bytes: u64::MAX,
        envelope_bytes: 12,
        header: probe.header,
        format: RecordFormat::default(),
        sourced: false,
        max_record_bytes: 1 << 20,
        shape: None,
    };
    let range = ByteRange::new(probe.data_start, csv.len() as u64);
    let data = &csv[probe.data_start as usize..];
    let items = csv::records(data);
    let start = Checkpoint { batch: 0, item: 0, offset: probe.data_start, newlines: 0 };
    let mut reader = SpanReader::new(Arc::new(rules), SpanShard { range, ends_object: true, items }, start);
    match reader.next_batch(data, true).unwrap() {
        SpanStep::Batch(batch) => Arc::new(batch),
        step => panic!("no batch: {step:?}"),
    }
}

mod csv {
    /// Records of data without quotes.
    pub(super) fn records(data: &[u8]) -> u32 {
        data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u32
    }
}

pub(crate) fn facts() -> RunFacts {
    RunFacts {
        map_run: MapRunId::new("run-1").unwrap(),
        worker: WorkerId::new("worker-1").unwrap(),
        source: "s3://input/users.csv".to_owned(),
        templates: templates(json!({"k": "v"})),
        batched: true,
        wants_outputs: true,
        reads_items: false,
        trace_parent: None,
    }
}

/// A call of batch 7 with two items, in a run of which the test says more.
pub(crate) fn call_with(change: impl FnOnce(&mut MapRunSpec)) -> BatchCall {
    let mut context = context(b"a,b\n");
    change(&mut context.spec);
    let templates = RunTemplates::new(&context.spec, &context.template_facts()).unwrap();
    let batch = batch_of(b"a,b\n1,\"x\"\n2,\n");
    BatchCall::new(Arc::new(RunFacts { templates, ..facts() }), identity(7, 0), batch, [0, 1])
}

/// The templates of a job with this `batchInput`.
pub(crate) fn templates(batch_input: Value) -> RunTemplates {
    let mut context = context(b"a\n");
    context.spec.item_batcher.batch_input = batch_input.as_object().cloned();
    RunTemplates::new(&context.spec, &context.template_facts()).unwrap()
}

pub(crate) fn identity(batch_number: u64, round: u32) -> BatchIdentity {
    BatchIdentity {
        batch_number,
        first_index: batch_number * 100,
        attempt: round + 1,
        round,
        deadline: WallTime(1_700_000_000_000),
    }
}

/// A call with all items of a CSV text.
pub(crate) fn call_of(csv: &str) -> BatchCall {
    call_in(csv, identity(7, 0))
}

/// The same for a job without an itemBatcher.
pub(crate) fn unbatched_call_of(csv: &str) -> BatchCall {
    let batch = batch_of(csv.as_bytes());
    let offsets: Vec<u32> = (0..batch.items.len() as u32).collect();
    let facts = RunFacts { batched: false, templates: RunTemplates::default(), ..facts() };
    BatchCall::new(Arc::new(facts), identity(7, 0), batch, offsets)
}

pub(crate) fn call_in(csv: &str, identity: BatchIdentity) -> BatchCall {
    let batch = batch_of(csv.as_bytes());
    let offsets: Vec<u32> = (0..batch.items.len() as u32).collect();
    BatchCall::new(Arc::new(facts()), identity, batch, offsets)
}

/// Objects in memory; fails reads while told to.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) objects: Arc<Mutex<HashMap<ObjectLocation, Bytes>>>,
    pub(crate) reads: Mutex<Vec<Range<u64>>>,
    pub(crate) failures_left: Mutex<u32>,
    /// What a look at any object finds; absent: what listings say.
    pub(crate) seen_etag: Mutex<Option<String>>,
    /// Bytes that were read and are still held by whoever read them.
    pub(crate) held: Arc<HeldBytes>,
    /// Sizes of the parts of uploads, in the order of their writing.
    pub(crate) parts: Arc<Mutex<Vec<u64>>>,
}

/// Counts bytes that are held now, and the most that ever were.
#[derive(Debug, Default)]
pub(crate) struct HeldBytes {
    now: AtomicU64,
    pub(crate) most: AtomicU64,
}

/// Bytes that are counted until their last reader drops them.
struct Counted {
    bytes: Bytes,
    held: Arc<HeldBytes>,
}

impl Counted {
    fn new(bytes: Bytes, held: &Arc<HeldBytes>) -> Self {
        let now = held.now.fetch_add(bytes.len() as u64, Ordering::SeqCst) + bytes.len() as u64;
        held.most.fetch_max(now, Ordering::SeqCst);
        Self { bytes, held: Arc::clone(held) }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

/// The ETag of objects in listings.
const LISTED_ETAG: &str = "\"1\"";

impl MemoryStore {
    pub(crate) fn with(key: &str, bytes: impl Into<Bytes>) -> (Arc<Self>, PinnedObject) {
        let (store, bytes) = (Self::default(), bytes.into());
        let location = ObjectLocation::new("input", key);
        let size = bytes.len() as u64;
        store.objects.lock().unwrap().insert(location.clone(), bytes);
        (Arc::new(store), PinnedObject { location, version_id: None, etag: "1".into(), size })
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let objects = self.objects.lock().unwrap();
        let (_, bytes) = objects.iter().find(|(location, _)| location.key == key)?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn fail_if_told(&self) -> Result<(), ObjectError> {
        let mut left = self.failures_left.lock().unwrap();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(ObjectError::Invalid { place: "input".into(), reason: "told to fail".into() })
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn pin(
        &self,
        location: &ObjectLocation,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        let place = location.to_string();
        let objects = self.objects.lock().unwrap();
        let Some(bytes) = objects.get(location) else {
            return Err(ObjectError::NotFound {
                missing: MissingThing::Object,
                place,
                detail: String::new(),
            });
        };
        let (size, etag) = (bytes.len() as u64, self.seen_etag.lock().unwrap().clone());
        let etag = etag.unwrap_or_else(|| LISTED_ETAG.to_owned());
        Ok(PinnedObject { location: location.clone(), version_id: None, etag, size })
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.fail_if_told()?;
        self.reads.lock().unwrap().push(range.clone());
        let whole = self.objects.lock().unwrap()[&object.location].clone();
        let bytes = whole.slice(range.start as usize..range.end as usize);
        Ok(Bytes::from_owner(Counted::new(bytes, &self.held)))
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        _: &str,
    ) -> Result<StoredObject, ObjectError> {
        self.fail_if_told()?;
        let size = body.len() as u64;
        self.objects.lock().unwrap().insert(location.clone(), body);
        Ok(StoredObject { size, etag: "1".into() })
    }

    async fn begin_upload(&self, location: &ObjectLocation, _: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let (store, location) = (Arc::clone(&self.objects), location.clone());
        let sizes = Arc::clone(&self.parts);
        Ok(Box::new(MemoryUpload { store, location, parts: Vec::new(), sizes }))
    }

    async fn abort_uploads(&self, _: &str, _: &str) -> Result<(), ObjectError> {
        unreachable!("workers clean nothing up")
    }

    async fn delete(&self, _: &ObjectLocation) -> Result<(), ObjectError> {
        unreachable!("workers delete nothing")
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        let objects = self.objects.lock().unwrap();
        let mut listed: Vec<_> = objects
            .iter()
            .filter(|(at, _)| at.bucket == bucket && at.key.starts_with(prefix) && at.key.as_str() > after)
            .map(|(at, bytes)| ListedObject {
                key: at.key.clone(),
                size: bytes.len() as u64,
                etag: LISTED_ETAG.into(),
                last_modified_seconds: 1_790_204_286,
                storage_class: None,
            })
            .collect();
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        listed.truncate(max_keys);
        Ok(listed)
    }

    async fn ensure_bucket(&self, _: &str) -> Result<(), ObjectError> {
        unreachable!("workers create no buckets")
    }
}

/// An object of a [`MemoryStore`] that is being written.
struct MemoryUpload {
    store: Arc<Mutex<HashMap<ObjectLocation, Bytes>>>,
    location: ObjectLocation,
    parts: Vec<Bytes>,
    sizes: Arc<Mutex<Vec<u64>>>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn put_part(&mut self, part: Bytes) -> Result<(), ObjectError> {
        self.sizes.lock().unwrap().push(part.len() as u64);
        self.parts.push(part);
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<PinnedObject, ObjectError> {
        let (last, before) = self.parts.split_last().unwrap();
        assert!(!last.is_empty() && before.iter().all(|part| part.len() as u64 >= MIN_PART_BYTES));
        let (whole, location) = (Bytes::from(self.parts.concat()), self.location);
        let size = whole.len() as u64;
        self.store.lock().unwrap().insert(location.clone(), whole);
        Ok(PinnedObject { location, version_id: None, etag: "1".into(), size })
    }

    async fn abort(self: Box<Self>) {}
}

/// A context for the object `users.csv` of the bucket `input`, with batches of two items.
pub(crate) fn context(csv: &[u8]) -> RunContext {
    let spec = MapRunSpec {
        item_batcher: ItemBatcher { configured: true, max_items_per_batch: 2, ..ItemBatcher::default() },
        item_processor: ItemProcessor {
            timeout: Duration::from_secs(30),
            ..ItemProcessor::new(HandlerName::new("h").unwrap())
        },
        ..MapRunSpec::new(
            ItemReader::of_object("input", "users.csv", InputForm::default()),
            HandlerName::new("h").unwrap(),
        )
    };
    let probe = probe(csv, true, RecordFormat::default(), &HeaderLocation::FirstRow, &Limits::default());
    RunContext {
        map_run: MapRunId::new("run-1").unwrap(),
        redrive: 0,
        spec,
        source: SourcePin {
            bucket: "input".to_owned(),
            key: "users.csv".to_owned(),
            version_id: None,
            etag: "1".to_owned(),
            size_bytes: csv.len() as u64,
        },
        header: probe.ok().map(|probe| probe.header),
        cut_version: 1,
        max_record_bytes: 16 << 20,
        max_header_bytes: 256 << 10,
        max_columns: 65_536,
        results: Some(("output".to_owned(), "results/run-1/".to_owned())),
        failures: ("output".to_owned(), "results/run-1/".to_owned()),
        inline_output_bytes: 0,
        create_time: WallTime(1_700_000_000_123),
        start_time: WallTime(1_700_000_001_000),
        staging: ("system".to_owned(), "warifu/run-1/staged/".to_owned()),
        max_staged_bytes: 1 << 30,
        item_source: "s3://input/users.csv".to_owned(),
        allowed: AccessRules::default(),
    }
}

pub(crate) fn open_run(context: RunContext) -> Arc<OpenRun> {
    Arc::new(OpenRun::new(Arc::new(context), WorkerId::new("worker-1").unwrap()))
}

pub(crate) fn lease_id(epoch: u64) -> LeaseId {
    LeaseId { term: LeaderTerm(3), epoch: LeaseEpoch(epoch) }
}

/// All data of an object as one shard, its batches granted from its start.
pub(crate) fn grant_of(csv: &[u8], scan: &ShardScan, batches: &[u32]) -> Grant {
    let granted = |batch: &u32| GrantedBatch {
        batch: BatchOrdinal(*batch),
        attempt: 1,
        round: 0,
        retries_used: Vec::new(),
        items: None,
        give_up: false,
    };
    let start = scan.positions.checkpoints.iter().rfind(|checkpoint| checkpoint.batch <= batches[0]);
    Grant {
        lease: lease_id(9),
        session: SessionId { term: LeaderTerm(3), number: 1 },
        map_run: MapRunId::new("run-1").unwrap(),
        redrive: 0,
        shard: ShardSpan {
            shard: ShardNumber(0),
            range: scan.range,
            ends_object: scan.range.end == csv.len() as u64,
            items: scan.positions.items,
            first_item: 1000,
            first_batch: 500,
            first_line: 1,
            start: *start.unwrap(),
            read_until: scan.range.end,
        },
        batches: batches.iter().map(granted).collect(),
        slots: 1,
        compensation: None,
    }
}

/// Scans `range` of an object whose data begins right there.
pub(crate) fn scan_of(csv: &[u8], run: &OpenRun, range: ByteRange) -> ShardScan {
    warifu_common::dataset::scan(&ScanRequest {
        bytes: &csv[range.start as usize..range.end as usize],
        range,
        previous: None,
        entry: None,
        ends_object: range.end == csv.len() as u64,
        item_limit: None,
        rules: run.rules.as_ref().unwrap(),
    })
}

/// A handler made of a closure.
pub(crate) struct Scripted<F>(pub(crate) F);

#[async_trait]
impl<F, A> Handler for Scripted<F>
where
    F: Fn(BatchCall, CancellationToken) -> A + Send + Sync + 'static,
    A: Future<Output = HandlerAnswer> + Send + 'static,
{
    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        (self.0)(call, cancel).await
    }
}
