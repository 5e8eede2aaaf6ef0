//! Replays seeds of the simulation: `warifu-simulation --seed 7 [--count 100] [--steps 5000] [--log FILE]`;
//! `--measure-store` tells what a large run costs the store.

use std::io::Write;

use warifu_simulation::{Plan, measure_store, run};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str, default: u64| value(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, count, steps) = (number("--seed", 0), number("--count", 1), number("--steps", 5_000));
    if arguments.iter().any(|argument| argument == "--measure-store") {
        return print_measures(first);
    }
    for seed in first..first.saturating_add(count) {
        let mut plan = Plan::of_seed(seed, steps);
        plan.log = value("--log").is_some();
        let outcome = run(&plan);
        if let Some(path) = value("--log") {
            write_log(path, &outcome.log);
        }
        match outcome.violation {
            Some(violation) => {
                eprintln!("seed {seed}: {violation}\n{:?}", outcome.statistics);
                return std::process::ExitCode::FAILURE;
            }
            None => println!("seed {seed}: holds, {:?}", outcome.statistics),
        }
    }
    std::process::ExitCode::SUCCESS
}

fn print_measures(seed: u64) -> std::process::ExitCode {
    match measure_store(seed) {
        Ok(text) => println!("{text}"),
        Err(violation) => {
            eprintln!("{violation}");
            return std::process::ExitCode::FAILURE;
        }
    }
    std::process::ExitCode::SUCCESS
}

fn write_log(path: &str, log: &[String]) {
    let written = std::fs::File::create(path)
        .and_then(|mut file| log.iter().try_for_each(|line| writeln!(file, "{line}")));
    if let Err(error) = written {
        eprintln!("the event log could not be written to {path}: {error}");
    }
}
