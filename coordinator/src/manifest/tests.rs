//! What the coordinator writes of a run's results.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_common::object_store::{LocalFiles, ObjectLocation};
use warifu_dataset::{HeaderLocation, Limits, RecordFormat, probe};
use warifu_model::spec::{Compression, MapRunSpec, OutputType, ResultWriter, Transformation};
use warifu_model::template::ItemSource;
use warifu_model::{FailureCounts, MapRunId, RunError, WallTime};
use warifu_scheduler::record::{PartsRecord, Record};
use warifu_scheduler::{AbortedItems, Commit, CommitId, PendingItems};

use super::*;
use crate::state_store::{MemoryStore, StateStore, StoreError, samples};

fn part(name: &str, size_bytes: u64) -> PartRef {
    PartRef { name: name.into(), size_bytes, item_count: 1 }
}

fn parts() -> Parts {
    Parts {
        succeeded: vec![part("SUCCEEDED_1-9-1.jsonl", 30), part("SUCCEEDED_1-2-1.jsonl", 20)],
        failed: vec![part("FAILED_1-2-1.jsonl", 7)],
        left_out: false,
    }
}

fn spec(writer: ResultWriter) -> Arc<MapRunSpec> {
    Arc::new(MapRunSpec { result_writer: Some(writer), ..samples::spec("users.csv").spec })
}

fn order(bucket: &str) -> ManifestOrder {
    let item_counts =
        ItemCounts { total: 10, pending: 4, succeeded: 3, failed: 1, aborted: 2, ..Default::default() };
    ManifestOrder {
        map_run: MapRunId::new("run-1").unwrap(),
        item_source: ItemSource::OfRun("s3://input/users.csv".into()),
        redrive: 0,
        bucket: bucket.into(),
        prefix: "results/run-1/".into(),
        create_time: WallTime(0),
        state: MapRunState::Failed,
        error: Some(RunError {
            error: "States.ExceedToleratedFailureThreshold".into(),
            cause: "too many".into(),
        }),
        part_entries: 2,
        pending: vec![PendingItems {
            first_index: 6,
            last_index: 9,
            first_batch: 3,
            byte_offset: 60,
            byte_length: 40,
            skipped: 0,
            shard_end: 100,
        }],
        aborted: vec![AbortedItems {
            batch_number: 2,
            indexes: vec![4, 5],
            attempts: 1,
            byte_offset: 40,
            byte_length: 20,
            first_index: 4,
            item_count: 2,
            shard_end: 100,
        }],
        summary: Summary {
            item_counts,
            batch_counts: ItemCounts::default(),
            failure_counts: FailureCounts { business: 3, system: 1 },
            errors: BTreeMap::from([
                ((FailureKind::System, "Http.503".to_owned()), 1),
                ((FailureKind::Business, "Bad".to_owned()), 3),
            ]),
            start_time: WallTime(1_000),
            stop_time: WallTime(3_500),
        },
        spec: spec(ResultWriter::default()),
        source: samples::spec("users.csv").source,
        probe: None,
        max_record_bytes: 1 << 20,
        unscanned_from: Some((100, 250)),
    }
}

struct Bucket {
    _directory: tempfile::TempDir,
    name: String,
    objects: LocalFiles,
}

