//! Explores the model's configurations: `warifu-protocol-model [--large] [NAME] [--states N]`.
//!
//! Without a name all small ones, or with `--large` all large ones; a search gives up at so many states, each of
//! which takes some 35 bytes besides the 0.8 KiB of each state of the current depth and the next.

use std::time::Instant;

use warifu_protocol_model::checker::{Bounds, explore};
use warifu_protocol_model::{LARGE, Limits, Protocol, SMALL};

/// About 6 GB at the widest depth.
const STATES: usize = 40_000_000;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let states_at = arguments.iter().position(|argument| argument == "--states");
    let states = states_at.and_then(|at| arguments.get(at + 1)).and_then(|text| text.parse().ok());
    let bounds = Bounds { progress: true, states: states.unwrap_or(STATES), depth: usize::MAX };
    let named = |limits: &&Limits| arguments.iter().any(|argument| argument == limits.name);
    let mut chosen: Vec<&'static Limits> = SMALL.iter().chain(LARGE).filter(named).collect();
    if chosen.is_empty() {
        chosen = if large { LARGE.iter().collect() } else { SMALL.iter().collect() };
    }
    for limits in chosen {
        let begin = Instant::now();
        let findings = explore(&Protocol::sound(limits), bounds);
        if let Some(trace) = findings.violation {
            eprintln!("{}:\n{trace}", limits.name);
            return std::process::ExitCode::FAILURE;
        }
        println!(
            "{}: {} states, {} steps, depth {}, {}, {:.1} s",
            limits.name,
            findings.states,
            findings.transitions,
            findings.depth,
            if findings.exhausted { "exhausted" } else { "not exhausted" },
            begin.elapsed().as_secs_f64(),
        );
    }
    std::process::ExitCode::SUCCESS
}
