//! What a run over 1 TiB takes in etcd, and how long a new leader reads it.

use tokio::time::Instant;

use warifu_model::{MapRunId, MapRunState, Now, ShardNumber, Timestamp, Tolerance, WallTime};
use warifu_scheduler::record::{Record, StatusRecord};
use warifu_scheduler::{Commit, Config, Effects, Scheduler};
use warifu_test_etcd::EtcdCluster;

use super::super::{StateStore, samples};
use super::tests::{connect, win};
use super::*;

/// Records of one transaction, as the scheduler sends them.
const RECORDS: usize = 99;
/// What all keys and values of the plan may take.
const MOST_BYTES: usize = 100_000_000;

#[tokio::test]
async fn a_plan_of_one_tebibyte_is_small_and_read_at_once() {
    let cluster = EtcdCluster::start(1);
    let store = connect(&cluster, "a");
    let (term, _) = win(&store).await;
    let id = MapRunId::new("large").unwrap();
    let status = StatusRecord {
        state: MapRunState::Running,
        stopping_to: None,
        error: None,
        tolerance: Tolerance::default(),
        ..samples::status()
    };
    let beginning = [
        Record::PutSpec(id.clone(), Box::new(samples::spec("large"))),
        Record::PutStatus(id.clone(), Box::new(status)),
        Record::PutPlan(id.clone(), Box::new(samples::plan())),
    ];
    let shards = warifu_simulation::planned_records().zip(0..);
    let puts = shards.map(|(record, n)| Record::PutShard(id.clone(), ShardNumber(n), Box::new(record)));
    let mut records = beginning.into_iter().chain(puts).peekable();
    let mut number = 0;
    while records.peek().is_some() {
        number += 1;
        let records: Vec<Record> = records.by_ref().take(RECORDS).collect();
        store.commit(&Commit { id: CommitId(number), term, records }).await.unwrap();
    }
    let before = store.size_bytes().await.unwrap();
    cluster.make_space();
    let after = store.size_bytes().await.unwrap();

    let began = Instant::now();
    let (next, snapshot) = store.lead().await.unwrap().taken().unwrap();
    let read_after = began.elapsed();
    let shards = snapshot.map_runs[0].shards.len();
    let now = Now { at: Timestamp(0), wall: WallTime(0) };
    Scheduler::new(Config::default(), next, snapshot, now, 1, &mut Effects::new());
    let recovered_after = began.elapsed();

    let all = KeyRange { start: "a".into(), end: "z".into() };
    let rows = store.scan(&all, usize::MAX).await.unwrap();
    let live: usize = rows.iter().map(|(key, value)| "/warifu/v1/".len() + key.len() + value.len()).sum();
    println!(
        "{shards} shards in {number} transactions: {live} bytes of keys and values; etcd's database {before} bytes, \
         {after} after compaction and defragmentation; read in {read_after:.1?}, recovered in {recovered_after:.1?}"
    );
    assert_eq!(shards, 131_072);
    assert!(live < MOST_BYTES, "{live}");
}
