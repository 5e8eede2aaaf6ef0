//! The simulation, as CI runs it: many seeds hold, the same seed gives the same trace, broken rules are noticed.
#![allow(clippy::unwrap_used)] // a failed expectation is the test's failure

use std::path::PathBuf;

use warifu_scheduler::BrokenRule;
use warifu_session::BrokenSessionRule;
use warifu_simulation::{Outcome, Plan, Statistics, run};

const SEEDS: u64 = 2_000;
const STORMS: u64 = 300;
const STEPS: u64 = 5_000;
/// A broken rule must be noticed within so many seeds.
const SEEDS_TO_NOTICE: u64 = 1_500;

/// Runs seeds on both cores and gives the first one that fails.
fn first_violation(plan_of: impl Fn(u64) -> Plan + Sync, seeds: u64) -> (Option<(u64, String)>, Statistics) {
    let halves: Vec<_> = std::thread::scope(|scope| {
        let half = |from: u64| {
            let plan_of = &plan_of;
            scope.spawn(move || run_every_other(plan_of, from, seeds))
        };
        let spawned = [half(0), half(1)];
        spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut total = Statistics::default();
    for (_, statistics) in &halves {
        total.add(statistics);
    }
    (halves.into_iter().filter_map(|(violation, _)| violation).min(), total)
}

fn run_every_other(
    plan_of: &impl Fn(u64) -> Plan,
    from: u64,
    seeds: u64,
) -> (Option<(u64, String)>, Statistics) {
    let mut total = Statistics::default();
    for seed in (from..seeds).step_by(2) {
        let Outcome { violation, statistics, .. } = run(&plan_of(seed));
        total.add(&statistics);
        if let Some(violation) = violation {
            return (Some((seed, violation)), total);
        }
    }
    (None, total)
}

/// Saves the event log of a failing seed and says how to replay it.
fn save_log(seed: u64) -> PathBuf {
    let mut plan = Plan::of_seed(seed, STEPS);
    plan.log = true;
    let path = std::env::temp_dir().join(format!("warifu-simulation-{seed}.log"));
    std::fs::write(&path, run(&plan).log.join("\n")).unwrap();
    path
}

#[test]
fn every_seed_keeps_the_invariants() {
    let (violation, total) = first_violation(|seed| Plan::of_seed(seed, STEPS), SEEDS);
    if let Some((seed, violation)) = violation {
        let log = save_log(seed);
        panic!(
            "seed {seed}: {violation}\nreplay: cargo run -p warifu-simulation -- --seed {seed} --steps {STEPS}\nlog: {}",
            log.display()
        );
    }
    // A simulation in which nothing happens proves nothing.
    assert!(total.steps >= SEEDS * STEPS, "{total:?}");
    assert!(total.finished_runs > SEEDS && total.leaders > SEEDS && total.adoptions > SEEDS, "{total:?}");
    assert!(total.resignations > SEEDS / 4 && total.failed_parts > SEEDS / 20, "{total:?}");
    assert!(
        total.losses > SEEDS / 4 && total.redrives > SEEDS / 10 && total.refused_reports > SEEDS / 20,
        "{total:?}"
    );
    assert!(total.alerts > SEEDS && total.paced_grants > SEEDS, "{total:?}");
    assert!(total.adapted_slots > SEEDS && total.highest_adapted > 4, "{total:?}");
    assert!(total.compensated > SEEDS / 4 && total.tries > total.compensated, "{total:?}");
    assert!(total.failed_compensations > SEEDS / 100 && total.not_compensated > SEEDS / 100, "{total:?}");
    let per_million = total.bytes_written / total.counted_batches.max(1);
    println!("{total:?}; {per_million} MB written to the store per million batches, in worlds of tiny runs");
}

#[test]
fn storms_keep_the_invariants() {
    let (violation, total) = first_violation(|seed| Plan::of_seed(seed, STEPS).in_storm(), STORMS);
    assert_eq!(violation, None);
    assert!(total.finished_runs > STORMS && total.refused_reports > STORMS / 3, "{total:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 7, 99] {
        assert_eq!(run(&Plan::of_seed(seed, STEPS)).trace, run(&Plan::of_seed(seed, STEPS)).trace);
    }
}

fn notices(break_it: impl Fn(&mut Plan) + Sync, stormy: bool) -> Option<(u64, String)> {
    let plan_of = |seed| {
        let plan = Plan::of_seed(seed, STEPS);
        let mut plan = if stormy { plan.in_storm() } else { plan };
        break_it(&mut plan);
        plan
    };
    first_violation(plan_of, SEEDS_TO_NOTICE).0
}

/// Rules of the coordinator whose absence the simulation notices.
const COORDINATOR_RULES: &[BrokenRule] = &[
    BrokenRule::AnswerBeforeDurable,
    BrokenRule::CountRepeats,
    BrokenRule::FreeSlotsAtRevoke,
    BrokenRule::StreamEndIsDeath,
    BrokenRule::NoAdoptionWindow,
    BrokenRule::ForgetUnknownSlots,
    BrokenRule::GrantWhileStopping,
    BrokenRule::IgnoreMaxConcurrency,
    BrokenRule::AdoptAnyAttempt,
    BrokenRule::NeverStepDown,
    BrokenRule::IgnoreTolerance,
    BrokenRule::IgnoreRate,
    BrokenRule::IgnoreAdaptedLimit,
    BrokenRule::CompensateUncounted,
    BrokenRule::ForgetOrphanedTry,
];

/// Rules of the worker whose absence the simulation notices.
const WORKER_RULES: &[BrokenSessionRule] = &[
    BrokenSessionRule::KeepLapsedLeases,
    BrokenSessionRule::IgnoreHeldSlots,
    BrokenSessionRule::NeverForgetRefused,
    BrokenSessionRule::KeepUnwritable,
];

#[test]
fn a_rule_left_out_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in COORDINATOR_RULES {
        match notices(|plan| plan.broken_rule = Some(*rule), false) {
            Some((seed, violation)) => println!("{rule:?}: seed {seed}: {violation}"),
            None => unnoticed.push(format!("{rule:?}")),
        }
    }
    for rule in WORKER_RULES {
        // Reports that are refused in part are rare in calmer worlds.
        let stormy = *rule == BrokenSessionRule::NeverForgetRefused;
        match notices(|plan| plan.broken_session_rule = Some(*rule), stormy) {
            Some((seed, violation)) => println!("worker's {rule:?}: seed {seed}: {violation}"),
            None => unnoticed.push(format!("worker's {rule:?}")),
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices that these rules are left out: {unnoticed:?}");
}
