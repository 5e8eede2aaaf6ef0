//! Runs the model's configurations.
use warifu_protocol_model::checker::{Bounds, explore};
use warifu_protocol_model::{Protocol, SMALL};

fn main() {
    let name = std::env::args().nth(1).unwrap();
    let limits = SMALL.iter().find(|l| l.name == name).unwrap();
    let start = std::time::Instant::now();
    let findings = explore(&Protocol::sound(limits), Bounds { progress: true, states: 40_000_000, depth: 200 });
    println!("{} states, {} transitions, depth {}, exhausted {}, events {:b} {:?}", findings.states, findings.transitions, findings.depth, findings.exhausted, findings.events, start.elapsed());
    if let Some(trace) = findings.violation { println!("{trace}"); }
}
