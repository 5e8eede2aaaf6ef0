//! Workers' streams, by a worker that does by hand what it is told.

use std::sync::Arc;

use tonic::Code;
use warifu_common::wire::v1;
use warifu_common::wire::v1::map_run::State;
use warifu_dataset::{ByteRange, CutRules, HeaderLocation, Limits, RecordFormat, ScanRequest, probe, scan};
use warifu_model::protocol::{
    BatchReport, CallOutcome, CoordinatorMessage, FailedItems, Grant, Report, ReportVerdict, RunContext,
    WorkerMessage,
};
use warifu_model::template::RunTemplates;
use warifu_model::{CallFailure, PartRef, ReportNumber, SourcePlace};

use super::harness::{CSV, FakeWorker, Harness, code_and_reason};

/// Items of the test's data.
const ITEMS: u32 = 5;
const ITEMS_PER_BATCH: u32 = 2;

/// Answers probe and scan truthfully, and returns the first grant with the run's context.
async fn until_granted(worker: &mut FakeWorker) -> (Arc<RunContext>, Grant) {
    let mut context = None;
    loop {
        match worker.expect().await {
            CoordinatorMessage::OpenRun(opened) => context = Some(opened),
            CoordinatorMessage::Probe { map_run } => {
                let probe = probe(
                    CSV.as_bytes(),
                    true,
                    RecordFormat::default(),
                    &HeaderLocation::FirstRow,
                    &Limits::default(),
                );
                worker.say(WorkerMessage::Probed { map_run, probe: Ok(probe.unwrap()) }).await;
            }
            CoordinatorMessage::Scan(order) => {
                let context = context.as_ref().expect("the run is opened first");
                let rules = rules(context);
                let (start, end) = (order.range.start as usize, order.range.end as usize);
                let scan = scan(&ScanRequest {
                    bytes: &CSV.as_bytes()[start..end],
                    range: order.range,
                    previous: (!order.begins_data).then(|| CSV.as_bytes()[start - 1]),
                    entry: order.entry,
                    ends_object: order.ends_object,
                    item_limit: order.item_limit,
                    rules: &rules,
                });
                let (map_run, shard) = (order.map_run, order.shard);
                worker.say(WorkerMessage::Scanned { map_run, shard, scan: Ok(scan) }).await;
            }
            CoordinatorMessage::Grant(grant) => return (context.expect("the run is opened first"), grant),
            _ => {}
        }
    }
}

fn rules(context: &RunContext) -> CutRules {
    let templates = RunTemplates::new(&context.spec, &context.template_facts()).expect("the spec has none");
    let header = context.header.clone().expect("it is probed before it is scanned");
    templates.cut_rules(&context.spec, header, context.max_record_bytes)
}

/// Every record of the data takes four bytes with its terminator, after a header of eight.
fn bytes_of_items(first: u32, count: u32) -> ByteRange {
    ByteRange::new(u64::from(8 + first * 4), u64::from(8 + (first + count) * 4))
}

/// Reports that everything granted succeeded, but for the items with these indexes.
fn report(grant: &Grant, failed: &[u32]) -> Report {
    let entries = grant.batches.iter().map(|granted| {
        let first_item = granted.batch.0 * ITEMS_PER_BATCH;
        let item_count = ITEMS_PER_BATCH.min(ITEMS - first_item);
        let failed: Vec<FailedItems> = failed
            .iter()
            .filter(|index| (first_item..first_item + item_count).contains(*index))
            .map(|index| FailedItems {
                items: [*index - first_item].into_iter().collect(),
                failure: CallFailure::business("Bad", "not liked"),
                places: vec![SourcePlace {
                    byte_offset: bytes_of_items(*index, 1).start,
                    byte_length: 3,
                    line: u64::from(*index) + 2,
                }],
            })
            .collect();
        BatchReport {
            batch: granted.batch,
            attempt: granted.attempt,
            round: granted.round,
            first_item,
            item_count,
            bytes: bytes_of_items(first_item, item_count),
            call: CallOutcome::Answered,
            failed,
            undecided: Default::default(),
            retriers: Vec::new(),
            handler_time: std::time::Duration::from_millis(1),
        }
    });
    Report {
        lease: grant.lease,
        number: ReportNumber(1),
        map_run: grant.map_run.clone(),
        redrive: grant.redrive,
        shard: grant.shard.shard,
        entries: entries.collect(),
        succeeded_part: Some(PartRef {
            name: format!("SUCCEEDED_{}-1.jsonl", grant.lease),
            size_bytes: 10,
            item_count: 1,
        }),
        failed_part: None,
        inline_outputs: Vec::new(),
        inline_outputs_truncated: false,
    }
}

/// Does all the work of a run, and returns what was counted.
async fn work_to_the_end(worker: &mut FakeWorker, failed: &[u32]) {
    let mut done = 0;
    while done < ITEMS.div_ceil(ITEMS_PER_BATCH) {
        let (_, grant) = until_granted(worker).await;
        done += grant.batches.len() as u32;
        worker.say(WorkerMessage::Report(report(&grant, failed))).await;
        let verdict = worker
            .until(|message| match message {
                CoordinatorMessage::ReportAnswer { lease, verdict, .. } if *lease == grant.lease => {
                    Some(verdict.clone())
                }
                _ => None,
            })
            .await;
        assert_eq!(verdict, ReportVerdict::Accepted);
    }
}

