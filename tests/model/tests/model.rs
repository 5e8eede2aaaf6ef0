//! The model holds in every small configuration; every seeded bug is noticed; the document says so.
#![allow(clippy::unwrap_used)] // a failed expectation is the test's failure

use std::path::{Path, PathBuf};

use warifu_protocol_model::checker::{Bounds, Findings, explore};
use warifu_protocol_model::{
    ALSO_SIMULATED, EXPECTED, Event, LARGE, Limits, ONLY_SIMULATED, Protocol, SEEDED_BUGS, SMALL, bug_table,
    configuration_table,
};

/// A small configuration that grows beyond this is not small any more.
const STATES: usize = 40_000_000;
/// A seeded bug must be noticed within so many states.
const STATES_TO_NOTICE: usize = 1_000_000;

const EVENTS: &[Event] = &[
    Event::EverythingDecided,
    Event::TakenOver,
    Event::Adopted,
    Event::CountedAfterAdoption,
    Event::DecidedAfterTakeOver,
    Event::WindowTimedOut,
    Event::WindowEndedEarly,
    Event::PartCounted,
    Event::Repeated,
    Event::Refused,
    Event::Superseded,
    Event::Returned,
    Event::GrantedWithoutSlots,
    Event::SlotsGiven,
    Event::RosterLeft,
    Event::SecondAttempt,
    Event::Deposed,
    Event::LateWriteLanded,
    Event::Stopped,
    Event::StoppedByTolerance,
    Event::CeilingLowered,
    Event::DeadReleased,
    Event::Continued,
    Event::GrantedByDeposed,
];

fn bounds(states: usize) -> Bounds {
    Bounds { progress: false, states, depth: usize::MAX }
}

/// Does something for every element, on both cores.
fn on_both_cores<T: Sync, R: Send>(elements: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let some = || {
        let mut results = Vec::new();
        while let Some(element) = elements.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            results.push(each(element));
        }
        results
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(some), scope.spawn(some)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn configuration(name: &str) -> &'static Limits {
    SMALL.iter().chain(LARGE).find(|limits| limits.name == name).unwrap()
}

#[test]
fn every_small_configuration_is_explored_in_full_and_holds() {
    let names: Vec<&str> = SMALL.iter().map(|limits| limits.name).collect();
    let found: Vec<(&str, Findings)> =
        on_both_cores(&names, |name| (*name, explore(&Protocol::sound(configuration(name)), bounds(STATES))));
    let mut events = 0;
    for (name, findings) in &found {
        if let Some(trace) = &findings.violation {
            panic!("{name}:\n{trace}");
        }
        println!("(\"{name}\", {}, {}),", findings.states, findings.depth);
        assert!(findings.exhausted, "{name} is not exhausted");
        events |= findings.events;
    }
    // A model in which nothing happens proves nothing.
    let missed: Vec<_> = EVENTS.iter().filter(|event| events & 1 << **event as u8 == 0).collect();
    assert!(missed.is_empty(), "never happens: {missed:?}");
    for (name, findings) in &found {
        let expected = EXPECTED.iter().find(|expected| expected.0 == *name);
        assert_eq!(expected, Some(&(*name, findings.states, findings.depth)), "EXPECTED is out of date");
    }
}

#[test]
fn every_seeded_bug_is_noticed() {
    let unnoticed: Vec<_> = on_both_cores(SEEDED_BUGS, |bug| {
        let model = Protocol::broken(configuration(bug.configuration), bug.mutation);
        let findings = explore(&model, bounds(STATES_TO_NOTICE));
        match &findings.violation {
            Some(trace) => println!("{:?}: {} states, {}", bug.mutation, findings.states, trace.violation),
            None => println!("{:?}: not noticed in {} states", bug.mutation, findings.states),
        }
        findings.violation.is_none().then_some(bug.mutation)
    });
    let unnoticed: Vec<_> = unnoticed.into_iter().flatten().collect();
    assert!(unnoticed.is_empty(), "nobody notices: {unnoticed:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_simulation_has_the_rules_that_are_said_to_be_its() {
    let coordinator =
        std::fs::read_to_string(root().join("coordinator/scheduler/src/broken_rule.rs")).unwrap();
    let worker = std::fs::read_to_string(root().join("worker/session/src/state.rs")).unwrap();
    let tried = std::fs::read_to_string(root().join("tests/simulation/tests/simulation.rs")).unwrap();
    let also = ALSO_SIMULATED.iter().map(|(_, name)| *name);
    for name in also.chain(ONLY_SIMULATED.iter().map(|(_, _, name)| *name)) {
        let (of, rule) = name.split_once("::").unwrap();
        let source = if of == "BrokenRule" { &coordinator } else { &worker };
        assert!(source.contains(&format!("    {rule},\n")), "{name} is gone");
        assert!(tried.contains(&format!("{name},")), "the simulation does not try {name}");
    }
}

/// `UPDATE_EXPECT=1` writes the tables anew.
#[test]
fn the_document_has_the_tables_that_are_checked() {
    let path = root().join("docs/model.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut wanted = document.clone();
    for (name, table) in [("configurations", configuration_table()), ("seeded bugs", bug_table())] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = wanted.find(&begin).unwrap() + begin.len();
        let to = wanted.find(&end).unwrap();
        wanted.replace_range(from..to, &table);
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(document, wanted, "docs/model.md is out of date: UPDATE_EXPECT=1 writes it anew");
    }
}
