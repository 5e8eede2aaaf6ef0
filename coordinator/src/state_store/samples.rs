//! Records with every field set, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use warifu_dataset::{ByteRange, Header, HeaderLocation, Limits, Probe, RecordFormat, ShardPlan};
use warifu_model::protocol::{CallOutcome, SourcePin};
use warifu_model::spec::{
    Compression, Delimiter, ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, ResultWriter,
};
use warifu_model::{
    AdaptedLimit, AdaptiveConcurrency, BatchSize, CallFailure, Compensation, CompensationState,
    CompensationStatus, CompensationTrigger, ErrorGroup, ErrorSample, FailureKind, HandlerName, Incarnation,
    ItemCounts, ItemFailure, JitterStrategy, LeaderTerm, LeaseEpoch, LeaseId, LimitReason, MapRunState,
    PartRef, ResultLocation, Retrier, RunError, SourcePlace, Tolerance, WallTime, Warning, WorkerId,
};
use warifu_scheduler::record::{
    FinishedRange, OpenBatch, PartsRecord, PlanRecord, RosterRecord, ShardRecord, SpecRecord, StatusRecord,
};
use warifu_scheduler::{ControllerRecord, LeastTime};

pub(crate) fn spec(key: &str) -> SpecRecord {
    let mut input = serde_json::Map::new();
    input.insert("z".into(), serde_json::json!([1, 2.5, null, "t"]));
    input.insert("a".into(), serde_json::json!({"k": true}));
    SpecRecord {
        uid: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        spec: MapRunSpec {
            item_reader: ItemReader {
                handler: None,
                bucket: "input".into(),
                key: key.into(),
                version_id: Some("v".into()),
                expected_bucket_owner: None,
                objects: Default::default(),
                form: Default::default(),
                encoding: Default::default(),
                header_location: HeaderLocation::Given(vec!["h".into()]),
                delimiter: Delimiter::Tab,
                lenient_quotes: true,
                max_items: Some(9),
                range: Some((1, None)),
            },
            items: None,
            item_selector: None,
            item_batcher: ItemBatcher {
                configured: true,
                max_items_per_batch: 25,
                max_input_bytes_per_batch: 262_144,
                batch_input: Some(input.clone()),
                auto_size: None,
            },
            item_processor: ItemProcessor {
                handler: HandlerName::new("echo").unwrap(),
                timeout: Duration::from_secs(30),
                retry: vec![Retrier {
                    error_equals: vec!["States.ALL".into()],
                    interval: Duration::from_secs(1),
                    max_attempts: 3,
                    backoff_rate: 2.0,
                    max_delay: Some(Duration::from_secs(60)),
                    jitter_strategy: JitterStrategy::Full,
                }],
                payload: None,
                output_path: None,
            },
            max_concurrency: Some(5),
            adaptive_concurrency: None,
            max_items_per_second: None,
            tolerance: Tolerance { count: Some(7), percentage: Some(2.5) },
            timeout: Some(Duration::from_secs(86_400)),
            result_writer: Some(ResultWriter {
                bucket: "output".into(),
                prefix: "results/".into(),
                compression: Compression::Gzip,
                ..ResultWriter::default()
            }),
            compensation: None,
            input,
            labels: BTreeMap::from([("team".to_owned(), "data".to_owned())]),
            trace_parent: None,
        },
        submitted: vec![1, 2, 255],
        source: SourcePin {
            bucket: "input".into(),
            key: key.into(),
            version_id: None,
            etag: "\"e\"".into(),
            size_bytes: 300,
        },
        shard_bytes: 8 << 20,
        cut_version: 1,
        create_time: WallTime(1_700_000_000_000),
        sequence: 12,
    }
}

pub(super) fn compensated_spec() -> SpecRecord {
    let mut record = spec("a");
    record.spec.compensation = Some(Compensation {
        handler: HandlerName::new("undo").unwrap(),
        on: [CompensationTrigger::Stopped, CompensationTrigger::Error].into(),
    });
    record
}

pub(super) fn paced_spec() -> SpecRecord {
    let mut record = spec("a");
    record.spec.max_items_per_second = Some(0.5);
    record
}

pub(super) fn produced_spec() -> SpecRecord {
    let mut record = spec("a");
    record.spec.item_reader = ItemReader::of_handler(HandlerName::new("pages").unwrap(), Some(7));
    record.cut_version = 3;
    record
}

pub(super) fn adaptive_spec() -> SpecRecord {
    let mut record = spec("a");
    let target_duration = Some(Duration::from_millis(300_500));
    record.spec.adaptive_concurrency = Some(AdaptiveConcurrency { target_duration });
    record
}

pub(super) fn adapted_status() -> StatusRecord {
    let (call_time, least_call_time) = (Duration::from_millis(20), Duration::from_millis(10));
    let reason = LimitReason::Latency { call_time, least_call_time };
    let adapted = ControllerRecord {
        limit: AdaptedLimit { limit: 12, reason },
        doubles_until: Some(8),
        least: Some(LeastTime { seconds: 0.01, in_progress: 7.5 }),
    };
    StatusRecord { adapted: Some(adapted), ..status() }
}

pub(super) fn paced_status() -> StatusRecord {
    StatusRecord { max_items_per_second: Some(2.5), ..status() }
}