fn with_results(harness: &Harness) -> v1::MapRunSpec {
    let result_writer =
        v1::ResultWriter { bucket: harness.bucket(), prefix: "results".into(), ..Default::default() };
    v1::MapRunSpec { result_writer: Some(result_writer), ..harness.spec() }
}

#[tokio::test]
async fn a_worker_takes_a_run_from_probe_to_manifest() {
    let mut harness = Harness::start().await;
    let mut worker = harness.worker("w-1").await;
    harness.create("run-1", with_results(&harness)).await.unwrap();
    work_to_the_end(&mut worker, &[3]).await;

    let run = harness.wait("run-1").await;
    assert_eq!(run.state(), State::Succeeded, "{:?}", run.error);
    let counts = run.item_counts.unwrap();
    assert_eq!((counts.total, counts.succeeded, counts.failed), (5, 4, 1));
    assert_eq!(run.result_location.unwrap().manifest_key, "results/run-1/manifest.json");
    let manifest: serde_json::Value =
        serde_json::from_str(&harness.text("results/run-1/manifest.json")).unwrap();
    assert_eq!(manifest["Summary"]["Items"]["Succeeded"], 4);
    assert_eq!(manifest["Summary"]["TopErrors"][0]["Error"], "Bad");
    assert_eq!(manifest["Summary"]["ErrorsByKind"], serde_json::json!({"BUSINESS": 1, "SYSTEM": 0}));
    assert_eq!(run.failure_counts.unwrap(), v1::FailureCounts { business: 1, system: 0 });
}

#[tokio::test]
async fn failed_items_are_listed_with_their_records_as_they_are_in_the_source() {
    let mut harness = Harness::start().await;
    let mut worker = harness.worker("w-1").await;
    harness.create("run-1", with_results(&harness)).await.unwrap();
    work_to_the_end(&mut worker, &[1]).await;
    harness.wait("run-1").await;

    let request = v1::ListItemFailuresRequest {
        parent: "run-1".into(),
        view: v1::item_failure_view::Type::Full.into(),
        ..Default::default()
    };
    let page = harness.map_runs.list_item_failures(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.header, b"id,name\n");
    assert!(!page.truncated && page.next_page_token.is_empty());
    let [failure] = &page.item_failures[..] else { panic!("{:?}", page.item_failures) };
    assert_eq!((failure.index, failure.error.as_str(), failure.cause.as_str()), (1, "Bad", "not liked"));
    assert_eq!(failure.record, b"2,b\n");
    assert_eq!(failure.item, r#"{"id":"2","name":"b"}"#);
    assert_eq!(failure.worker, "workers/w-1");

    let other = v1::ListItemFailuresRequest { error: "Other".into(), ..request };
    let page = harness.map_runs.list_item_failures(other).await.unwrap().into_inner();
    assert!(page.item_failures.is_empty());
}

#[tokio::test]
async fn what_did_not_succeed_can_be_redriven() {
    let mut harness = Harness::start().await;
    let mut worker = harness.worker("w-1").await;
    let spec = v1::MapRunSpec { tolerated_failure_count: Some(5), ..with_results(&harness) };
    harness.create("run-1", spec).await.unwrap();
    work_to_the_end(&mut worker, &[1]).await;
    let ended = harness.wait("run-1").await;
    assert!(ended.result_location.is_some());
    assert_eq!(ended.warnings.last().map(|warning| warning.reason.as_str()), Some("ERROR_RATE_HIGH"));

    let request =
        v1::RedriveMapRunRequest { name: "run-1".into(), validate_only: true, ..Default::default() };
    let shown = harness.map_runs.redrive_map_run(request.clone()).await.unwrap().into_inner();
    assert!(shown.result_location.is_none() && shown.compensation.is_none());
    assert!(!shown.warnings.iter().any(|warning| warning.reason.starts_with("ERROR_RATE")), "{shown:?}");
    assert_eq!(shown.item_counts.unwrap().pending_redrive, 1);
    let request = v1::RedriveMapRunRequest { validate_only: false, request_id: "r".into(), ..request };
    for _repeat in 0..2 {
        let redriven = harness.map_runs.redrive_map_run(request.clone()).await.unwrap().into_inner();
        assert_eq!(redriven.redrive_count, 1);
    }
    let another = v1::RedriveMapRunRequest { request_id: "s".into(), ..request };
    let refused = harness.map_runs.redrive_map_run(another).await.unwrap_err();
    assert_eq!(code_and_reason(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    let (_, grant) = until_granted(&mut worker).await;
    assert_eq!((grant.redrive, grant.batches.len()), (1, 1));
    assert_eq!(grant.batches[0].items.as_ref().map(|items| items.iter().collect()), Some(vec![1]));
}

#[tokio::test]
async fn a_stream_must_begin_with_hello() {
    let harness = Harness::start().await;
    let mut worker = FakeWorker::open(harness.channel.clone()).await;
    worker.say(WorkerMessage::Heartbeat { nonce: 1 }).await;
    let status = worker.hear().await.unwrap_err();
    assert_eq!(code_and_reason(&status), (Code::InvalidArgument, "INVALID_MESSAGE".into()));
}

#[tokio::test]
async fn heartbeats_are_answered_and_streams_end_when_the_coordinator_stops() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("w-1").await;
    worker.say(WorkerMessage::Heartbeat { nonce: 42 }).await;
    worker
        .until(|message| matches!(message, CoordinatorMessage::HeartbeatAck { nonce: 42 }).then_some(()))
        .await;
    harness.coordinator.shutdown().await.unwrap();
    let status = worker.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
