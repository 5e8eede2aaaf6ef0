//! Messages of the lease stream on their way to the wire and back.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use warifu_dataset::{ByteRange, Checkpoint, EntryExit, EntryState, Header, Positions, Probe, ShardScan};
use warifu_model::protocol::*;
use warifu_model::spec::MapRunSpec;
use warifu_model::*;

use super::{FromCoordinator, not_leader};
use crate::wire::codec::parse_job_file;
use crate::wire::v1;

fn lease_id() -> LeaseId {
    LeaseId { term: LeaderTerm(u64::MAX), epoch: LeaseEpoch(7) }
}

fn run() -> MapRunId {
    MapRunId::new("run-1").unwrap()
}

fn some_set() -> RangeSet {
    [0..3, 5..6, u32::MAX - 1..u32::MAX].into_iter().collect()
}

fn fault() -> RunFault {
    RunFault { error: "States.ItemReaderFailed".into(), cause: "no such key".into() }
}

fn header() -> Header {
    Header { names: vec!["id".into(), String::new(), "名前".into()], range: ByteRange::new(3, 20) }
}

fn hello() -> Hello {
    let batch = |number, progress| HeldBatch { batch: BatchOrdinal(number), attempt: 2, round: 1, progress };
    Hello {
        worker: WorkerId::new("worker.a-1").unwrap(),
        incarnation: Incarnation(u128::MAX - 5),
        hello_number: 3,
        dead_incarnation: Some(Incarnation(1)),
        version: "0.1.0".into(),
        slots: 8,
        handlers: vec![
            WorkerHandler { name: HandlerName::new("echo").unwrap(), unavailable: None },
            WorkerHandler { name: HandlerName::new("sql").unwrap(), unavailable: Some("no table".into()) },
        ],
        cache_bytes: 1 << 40,
        cut_versions: vec![1, 2],
        draining: true,
        compensates: true,
        held_slots: [(run(), 5)].into(),
        leases: vec![HeldLease {
            lease: lease_id(),
            map_run: run(),
            redrive: 1,
            shard: ShardNumber(9),
            batches: vec![
                batch(0, HeldProgress::NotBegun),
                batch(1, HeldProgress::Running),
                batch(2, HeldProgress::Done),
            ],
        }],
    }
}

fn report() -> Report {
    let failure =
        CallFailure { error: "Bad".into(), cause: "é".into(), kind: FailureKind::Business, retryable: true };
    let places = vec![
        SourcePlace { byte_offset: 900, byte_length: 10, line: 40 },
        SourcePlace { byte_offset: 20, byte_length: u64::MAX, line: 2 },
        SourcePlace { byte_offset: u64::MAX, byte_length: 0, line: u64::MAX },
    ];
    let entry = |call| BatchReport {
        batch: BatchOrdinal(4),
        attempt: 1,
        round: 0,
        first_item: 100,
        item_count: 25,
        bytes: ByteRange::new(10, 900),
        call,
        failed: vec![FailedItems {
            items: [1..3, 7..9].into_iter().collect(),
            failure: failure.clone(),
            places: places.clone(),
        }],
        undecided: [20..21, 24..25].into_iter().collect(),
        retriers: vec![0, 2],
        handler_time: Duration::from_nanos(1_234_567_891),
    };
    Report {
        lease: lease_id(),
        number: ReportNumber(2),
        map_run: run(),
        redrive: 1,
        shard: ShardNumber(3),
        entries: [CallOutcome::Answered, CallOutcome::Failed, CallOutcome::TimedOut, CallOutcome::Aborted]
            .map(entry)
            .into(),
        succeeded_part: Some(PartRef { name: "SUCCEEDED_1-2-3.jsonl".into(), size_bytes: 9, item_count: 2 }),
        failed_part: None,
        inline_outputs: vec!["{\"a\":1}".into()],
        inline_outputs_truncated: true,
    }
}

fn shard_scan() -> ShardScan {
    let exit = |entry| EntryExit {
        entry,
        exit: EntryState::QuoteInQuoted,
        open_quote: Some(0),
        open_record: Some(u64::MAX),
        inherited_end: None,
    };
    ShardScan {
        range: ByteRange::new(100, 200),
        exits: [EntryState::RecordStart, EntryState::FieldStart, EntryState::Unquoted]
            .into_iter()
            .chain([EntryState::Quoted, EntryState::QuoteInQuoted, EntryState::AfterCr])
            .map(exit)
            .collect(),
        positions: Positions {
            entry: EntryState::AfterCr,
            items: 10,
            batches: 2,
            checkpoints: vec![Checkpoint { batch: 0, item: 0, offset: 101, newlines: 1 }],
            open_record: Some(0),
            too_large: Some(ByteRange::new(150, 200)),
            truncated: true,
            max_items_per_batch: 25,
        },
        newlines: 12,
    }
}

fn staged_source() -> StagedSource {
    let source = context(None, None).source;
    StagedSource { source, probe: Probe { header: header(), data_start: 21, newlines_before_data: 1 } }
}