pub(super) fn status() -> StatusRecord {
    let place = SourcePlace { byte_offset: 100, byte_length: 12, line: 8 };
    StatusRecord {
        state: MapRunState::Stopping,
        stopping_to: Some(MapRunState::Failed),
        error: Some(RunError { error: "States.ItemReaderFailed".into(), cause: "c".into() }),
        redrive: 1,
        start_time: Some(WallTime(1_700_000_000_001)),
        stop_time: None,
        max_concurrency: Some(4),
        max_items_per_second: None,
        tolerance: Tolerance { count: None, percentage: Some(0.5) },
        concurrency_ceiling: Some(5),
        item_counts: ItemCounts { total: 10, succeeded: 9, failed: 1, ..ItemCounts::default() },
        batch_counts: ItemCounts { total: 300, pending: 300, ..ItemCounts::default() },
        total_known: true,
        errors: BTreeMap::from([((FailureKind::Business, "Bad".to_owned()), 1)]),
        error_groups: vec![ErrorGroup {
            error: "Bad".into(),
            kind: FailureKind::Business,
            count: 1,
            first_time: WallTime(3),
            last_time: WallTime(-3),
            samples: vec![ErrorSample { index: 3, place, message: "m".into() }],
        }],
        stored_failures: 1,
        part_entries: 3,
        output_chunks: 2,
        output_bytes: 20,
        outputs_truncated: true,
        warnings: vec![Warning { reason: "R".into(), message: "m".into() }],
        result_location: Some(ResultLocation { bucket: "b".into(), manifest_key: "k".into() }),
        compensation: None,
        adapted: None,
    }
}

pub(super) fn compensated_status() -> StatusRecord {
    let compensation = CompensationStatus {
        state: CompensationState::Failed,
        trigger: CompensationTrigger::ToleranceExceeded,
        attempts: 10,
        error: Some(RunError { error: "Http.503".into(), cause: "busy".into() }),
        worker: Some(WorkerId::new("w").unwrap()),
        due_time: WallTime(1),
        start_time: Some(WallTime(2)),
        stop_time: Some(WallTime(3)),
    };
    StatusRecord { compensation: Some(compensation), ..status() }
}

pub(super) fn plan() -> PlanRecord {
    let header = Header { names: vec!["id".into(), "名".into()], range: ByteRange::new(3, 9) };
    let probe = Probe { header, data_start: 10, newlines_before_data: 1 };
    PlanRecord { probe, staged: None, batch_size: None }
}

pub(super) fn sized_plan() -> PlanRecord {
    let size = BatchSize { items: 40, total_items: 4000, is_estimate: true, max_concurrency: Some(10) };
    PlanRecord { batch_size: Some(size), ..plan() }
}

pub(super) fn staged_plan() -> PlanRecord {
    let staged = SourcePin {
        bucket: "system".into(),
        key: "warifu/a/staged/1".into(),
        version_id: None,
        etag: "\"2\"".into(),
        size_bytes: 99,
    };
    PlanRecord { staged: Some(staged), ..plan() }
}

pub(super) fn shard(number: u32) -> ShardRecord {
    let composer = warifu_dataset::Composer::new(
        &ShardPlan::whole(10, 300, 100),
        Some(9),
        RecordFormat::default(),
        &Limits::default(),
    );
    let entry = warifu_dataset::EntryState::RecordStart;
    let lease = LeaseId { term: LeaderTerm(2), epoch: LeaseEpoch(300) };
    ShardRecord {
        redrive: 1,
        composed: warifu_dataset::ComposedShard {
            shard: number,
            range: ByteRange::new(10, 110),
            entry,
            exit: entry,
            first_item: 5,
            first_batch: 2,
            first_line: 6,
            items: 7,
            batches: 3,
            checkpoints: vec![warifu_dataset::Checkpoint { batch: 0, item: 0, offset: 10, newlines: 0 }],
        },
        composer,
        finished: vec![FinishedRange {
            first_batch: 0,
            end_batch: 1,
            first_item: 0,
            end_item: 3,
            start_byte: 10,
            end_byte: 40,
        }],
        open: BTreeMap::from([(
            1,
            OpenBatch {
                attempts: 2,
                round: 1,
                undecided: [0].into_iter().collect(),
                failed: [1].into_iter().collect(),
                timed_out: [1].into_iter().collect(),
                aborted: [2].into_iter().collect(),
                retries_used: vec![1],
                last_call: Some(CallOutcome::Answered),
                first_item: 3,
                item_count: 3,
                bytes: (40, 80),
                redriven: true,
            },
        )]),
        begun: [1, 2].into_iter().collect(),
        losses: BTreeMap::from([(1, 1)]),
        deaths: BTreeMap::from([(2, 1)]),
        reports: vec![(lease, [1].into_iter().collect())],
    }
}

pub(super) fn parts(redrive: u32) -> PartsRecord {
    let part = |kind: &str, size_bytes, item_count| PartRef {
        name: format!("{kind}_2-300-1.jsonl"),
        size_bytes,
        item_count,
    };
    PartsRecord { redrive, succeeded: vec![part("SUCCEEDED", 300, 3)], failed: vec![part("FAILED", 70, 1)] }
}

/// The failures with these indexes.
pub(super) fn failures(indexes: Range<u64>) -> Vec<ItemFailure> {
    let failure = |index| ItemFailure {
        index,
        batch_number: index / 25,
        place: SourcePlace { byte_offset: index * 10, byte_length: 9, line: index + 2 },
        failure: CallFailure::business("Bad", "c"),
        timed_out: false,
        attempts: 2,
        worker: WorkerId::new("w-1").unwrap(),
        fail_time: WallTime(1_700_000_000_002),
    };
    indexes.map(failure).collect()
}

pub(super) fn roster() -> RosterRecord {
    RosterRecord { incarnation: Incarnation(u128::MAX - 1) }
}