impl Bucket {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("file://{}", directory.path().display());
        Self { _directory: directory, name, objects: LocalFiles::new() }
    }

    async fn text(&self, key: &str) -> String {
        let location = ObjectLocation::new(&self.name, key);
        String::from_utf8(self.objects.get(&location, 1 << 20).await.unwrap().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn what_dead_writers_began_below_a_runs_prefix_is_given_up_and_nothing_else() {
    let bucket = Bucket::new();
    for key in ["results/run-1/dead", "results/run-2/alive"] {
        let location = ObjectLocation::new(&bucket.name, key);
        let mut upload = bucket.objects.begin_upload(&location, "text/plain").await.unwrap();
        upload.put_part("x".into()).await.unwrap();
    }
    write(&bucket.objects, &order(&bucket.name), parts()).await.unwrap();
    sweep(&bucket.objects, &order(&bucket.name)).await;
    let unfinished = |run: &str| {
        let directory = bucket.name.trim_start_matches("file://").to_owned() + "/results/" + run;
        let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().contains("unfinished")).count()
    };
    assert_eq!((unfinished("run-1"), unfinished("run-2")), (0, 1));
}

#[tokio::test]
async fn the_manifest_names_what_counts_and_sums_it_up() {
    let bucket = Bucket::new();
    let location = write(&bucket.objects, &order(&bucket.name), parts()).await.unwrap();
    assert_eq!(location.manifest_key, "results/run-1/manifest.json");

    let manifest: Value = serde_json::from_str(&bucket.text(&location.manifest_key).await).unwrap();
    assert_eq!(manifest["DestinationBucket"], bucket.name.as_str());
    assert_eq!(manifest["MapRunArn"], "arn:aws:states:::mapRun:mapRuns/run-1");
    let files = &manifest["ResultFiles"];
    let keys = |kind: &str| -> Vec<String> {
        let entries = files[kind].as_array().unwrap();
        entries.iter().map(|entry| entry["Key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        keys("SUCCEEDED"),
        ["results/run-1/SUCCEEDED_1-2-1.jsonl", "results/run-1/SUCCEEDED_1-9-1.jsonl"]
    );
    assert_eq!(keys("FAILED"), ["results/run-1/FAILED_1-2-1.jsonl", "results/run-1/FAILED_ABORTED_0.jsonl"]);
    assert_eq!(keys("PENDING"), ["results/run-1/PENDING_0.jsonl"]);
    assert_eq!(files["FAILED"][1]["Size"], bucket.text("results/run-1/FAILED_ABORTED_0.jsonl").await.len());
    let summary = &manifest["Summary"];
    assert_eq!(summary["Items"]["Aborted"], 2);
    assert_eq!(summary["ErrorRate"], 0.1);
    assert_eq!(summary["ErrorsByKind"], json!({"BUSINESS": 3, "SYSTEM": 1}));
    assert_eq!(summary["DurationSeconds"], 2.5);
    assert_eq!(summary["Errors"][0], json!({"Error": "Bad", "Kind": "BUSINESS", "Count": 3}));
}

#[tokio::test]
async fn what_never_started_and_what_was_aborted_have_a_line_each() {
    let bucket = Bucket::new();
    write(&bucket.objects, &order(&bucket.name), parts()).await.unwrap();
    assert_eq!(
        bucket.text("results/run-1/PENDING_0.jsonl").await,
        concat!(
            r#"{"firstIndex":6,"lastIndex":9,"key":"users.csv","byteOffset":60,"byteLength":40}"#,
            "\n",
            r#"{"firstIndex":null,"lastIndex":null,"key":"users.csv","byteOffset":100,"byteLength":150}"#,
            "\n"
        )
    );
    let aborted = bucket.text("results/run-1/FAILED_ABORTED_0.jsonl").await;
    let first = r#"{"index":4,"batch":2,"status":"ABORTED","attempts":1,"error":"Warifu.Aborted","cause":"#;
    assert!(aborted.starts_with(first), "{aborted}");
    assert!(aborted.contains(r#""kind":"SYSTEM","source":{"byteOffset":40,"byteLength":20}}"#), "{aborted}");
    assert_eq!(aborted.lines().count(), 2);
}

#[tokio::test]
async fn writing_again_writes_the_same_bytes() {
    let bucket = Bucket::new();
    let (order, mut again) = (order(&bucket.name), parts());
    write(&bucket.objects, &order, parts()).await.unwrap();
    let first = bucket.text("results/run-1/manifest.json").await;
    again.succeeded.reverse();
    write(&bucket.objects, &order, again).await.unwrap();
    assert_eq!(bucket.text("results/run-1/manifest.json").await, first);
}

#[tokio::test]
async fn a_redrive_keeps_the_earlier_manifest_even_when_it_writes_twice() {
    let bucket = Bucket::new();
    write(&bucket.objects, &order(&bucket.name), parts()).await.unwrap();
    let first = bucket.text("results/run-1/manifest.json").await;
    let redriven =
        ManifestOrder { redrive: 1, state: MapRunState::Succeeded, error: None, ..order(&bucket.name) };
    for _ in 0..2 {
        write(&bucket.objects, &redriven, parts()).await.unwrap();
        assert_eq!(bucket.text("results/run-1/Redrive-1/manifest.json").await, first);
        assert_ne!(bucket.text("results/run-1/manifest.json").await, first);
    }
    assert!(!bucket.text("results/run-1/PENDING_0.jsonl").await.is_empty(), "the earlier files stay");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_be_written_to_fails_the_run() {
    let bucket = Bucket::new();
    let order = ManifestOrder { prefix: "../outside/".into(), ..order(&bucket.name) };
    let fault = write(&bucket.objects, &order, parts()).await.unwrap_err();
    assert_eq!(fault.error, "States.ResultWriterFailed");
    assert!(fault.cause.contains("cannot be written"), "{}", fault.cause);
}

/// A store whose log of parts has these entries.
async fn store_with(entries: Vec<PartsRecord>) -> (MemoryStore, ManifestOrder) {
    let store = MemoryStore::new();
    let (term, _) = store.lead().await.unwrap().taken().unwrap();
    let order = ManifestOrder { part_entries: entries.len() as u64, ..order("results") };
    let put = |(number, parts)| Record::PutParts { map_run: order.map_run.clone(), number, parts };
    let records = (0..).zip(entries).map(put).collect();
    store.commit(&Commit { id: CommitId(1), term, records }).await.unwrap();
    (store, order)
}

fn names(parts: &[PartRef]) -> Vec<&str> {
    parts.iter().map(|part| part.name.as_str()).collect()
}

#[tokio::test]
async fn successes_of_all_redrives_count_and_failures_of_the_last_one_alone() {
    let entry = |redrive: u32| PartsRecord {
        redrive,
        succeeded: vec![part(&format!("S{redrive}"), 1)],
        failed: vec![part(&format!("F{redrive}"), 1)],
    };
    let (store, mut order) = store_with((0..100).map(|number| entry(number / 40)).collect()).await;
    order.redrive = 1;
    order.part_entries = 81; // what another leader counted afterwards is not this order's
    let parts = Parts::read(&store, &order).await.unwrap();
    assert_eq!(names(&parts.succeeded), [vec!["S0"; 40], vec!["S1"; 40], vec!["S2"]].concat());
    assert_eq!(names(&parts.failed), vec!["F1"; 40]);
    assert!(!parts.left_out);
}

#[tokio::test]
async fn a_log_with_a_gap_is_no_log() {
    let (store, mut order) = store_with(vec![PartsRecord::default()]).await;
    order.part_entries = 2;
    assert!(matches!(Parts::read(&store, &order).await, Err(StoreError::Corrupt { kind: "parts", .. })));
}

#[tokio::test]
async fn more_files_than_a_manifest_can_name_fail_the_run() {
    let long = part(&"x".repeat(1 << 20), 1);
    let entry = PartsRecord { redrive: 0, succeeded: vec![long; 20], failed: Vec::new() };
    let (store, order) = store_with(vec![entry; 4]).await;
    let parts = Parts::read(&store, &order).await.unwrap();
    assert_eq!((parts.succeeded.len(), parts.left_out), (60, true));
    let fault = write(&LocalFiles::new(), &order, parts).await.unwrap_err();
    assert!(fault.cause.ends_with("it would name more result files than fit into 64 MiB"), "{}", fault.cause);
}

const CSV: &str = "id\nr0\nr1\nr2\nr3\nr4\nr5\nr6\nr7\nr8\nr9\n";

/// Of the items of [`CSV`], in batches of two, 4 and 5 had started; 6, 8 and 9 had not.
async fn order_with_source(bucket: &Bucket, writer: ResultWriter, batched: bool) -> ManifestOrder {
    let place = ObjectLocation::new(&bucket.name, "users.csv");
    bucket.objects.put(&place, CSV.into(), "text/csv").await.unwrap();
    let pinned = bucket.objects.pin(&place, None, None).await.unwrap();
    let mut spec = (*spec(writer)).clone();
    spec.item_reader.delimiter = Default::default();
    spec.item_batcher.configured = batched;
    spec.item_batcher.max_items_per_batch = 2;
    spec.item_batcher.batch_input = None;
    let header = HeaderLocation::FirstRow;
    let probe = probe(CSV.as_bytes(), true, RecordFormat::default(), &header, &Limits::default());
    let of_record = |record: u64| 3 + 3 * record;
    let pending = |first: u64, last: u64, skipped: u32| PendingItems {
        first_index: first,
        last_index: last,
        first_batch: (first - u64::from(skipped)) / 2,
        byte_offset: of_record(first - u64::from(skipped)),
        byte_length: 3 * (last - first + 1 + u64::from(skipped)),
        skipped,
        shard_end: CSV.len() as u64,
    };
    let mut order = order(&bucket.name);
    order.aborted[0].byte_offset = of_record(4);
    order.aborted[0].byte_length = 6;
    ManifestOrder {
        spec: Arc::new(spec),
        source: warifu_model::protocol::SourcePin {
            bucket: bucket.name.clone(),
            key: "users.csv".into(),
            version_id: None,
            etag: pinned.etag,
            size_bytes: pinned.size,
        },
        probe: Some(probe.unwrap()),
        pending: vec![pending(6, 6, 0), pending(9, 9, 1), pending(8, 9, 0)],
        unscanned_from: None,
        ..order
    }
}

fn inner(entry: &Value) -> Value {
    serde_json::from_str(entry["Input"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn with_none_what_never_started_and_what_was_aborted_are_executions() {
    let bucket = Bucket::new();
    let writer = ResultWriter {
        transformation: Transformation::None,
        output_type: OutputType::Json,
        ..ResultWriter::default()
    };
    for (batched, pending, aborted) in [
        (
            true,
            json!([{"Items": [{"id": "r6"}]}, {"Items": [{"id": "r9"}]}, {"Items": [{"id": "r8"}, {"id": "r9"}]}]),
            1,
        ),
        (false, json!([{"id": "r6"}, {"id": "r9"}, {"id": "r8"}, {"id": "r9"}]), 2),
    ] {
        let order = order_with_source(&bucket, writer.clone(), batched).await;
        write(&bucket.objects, &order, parts()).await.unwrap();
        let entries: Vec<Value> =
            serde_json::from_str(&bucket.text("results/run-1/PENDING_0.json").await).unwrap();
        assert_eq!(Value::from_iter(entries.iter().map(inner)), pending);
        assert!(entries.iter().all(|entry| entry["Status"] == "PENDING"));
        let entries: Vec<Value> =
            serde_json::from_str(&bucket.text("results/run-1/FAILED_ABORTED_0.json").await).unwrap();
        assert_eq!(entries.len(), aborted);
        assert_eq!(entries[0]["Status"], "ABORTED");
        let (name, input) = match batched {
            true => ("2", json!({"Items": [{"id": "r4"}, {"id": "r5"}]})),
            false => ("4", json!({"id": "r4"})),
        };
        assert_eq!((entries[0]["Name"].as_str(), inner(&entries[0])), (Some(name), input));
    }
}

#[tokio::test]
async fn where_there_is_too_much_or_the_source_was_changed_ranges_stand_for_entries() {
    let bucket = Bucket::new();
    let writer = ResultWriter { transformation: Transformation::None, ..ResultWriter::default() };
    let order = order_with_source(&bucket, writer, true).await;
    let mut many = order.clone();
    many.pending[2].last_index += unfinished::MAX_PENDING_ENTRIES;
    let mut long = order.clone();
    long.pending[2].byte_length += unfinished::MAX_PENDING_BYTES;
    let unscanned = ManifestOrder { unscanned_from: Some((30, 33)), ..order.clone() };
    let mut changed = order.clone();
    changed.source.etag = "another".into();
    for order in [many, long, unscanned, changed] {
        write(&bucket.objects, &order, parts()).await.unwrap();
        let pending = bucket.text("results/run-1/PENDING_0.jsonl").await;
        assert!(pending.starts_with(r#"{"firstIndex":6,"lastIndex":6,"key":"users.csv""#), "{pending}");
    }
    let mut changed = order;
    changed.source.etag = "another".into();
    write(&bucket.objects, &changed, parts()).await.unwrap();
    let aborted = bucket.text("results/run-1/FAILED_ABORTED_0.jsonl").await;
    let entry: Value = serde_json::from_str(&aborted).unwrap();
    assert_eq!((&entry["InputDetails"], entry.get("Input")), (&json!({"Included": false}), None));
}

#[tokio::test]
async fn the_coordinators_files_are_compressed_as_the_workers_are() {
    let bucket = Bucket::new();
    for (compression, name, magic) in [
        (Compression::Gzip, "PENDING_0.jsonl.gz", &[0x1f, 0x8b][..]),
        (Compression::Zstd, "PENDING_0.jsonl.zst", &[0x28, 0xb5, 0x2f, 0xfd]),
    ] {
        let writer = ResultWriter { compression, ..ResultWriter::default() };
        let order = ManifestOrder { spec: spec(writer), ..order(&bucket.name) };
        write(&bucket.objects, &order, parts()).await.unwrap();
        let place = ObjectLocation::new(&bucket.name, format!("results/run-1/{name}"));
        let bytes = bucket.objects.get(&place, 1 << 20).await.unwrap();
        assert!(bytes.starts_with(magic), "{name}: {bytes:?}");
    }
}
