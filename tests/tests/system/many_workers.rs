//! Two thousand workers at one coordinator: heartbeats hold, a limit of ten thousand batches is kept and reached, and what a
//! worker costs is measured.
//!
//! The workers are simulated (`tests/fleet`): the real session and a connection each, with handlers that only take time. The
//! coordinator is the real process. What is counted is counted at the workers.

use std::time::{Duration, Instant};

use warifu_test_fleet::{Fleet, FleetPlan, Source};

use crate::cluster::Cluster;
use crate::harness::{computing_for_long, eventually};

const WORKERS: u32 = 2_000;
/// A start in good order. All at once is another story: then it is the operating system's queue that is tested.
const CONNECTING_AT_ONCE: usize = 50;
/// More than the limit in all, so that the limit is what limits.
const SLOTS: u32 = 6;
const MAX_CONCURRENCY: u32 = 10_000;
/// So close to the limit the run must come at some time.
const REACHED: u64 = 9_900;
/// Two for each slot of the limit: slots must change hands.
const BATCHES: u32 = 20_000;
/// A call takes long enough that all of the first begin before any ends.
const LEAST_BATCH_TIME: Duration = Duration::from_secs(8);
const BATCH_TIME_SPREAD: Duration = Duration::from_secs(4);
/// Heartbeats of each worker before its memory is measured.
const IDLE_HEARTBEATS: u64 = 3;
/// A session's times, twelve times as long as by default: a development build of coordinator and workers on two cores that have
/// other things to do needs seconds where a fleet needs milliseconds. How long answers took is printed.
const SESSION_SECONDS: u32 = 240;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(84);

/// How long any step may take on a busy machine. The run takes half a minute, the others seconds.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn two_thousand_workers_hold_their_sessions_and_ten_thousand_batches_run_at_once() {
    let _computing = computing_for_long();
    let started = Instant::now();
    let cluster = Cluster::start_with(&format!("[leases]\nttl_seconds = {SESSION_SECONDS}\n"));
    let source = Source::with_records(BATCHES);
    cluster.s3.s3().put("input", "in.csv", source.csv());
    let process = cluster.coordinator.id();
    let without = memory(process, "VmRSS");

    let fleet = Fleet::start(FleetPlan {
        endpoint: cluster.endpoint.clone(),
        workers: WORKERS,
        slots: SLOTS,
        connecting_at_once: CONNECTING_AT_ONCE,
        handler: "simulated".to_owned(),
        source,
        least_batch_time: LEAST_BATCH_TIME,
        batch_time_spread: BATCH_TIME_SPREAD,
        answer_timeout: ANSWER_TIMEOUT,
    });
    let ledger = fleet.ledger();
    eventually("all workers are welcome", PATIENCE, || (ledger.welcomes() >= WORKERS.into()).then_some(()));
    let connected_after = started.elapsed();
    eventually("all workers are heard several times", PATIENCE, || {
        (ledger.heartbeats_answered() >= IDLE_HEARTBEATS * u64::from(WORKERS)).then_some(())
    });
    let idle = memory(process, "VmRSS");
    assert_eq!(workers_of(&cluster), u64::from(WORKERS));

    let submitted = Instant::now();
    cluster.submit(
        "r",
        &format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: simulated}}\n\
             maxConcurrency: {MAX_CONCURRENCY}\n"
        ),
    );
    let run = cluster.json(&["wait", "r", "--timeout", &format!("{}s", PATIENCE.as_secs())], 0);
    let ran_for = submitted.elapsed();
    let most = memory(process, "VmHWM");

    let answers = ledger.answers().unwrap();
    let per_worker = |bytes: u64| bytes.saturating_sub(without) / u64::from(WORKERS) / 1024;
    eprintln!(
        "{WORKERS} workers after {connected_after:.1?}; run of {BATCHES} batches {ran_for:.1?}, at most {} at once\n\
         heartbeats: {} answered, median {:.1?}, 99 % {:.1?}, slowest {:.1?}\n\
         coordinator: {} MiB without workers, {} MiB idle ({} KiB per worker), {} MiB at most ({} KiB per worker)",
        ledger.most_running(),
        answers.count,
        answers.median,
        answers.percentile_99,
        answers.slowest,
        without >> 20,
        idle >> 20,
        per_worker(idle),
        most >> 20,
        per_worker(most),
    );

    assert!(ledger.most_running() <= MAX_CONCURRENCY.into(), "{} ran at once", ledger.most_running());
    assert!(ledger.most_running() >= REACHED, "only {} ran at once", ledger.most_running());
    assert_eq!(ledger.batches_called(1), BATCHES as usize, "each batch is called once");
    assert_eq!((ledger.running(), ledger.cancelled(), ledger.faults()), (0, 0, 0));
    // A session that is lost comes back with another Hello.
    assert_eq!((ledger.hellos(), ledger.welcomes()), (WORKERS.into(), WORKERS.into()));
    assert_eq!((ledger.given_up(), ledger.refused()), (0, 0));
    for counts in [&run["itemCounts"], &run["batchCounts"]] {
        assert_eq!((&counts["total"], &counts["succeeded"]), (&BATCHES.into(), &BATCHES.into()), "{counts}");
        for state in ["failed", "timedOut", "aborted", "pending", "running"] {
            assert_eq!(counts[state], 0, "{state}");
        }
    }

    assert_eq!(fleet.stop(PATIENCE), WORKERS as usize, "all workers leave in peace");
    assert_eq!(workers_of(&cluster), 0);
    cluster.stop();
}

/// Workers with a session, as the coordinator says. Zero is left out of its JSON.
fn workers_of(cluster: &Cluster) -> u64 {
    cluster.json(&["cluster"], 0)["workerCount"].as_u64().unwrap_or(0)
}

/// Bytes of a process, as one line of its status tells.
fn memory(process: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
    kib * 1024
}