fn worker_messages() -> Vec<WorkerMessage> {
    let probe = Probe { header: header(), data_start: 21, newlines_before_data: 1 };
    vec![
        WorkerMessage::Hello(hello()),
        WorkerMessage::Heartbeat { nonce: u64::MAX },
        WorkerMessage::Begun { lease: lease_id(), batches: some_set() },
        WorkerMessage::Report(report()),
        WorkerMessage::Returned { lease: lease_id(), batches: RangeSet::new() },
        WorkerMessage::Shrink { map_run: run(), slots: 3 },
        WorkerMessage::Probed { map_run: run(), probe: Ok(probe) },
        WorkerMessage::Probed { map_run: run(), probe: Err(fault()) },
        WorkerMessage::Staged { map_run: run(), staged: Ok(staged_source()) },
        WorkerMessage::Staged { map_run: run(), staged: Err(fault()) },
        WorkerMessage::Scanned { map_run: run(), shard: ShardNumber(2), scan: Ok(shard_scan()) },
        WorkerMessage::Scanned { map_run: run(), shard: ShardNumber(2), scan: Err(fault()) },
        WorkerMessage::Fault { map_run: run(), redrive: 2, fault: fault() },
        WorkerMessage::Draining,
        WorkerMessage::Goodbye,
    ]
}

fn context(header: Option<Header>, results: Option<(String, String)>) -> RunContext {
    let job = "
itemReader: {bucket: input, key: a.csv, readerConfig: {inputType: CSV, csvDelimiter: PIPE}}
itemBatcher: {batchInput: {n: 1}}
itemProcessor: {handler: echo, retry: [{errorEquals: [States.ALL], jitterStrategy: FULL}]}
";
    let wire = parse_job_file(job, &[]).unwrap().map_run.unwrap().spec.unwrap();
    RunContext {
        map_run: run(),
        redrive: 2,
        spec: MapRunSpec::try_from(&wire).unwrap(),
        source: SourcePin {
            bucket: "input".into(),
            key: "a.csv".into(),
            version_id: None,
            etag: "\"abc\"".into(),
            size_bytes: 5,
        },
        header,
        cut_version: 1,
        max_record_bytes: 16 << 20,
        max_header_bytes: 1 << 18,
        max_columns: 65_536,
        results,
        failures: ("system".into(), "warifu/".into()),
        inline_output_bytes: 4096,
        create_time: WallTime(1_700_000_000_123),
        start_time: WallTime(1_700_000_001_000),
        staging: ("system".into(), "warifu/run-1/staged/".into()),
        max_staged_bytes: 1 << 40,
        item_source: "s3://input/users.csv".into(),
        allowed: AccessRules::new(Some(vec!["s3://input/*".into()])),
    }
}

fn grant() -> Grant {
    let batch = |number, items| GrantedBatch {
        batch: BatchOrdinal(number),
        attempt: 3,
        round: 1,
        retries_used: vec![1, 0],
        items,
        give_up: number == 8,
    };
    Grant {
        lease: lease_id(),
        session: SessionId { term: LeaderTerm(4), number: 9 },
        map_run: run(),
        redrive: 1,
        shard: ShardSpan {
            shard: ShardNumber(5),
            range: ByteRange::new(8, 16),
            ends_object: true,
            items: 77,
            first_item: 1 << 40,
            first_batch: 1 << 33,
            first_line: 12,
            start: Checkpoint { batch: 7, item: 70, offset: 9, newlines: 3 },
            read_until: 15,
        },
        batches: vec![batch(7, None), batch(8, Some(RangeSet::new())), batch(9, Some(some_set()))],
        slots: 0,
        compensation: None,
    }
}

fn compensation_grant() -> Grant {
    let call = CompensationCall {
        trigger: CompensationTrigger::ToleranceExceeded,
        error: RunError { error: "E".into(), cause: "c".into() },
        item_counts: ItemCounts { total: 9, failed: 9, ..ItemCounts::default() },
        result_location: Some(ResultLocation { bucket: "b".into(), manifest_key: "k".into() }),
    };
    Grant { slots: 1, compensation: Some(Box::new(call)), ..grant() }
}

