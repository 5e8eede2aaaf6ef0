//! The real coordinator, the real workers and the real gRPC stack between them, in a simulated network under simulated
//! time: partitions, held and lost segments, dead machines, readers that stall, leaders that change.
//!
//! A seed stands for a fleet, a run and its faults (`plan.rs`). Only the network, the clocks, the state store and the
//! object store are not what a deployment has. Promises are checked at every handler call (`ledger.rs`), at every look of
//! a user (`client.rs`), and in what the run leaves behind (`oracle.rs`).
//!
//! `WARIFU_TURMOIL_SEED=17 cargo test -p warifu-turmoil -- --nocapture` shows one seed with everything that is logged.

mod client;
mod clocks;
mod faults;
mod hosts;
mod ledger;
mod network;
mod objects;
mod oracle;
mod plan;
mod scene;
mod store;
mod world;

use plan::Plan;
use world::{Outcome, Statistics, run};

/// Seeds that CI runs, and those of a long run.
const SEEDS: u64 = 100;
const SOAK_SEEDS: u64 = 3_000;

/// A number that whoever runs the tests may give.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = given("WARIFU_TURMOIL_SEED") {
        let _ = tracing_subscriber::fmt().with_env_filter("info,turmoil=warn").without_time().try_init();
        return seed..seed + 1;
    }
    let soaks = std::env::var("WARIFU_SOAK").is_ok_and(|value| value == "1");
    0..given("WARIFU_TURMOIL_SEEDS").unwrap_or(if soaks { SOAK_SEEDS } else { SEEDS })
}

/// Runs every other seed; gives those that fail.
fn run_every_other(seeds: std::ops::Range<u64>) -> (Vec<(u64, Outcome)>, Statistics) {
    let (mut failed, mut total) = (Vec::new(), Statistics::default());
    for seed in seeds.step_by(2) {
        let outcome = run(&Plan::of_seed(seed));
        total += &outcome.statistics;
        if outcome.violation.is_some() {
            failed.push((seed, outcome));
        }
    }
    (failed, total)
}

#[test]
fn every_seed_ends_with_every_item_counted_once() {
    let seeds = seeds();
    let (mut failed, mut total) = run_every_other(seeds.clone());
    let (more, others) = run_every_other(seeds.start + 1..seeds.end);
    failed.extend(more);
    total += &others;
    println!("{total:?}");
    for (seed, Outcome { violation, log, .. }) in &failed {
        println!("seed {seed}: {}\n  {}", violation.as_deref().unwrap_or_default(), log.join("\n  "));
    }
    let failed: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "{} seeds fail: {failed:?}", failed.len());
}
