//! Runs the model's configurations.
use warifu_protocol_model::checker::{Bounds, explore};
use warifu_protocol_model::{Limits, Protocol};

static A: Limits = Limits { name: "a", leaders: 2, hellos: 2, packets: 1, lapses: true, ..Limits::SMALLEST };

fn main() {
    let depth = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(20);
    let start = std::time::Instant::now();
    let findings = explore(&Protocol::sound(&A), Bounds { states: 30_000_000, depth });
    println!("{} states, {} transitions, depth {}, exhausted {}, events {:b} {:?}", findings.states, findings.transitions, findings.depth, findings.exhausted, findings.events, start.elapsed());
    if let Some(trace) = findings.violation { println!("{trace}"); }
    println!("{}", std::mem::size_of::<warifu_protocol_model::State>());
}
