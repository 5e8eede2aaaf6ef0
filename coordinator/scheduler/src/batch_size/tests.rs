//! One run whose size is chosen, with scans as workers make them.

use serde_json::json;
use warifu_dataset::{
    CutRules, EntryState, Header, HeaderLocation, Limits, Probe, RecordFormat, ScanRequest, ShardScan, probe,
    scan,
};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::MapRunSpec;
use warifu_model::{BatchSize, Incarnation, MapRunId, Timestamp, WallTime};

use crate::Config;
use crate::map_run::{MapRun, new_status};
use crate::record::{PlanRecord, SpecRecord};

const SHARD_BYTES: u64 = 9_000;
/// 4,000 rows of nine bytes: four shards.
const ROWS: usize = 4_000;
const WORKER: Incarnation = Incarnation(1);

fn csv() -> Vec<u8> {
    let rows: String = (0..ROWS).map(|row| format!("{row:08}\n")).collect();
    format!("id\n{rows}").into_bytes()
}

fn spec(max_concurrency: u32) -> MapRunSpec {
    let spec = json!({
        "item_reader": {
            "bucket": "b", "key": "k", "version_id": null, "expected_bucket_owner": null,
            "header_location": HeaderLocation::FirstRow, "delimiter": "Comma", "lenient_quotes": false,
            "max_items": null, "range": null,
        },
        "item_batcher": {
            "configured": true, "max_items_per_batch": 100, "max_input_bytes_per_batch": 262_144,
            "batch_input": null, "auto_size": {"min_items": 1, "max_items": 100},
        },
        "item_processor": {"handler": "h", "timeout": {"secs": 30, "nanos": 0}, "retry": []},
        "max_concurrency": max_concurrency, "tolerance": {"count": null, "percentage": null},
        "timeout": null, "result_writer": null, "input": {}, "labels": {},
    });
    serde_json::from_value(spec).unwrap()
}

fn head(csv: &[u8]) -> Probe {
    probe(csv, true, RecordFormat::default(), &HeaderLocation::FirstRow, &Limits::default()).unwrap()
}

/// A run as it is when its head was read.
fn run(max_concurrency: u32, batch_size: Option<BatchSize>) -> MapRun {
    let (csv, spec) = (csv(), spec(max_concurrency));
    let source = SourcePin {
        bucket: "b".into(),
        key: "k".into(),
        version_id: None,
        etag: "e".into(),
        size_bytes: csv.len() as u64,
    };
    let status = new_status(&spec);
    let record = SpecRecord {
        uid: 0,
        cut_version: spec.cut_version(),
        spec,
        submitted: Vec::new(),
        source,
        shard_bytes: SHARD_BYTES,
        create_time: WallTime(0),
        sequence: 1,
    };
    let mut run = MapRun::new(MapRunId::new("r").unwrap(), record, status, Timestamp(0));
    run.plan(PlanRecord { probe: head(&csv), staged: None, batch_size }, &Config::default(), None);
    run.refresh_spec();
    run
}

/// What a worker finds that cuts batches of so many items.
fn scanned(run: &MapRun, shard: u32, max_items: u32) -> ShardScan {
    let csv = csv();
    let plan = run.planned().unwrap().composer.plan().clone();
    let range = plan.range(shard);
    let header: Header = head(&csv).header;
    let rules = CutRules {
        max_items,
        max_input_bytes: 262_144,
        envelope_bytes: 12,
        header,
        format: RecordFormat::default(),
        sourced: false,
        max_record_bytes: 1 << 20,
        shape: None,
    };
    scan(&ScanRequest {
        bytes: &csv[range.start as usize..range.end as usize],
        range,
        previous: (shard > 0).then(|| csv[range.start as usize - 1]),
        entry: (shard == 0).then_some(EntryState::RecordStart),
        ends_object: plan.ends_object(shard),
        item_limit: None,
        rules: &rules,
    })
}

fn take(run: &mut MapRun, shard: u32, max_items: u32) {
    let scan = scanned(run, shard, max_items);
    run.take_scan(shard, scan, WORKER);
    assert_eq!(run.compose_prefix(), None);
}

fn chosen(run: &MapRun) -> Option<BatchSize> {
    run.stored_plan.as_ref().unwrap().batch_size
}

#[test]
fn the_first_shard_tells_the_size_and_is_cut_again_by_it() {
    let mut run = run(5, None);
    assert_eq!((run.max_items(), run.lacks_batch_size()), (100, true));
    take(&mut run, 0, 100);
    // 4,000 items through fifty.
    let size = BatchSize { items: 80, total_items: 4000, is_estimate: true, max_concurrency: Some(5) };
    assert_eq!(chosen(&run), Some(size));
    assert!(run.staged.plan && run.shards.is_empty() && !run.lacks_batch_size());
    assert_eq!(run.spec.item_batcher.max_items_per_batch, 80);
    take(&mut run, 0, 80);
    assert_eq!(run.shards[&0].record.composed.batches, 13);
    for shard in 1..4 {
        take(&mut run, shard, 80);
    }
    assert!(run.is_composed());
    assert_eq!((run.total_items(), run.total_batches()), (4000, 4 * 13));
}

#[test]
fn a_scan_that_was_cut_by_another_size_is_not_taken() {
    let mut run = run(5, None);
    take(&mut run, 0, 100);
    for stale in [0, 1] {
        take(&mut run, stale, 100);
        assert!(run.shards.is_empty() && run.planned().unwrap().scans.is_empty());
    }
    take(&mut run, 0, 80);
    assert_eq!(run.shards.len(), 1);
}

#[test]
fn a_size_that_is_what_was_thought_of_needs_no_second_scan() {
    let mut run = run(1, None);
    take(&mut run, 0, 100);
    assert_eq!(chosen(&run).map(|size| size.items), Some(100));
    assert_eq!(run.shards.len(), 1);
}

#[test]
fn a_size_that_is_stored_stays_whatever_the_limits_are_now() {
    let size = BatchSize { items: 80, total_items: 4000, is_estimate: true, max_concurrency: Some(5) };
    let mut run = run(1, Some(size));
    assert_eq!((run.max_items(), run.lacks_batch_size()), (80, false));
    take(&mut run, 0, 80);
    assert_eq!((chosen(&run), run.shards.len()), (Some(size), 1));
    run.status.max_concurrency = Some(40);
    run.refresh_spec();
    assert_eq!(run.max_items(), 80);
}
