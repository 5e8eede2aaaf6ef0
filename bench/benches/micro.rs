//! The parts of a batch's cost, each alone: scanning, composing, the scheduler's steps, reports, results, commits.
//!
//! `cargo bench -p warifu-bench` measures them; run as a test each happens once. Scheduler and reports are timed within the
//! world of the scale simulation, whose other work does not count.

#![allow(missing_docs, reason = "criterion makes functions that nobody calls by name")]
#![allow(clippy::disallowed_methods, reason = "what it measures is time on this machine")]
#![allow(clippy::expect_used, reason = "a measurement that goes wrong ends")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warifu_bench::scanned::{BATCH, Scanned};
use warifu_bench::simulated::{Outcome, SHARD_ITEMS, World};
use warifu_common::result_file::{Execution, ExecutionEnd, FileForm};
use warifu_coordinator::state_store::{Campaign, MemoryStore, StateStore};
use warifu_model::spec::{Compression, OutputType};
use warifu_model::{LeaderTerm, MapRunId, WallTime};
use warifu_scheduler::Commit;

/// Bytes of the file, and of its shards.
const FILE_BYTES: usize = 16 << 20;
const SHARD_BYTES: u64 = 1 << 20;

/// The simulated fleet and its items.
const WORKERS: u32 = 10;
const SLOTS: u32 = 10;
const ITEMS: u64 = 2 * SHARD_ITEMS;

/// Records of which a tenth holds a comma, a tenth a line break, and a tenth quotes.
fn text() -> Vec<u8> {
    let notes =
        ["a plain note of some length", "\"with, a comma\"", "\"and\na line\"", "\"a \"\"quoted\"\" word\""];
    let mut text = b"user_id,login_count,note\n".to_vec();
    for row in 0_usize.. {
        if text.len() >= FILE_BYTES {
            break;
        }
        let note = notes[(row % 10).saturating_sub(6)];
        text.extend(format!("U{row:07},{},{note}\n", row % 1_009).bytes());
    }
    text
}

fn scanning(criterion: &mut Criterion) {
    let text = text();
    let scanned = Scanned::new(&text, SHARD_BYTES).expect("there is a header");
    let scans = scanned.scan_all();
    let items = scanned.compose(&scans).expect("the text is a CSV");
    assert_eq!(items, text.windows(2).filter(|pair| pair == b"\nU").count() as u64);
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("shards of 1 MiB", |bencher| bencher.iter(|| black_box(scanned.scan_all())));
    group.finish();
    let mut group = criterion.benchmark_group("compose");
    group.throughput(Throughput::Elements(items / u64::from(BATCH)));
    group.bench_function("batches of scanned shards", |bencher| {
        bencher.iter(|| scanned.compose(black_box(&scans)))
    });
    group.finish();
}

/// A run of the simulated world from its beginning to its end.
fn simulate() -> Outcome {
    World::new(WORKERS, SLOTS).and_then(|world| world.run(ITEMS)).expect("nothing goes wrong")
}

/// How long something took in so many runs of the world.
fn in_worlds(runs: u64, took: fn(&Outcome) -> Duration) -> Duration {
    (0..runs).map(|_| took(&simulate())).sum()
}

fn scheduling(criterion: &mut Criterion) {
    let Outcome { batches, reports, steps, .. } = simulate();
    let mut group = criterion.benchmark_group("scheduler");
    // A run of the world takes much longer than what counts of it.
    group.sample_size(10);
    for (name, elements, took) in [
        ("steps, by batch", batches, (|outcome| outcome.scheduler) as fn(&Outcome) -> Duration),
        ("steps, by step", steps, |outcome| outcome.scheduler),
        ("reports, by report", reports, |outcome| outcome.reporting),
    ] {
        group.throughput(Throughput::Elements(elements));
        group.bench_function(name, |bencher| bencher.iter_custom(|runs| in_worlds(runs, took)));
    }
    group.finish();
}

fn results(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000;
    let map_run = MapRunId::new("micro").expect("it is an id");
    let items =
        vec![r#"{"user_id":"U0000001","login_count":"17","note":"a note of some length"}"#; BATCH as usize];
    let (input, output) = (format!(r#"{{"Items":[{}]}}"#, items.join(",")), format!("[{}]", items.join(",")));
    let entries = || {
        let mut written = Vec::new();
        for number in 0..ENTRIES {
            let end = ExecutionEnd::Succeeded { output: output.as_bytes() };
            let (start, stop) = (Some(WallTime(1_000)), WallTime(1_001));
            let input = Some(input.as_bytes());
            Execution { map_run: &map_run, number, redrive: 0, input, start, stop, end }.write(&mut written);
        }
        written
    };
    let file = Bytes::from(entries());
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count() as u64, ENTRIES);
    let mut group = criterion.benchmark_group("results");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("entries in AWS's form, by batch", |bencher| bencher.iter(|| black_box(entries())));
    group.throughput(Throughput::Bytes(file.len() as u64));
    for (name, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
        let form = FileForm { output_type: OutputType::Jsonl, compression };
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(form.encode(std::slice::from_ref(&file))))
        });
    }
    group.finish();
}

fn commits(criterion: &mut Criterion) {
    let mut world = World::new(WORKERS, SLOTS).expect("there is a world");
    world.keep_commits();
    let outcome = world.run(ITEMS).expect("nothing goes wrong");
    let commits: Vec<Commit> = outcome.kept.expect("they were to be kept");
    assert_eq!(commits.len() as u64, outcome.commits);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(commits.iter().map(|commit| commit.records.len() as u64).sum()));
    group.bench_function("records of a run, encoded and kept in memory", |bencher| {
        bencher.iter(|| runtime.block_on(write_all(&commits)));
    });
    group.finish();
}

async fn write_all(commits: &[Commit]) {
    let store = MemoryStore::new();
    let campaign = store.campaign().await.expect("nobody else leads");
    assert!(
        matches!(campaign, Campaign::Won { term: LeaderTerm(1), .. }),
        "the commits are of the first term"
    );
    for commit in commits {
        store.commit(commit).await.expect("the term leads");
    }
}

criterion_group!(micro, scanning, scheduling, results, commits);
criterion_main!(micro);
