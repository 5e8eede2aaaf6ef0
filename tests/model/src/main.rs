//! Runs the model's configurations.
use warifu_protocol_model::checker::{Bounds, explore};
use warifu_protocol_model::{Protocol, LARGE, SEEDED_BUGS, SMALL};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let states: usize = args.get(2).and_then(|t| t.parse().ok()).unwrap_or(40_000_000);
    if args[1] == "--hunt" {
        for bug in SEEDED_BUGS.iter().filter(|b| args.get(3).is_none_or(|n| format!("{:?}", b.mutation) == *n)) {
            print!("{:?}:", bug.mutation);
            for limits in SMALL.iter().filter(|l| args.get(4).is_none_or(|n| l.name == n)) {
                let start = std::time::Instant::now();
                let f = explore(&Protocol::broken(limits, bug.mutation), Bounds { progress: false, states, depth: 200 });
                match f.violation {
                    Some(t) => {
                        println!(" FOUND in {} {} states depth {} {:?}: {}", limits.name, f.states, f.depth, start.elapsed(), &t.violation[..t.violation.len().min(90)]);
                        if args.len() > 3 { println!("{t}"); }
                        break;
                    }
                    None => print!(" [{} {}]", limits.name, f.states),
                }
            }
            println!();
        }
        return;
    }
    let limits = SMALL.iter().chain(LARGE).find(|l| l.name == args[1]).unwrap();
    let start = std::time::Instant::now();
    let findings = explore(&Protocol::sound(limits), Bounds { progress: true, states, depth: 200 });
    println!("{} states, {} transitions, depth {}, exhausted {}, events {:b} {:?}", findings.states, findings.transitions, findings.depth, findings.exhausted, findings.events, start.elapsed());
    if let Some(trace) = findings.violation { println!("{trace}"); }
}