fn coordinator_messages() -> Vec<CoordinatorMessage> {
    let answer =
        |verdict| CoordinatorMessage::ReportAnswer { lease: lease_id(), report: ReportNumber(2), verdict };
    let order = |entry, item_limit| {
        CoordinatorMessage::Scan(ScanOrder {
            map_run: run(),
            shard: ShardNumber(1),
            range: ByteRange::new(0, u64::MAX),
            begins_data: true,
            ends_object: true,
            entry,
            item_limit,
        })
    };
    vec![
        CoordinatorMessage::Welcome(Welcome {
            session: SessionId { term: LeaderTerm(1), number: 2 },
            hello_number: 3,
            ttl: Duration::from_secs(20),
            kept: vec![(lease_id(), some_set())],
            slots_kept: true,
        }),
        CoordinatorMessage::HeartbeatAck { nonce: 1 },
        CoordinatorMessage::OpenRun(Arc::new(context(None, None))),
        CoordinatorMessage::OpenRun(Arc::new(context(
            Some(header()),
            Some(("out".into(), "r/run-1/".into())),
        ))),
        CoordinatorMessage::CloseRun { map_run: run() },
        CoordinatorMessage::Probe { map_run: run() },
        CoordinatorMessage::Stage { map_run: run() },
        order(None, Some(0)),
        order(Some(EntryState::Quoted), None),
        CoordinatorMessage::Grant(grant()),
        CoordinatorMessage::Grant(compensation_grant()),
        CoordinatorMessage::Slots { map_run: run(), slots: 2 },
        CoordinatorMessage::Revoke { lease: lease_id(), from: BatchOrdinal(8), cancel: true },
        answer(ReportVerdict::Accepted),
        answer(ReportVerdict::Superseded),
        answer(ReportVerdict::Refused { batches: some_set() }),
        CoordinatorMessage::Drain { within: Duration::from_millis(1500) },
        CoordinatorMessage::Uncordon,
        CoordinatorMessage::Superseded,
    ]
}

#[test]
fn every_worker_message_goes_there_and_back() {
    for message in worker_messages() {
        let bytes = v1::ConnectRequest::from(&message).encode_to_vec();
        let decoded = v1::ConnectRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(WorkerMessage::try_from(decoded).unwrap(), message);
    }
}

#[test]
fn every_coordinator_message_goes_there_and_back() {
    for message in coordinator_messages() {
        let bytes = v1::ConnectResponse::from(&message).encode_to_vec();
        let decoded = v1::ConnectResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(FromCoordinator::try_from(decoded).unwrap(), FromCoordinator::Message(message));
    }
}

#[test]
fn a_follower_tells_where_the_leader_is_and_newer_messages_are_passed_over() {
    let leader = LeaderAddress { term: LeaderTerm(3), endpoint: "http://10.0.0.1:7400".into() };
    for leader in [Some(leader), None] {
        let decoded = FromCoordinator::try_from(not_leader(leader.as_ref())).unwrap();
        assert_eq!(decoded, FromCoordinator::NotLeader(leader));
    }
    let newer = [0b1111_1010, 0b0000_0110, 1, 0]; // field 111, one byte long
    let decoded = v1::ConnectResponse::decode(newer.as_slice()).unwrap();
    assert_eq!(FromCoordinator::try_from(decoded).unwrap(), FromCoordinator::Unknown);
    assert!(WorkerMessage::try_from(v1::ConnectRequest::default()).is_err());
}

#[test]
fn reports_that_contradict_themselves_are_refused() {
    let refused = |change: fn(&mut v1::BatchReport)| {
        let mut wire = v1::Report::from(&report());
        change(&mut wire.entries[0]);
        Report::try_from(wire).unwrap_err().to_string()
    };
    let twice = refused(|entry| entry.undecided = entry.failed[0].items.clone());
    assert_eq!(twice, "failed names an item twice");
    assert_eq!(refused(|entry| entry.item_count = 21), "failed names an item beyond the batch");
    assert_eq!(refused(|entry| entry.call = 0), "call is not known");
    assert_eq!(refused(|entry| entry.bytes = None), "bytes is missing");
    assert_eq!(refused(|entry| entry.failed[0].kind = 9), "kind is not known");
    assert!(
        refused(|entry| entry.failed[0].places.as_mut().unwrap().line_deltas.clear()).contains("lengths")
    );
    assert!(
        refused(|entry| entry.bytes = Some(v1::ByteRange { start: 2, end: 1 })).contains("before its start")
    );
}

#[test]
fn failure_texts_are_cut_to_their_bounds() {
    let mut long = report();
    long.entries[0].failed[0].failure.cause = "é".repeat(2000);
    long.entries[0].failed[0].failure.error = "x".repeat(2000);
    let decoded = Report::try_from(v1::Report::from(&long)).unwrap();
    let failure = &decoded.entries[0].failed[0].failure;
    assert_eq!((failure.cause.len(), failure.error.len()), (1024, 256));
}

proptest! {
    /// Takes real messages, breaks some of their bytes, and decodes whatever still parses.
    #[test]
    fn broken_bytes_give_a_message_or_an_error(
        which in 0..13_usize,
        breaks in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let spoil = |mut bytes: Vec<u8>| {
            for (index, byte) in &breaks {
                let index = index.index(bytes.len().max(1));
                if let Some(slot) = bytes.get_mut(index) {
                    *slot = *byte;
                }
            }
            bytes
        };
        let bytes = spoil(v1::ConnectRequest::from(&worker_messages()[which]).encode_to_vec());
        if let Ok(decoded) = v1::ConnectRequest::decode(bytes.as_slice()) {
            let _ = WorkerMessage::try_from(decoded);
        }
        let bytes = spoil(v1::ConnectResponse::from(&coordinator_messages()[which]).encode_to_vec());
        if let Ok(decoded) = v1::ConnectResponse::decode(bytes.as_slice()) {
            let _ = FromCoordinator::try_from(decoded);
        }
    }
}
