//! The real coordinator, the real workers and the real gRPC stack between them, in a simulated network under simulated
//! time: partitions, held and lost segments, dead machines, readers that stall, leaders that change.
//!
//! A seed stands for a fleet, a run and its faults (`plan.rs`). Only the network, the clocks, the state store and the
//! object store are not what a deployment has. Promises are checked at every handler call (`ledger.rs`), at every look of
//! a user (`client.rs`), and in what the run leaves behind (`oracle.rs`).
//!
//! A seed decides what goes wrong, and when. It does not decide everything: `select!`, the jitter of reconnects and the
//! pool that scans draw their own randomness, so a seed that failed may have to be run some times until it fails again.
//!
//! `WARIFU_TURMOIL_SEED=17 cargo test -p warifu-turmoil every_seed -- --nocapture` shows one seed with everything that is logged.

mod client;
mod clocks;
mod faults;
mod hosts;
mod ledger;
mod network;
mod objects;
mod oracle;
mod panics;
mod plan;
mod scene;
mod store;
mod world;

use plan::{Broken, Plan};
use warifu_scheduler::BrokenRule;
use warifu_session::BrokenSessionRule;
use world::{Outcome, Statistics, run};

/// Seeds that CI runs, and those of a long run.
const SEEDS: u64 = 100;
const SOAK_SEEDS: u64 = 3_000;

/// A rule that is left out must be noticed within so many seeds.
const SEEDS_TO_NOTICE: u64 = 400;

/// Rules whose absence is noticed soon. The simulation of the pure cores is faster, and notices the others, too.
const NOTICED: [Broken; 6] = [
    Broken::Coordinator(BrokenRule::IgnoreMaxConcurrency),
    Broken::Coordinator(BrokenRule::CountRepeats),
    Broken::Coordinator(BrokenRule::NoAdoptionWindow),
    Broken::Coordinator(BrokenRule::ForgetUnknownSlots),
    Broken::Worker(BrokenSessionRule::IgnoreHeldSlots),
    Broken::Worker(BrokenSessionRule::KeepLapsedLeases),
];

/// A number that whoever runs the tests may give.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = given("WARIFU_TURMOIL_SEED") {
        let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info,turmoil=warn".to_owned());
        // Another test may have set it up.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).without_time().try_init();
        return seed..seed + 1;
    }
    let soaks = std::env::var("WARIFU_SOAK").is_ok_and(|value| value == "1");
    0..given("WARIFU_TURMOIL_SEEDS").unwrap_or(if soaks { SOAK_SEEDS } else { SEEDS })
}

#[test]
fn every_seed_ends_with_every_item_counted_once() {
    let (mut failed, mut total) = (Vec::new(), Statistics::default());
    for seed in seeds() {
        let Outcome { violation, statistics, log } = run(&Plan::of_seed(seed));
        total += &statistics;
        if let Some(violation) = violation {
            println!("seed {seed}: {violation}\n  {}", log.join("\n  "));
            failed.push(seed);
        }
    }
    println!("{total:?}");
    assert!(
        failed.is_empty(),
        "{} seeds fail: {failed:?}\none again: WARIFU_TURMOIL_SEED={} cargo test -p warifu-turmoil every_seed -- --nocapture",
        failed.len(),
        failed[0]
    );
    if total.seeds >= SEEDS {
        assert_that_enough_happened(&total);
    }
}

/// A simulation in which nothing happens proves nothing.
fn assert_that_enough_happened(total: &Statistics) {
    let seeds = total.seeds;
    assert!(total.faults > 4 * seeds && total.quiet_seeds <= seeds / 20, "{total:?}");
    assert!(total.cuts > seeds && total.deaths > seeds / 2 && total.stalls > seeds / 4, "{total:?}");
    assert!(
        total.leaves > seeds / 8 && total.drains > seeds / 8 && total.store_faults > seeds / 4,
        "{total:?}"
    );
    // A fleet at peace makes five connections, and leads in one term.
    assert!(total.connections > 8 * seeds && total.terms > seeds * 5 / 4, "{total:?}");
    assert!(total.repeated_calls > seeds && total.at_the_limit > seeds / 2, "{total:?}");
}

#[test]
fn the_same_seed_stands_for_the_same_fleet_and_faults() {
    for seed in 0..SEEDS {
        assert_eq!(Plan::of_seed(seed), Plan::of_seed(seed));
    }
    let (one, other) = (run(&Plan::of_seed(7)), run(&Plan::of_seed(7)));
    let shorter = one.log.len().min(other.log.len());
    assert_eq!(one.log[..shorter], other.log[..shorter], "what goes wrong, and when");
}

/// The first of so many seeds that notices that a rule is left out.
fn notices(broken: Broken) -> Option<(u64, String)> {
    (0..SEEDS_TO_NOTICE).find_map(|seed| {
        let plan = Plan { broken: Some(broken), ..Plan::of_seed(seed) };
        run(&plan).violation.map(|violation| (seed, violation))
    })
}

#[test]
fn a_rule_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for broken in NOTICED {
        match notices(broken) {
            Some((seed, violation)) => println!("{broken:?}: seed {seed}: {violation}"),
            None => unnoticed.push(broken),
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices that these rules are left out: {unnoticed:?}");
}
