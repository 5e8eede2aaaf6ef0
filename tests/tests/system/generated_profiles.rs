//! The same exactness, judged from outside: files and checks by the Python tools beside the repository, where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Process, Random, run_json, scratch, shared_directory, skipped, soak, text};

const PROFILES: [&str; 10] =
    ["users", "notes", "crlf", "bom", "no-last-newline", "blank-lines", "decoy", "huge", "quotes", "wide"];

/// No further run is begun after this time, unless it is a soak.
const BUDGET: Duration = Duration::from_secs(60);

#[test]
fn every_profile_of_the_generator_is_exact() {
    let Some(tools) = shared_directory("tools") else {
        return skipped("generated profiles", "there is no ../shared/tools");
    };
    let started = Instant::now();
    let directory = scratch();
    let (seeds, cuts) = if soak() { (8, 6) } else { (2, 1) };
    let (mut runs, mut rows, mut random) = (0, 0, Random::new(2));
    'all: for seed in 1..=seeds {
        for profile in PROFILES {
            let csv = generate(&tools, directory.path(), profile, seed);
            for _ in 0..cuts {
                let shard_size = *random.choose(&[&1_024_u64, &4_096, &65_536, &1_048_576, &8_388_608]);
                let workers = 1 + random.below(8);
                if !soak() && started.elapsed() > BUDGET {
                    eprintln!("the time is up at {profile}, seed {seed}");
                    break 'all;
                }
                eprintln!("{profile} seed {seed}: shards of {shard_size}, {workers} workers");
                rows += run_and_check(&tools, &csv, shard_size, workers);
                runs += 1;
            }
        }
    }
    eprintln!("{runs} runs over {rows} rows were exact, in {:?}", started.elapsed());
}

fn generate(tools: &Path, directory: &Path, profile: &str, seed: u64) -> PathBuf {
    let rows = if profile == "wide" { "300" } else { "2000" };
    let csv = directory.join(format!("{profile}.csv"));
    let mut python = Command::new("python3");
    python.arg(tools.join("gen_csv.py")).arg(profile);
    python.args(["--rows", rows, "--seed", &seed.to_string(), "--out", text(&csv)]);
    Process::start(python).finish().expect(0);
    csv
}

/// Returns the number of rows.
fn run_and_check(tools: &Path, csv: &Path, shard_size: u64, workers: u64) -> u64 {
    let output = scratch();
    let (shard_size, workers) = (shard_size.to_string(), workers.to_string());
    let arguments = ["run", text(csv), "--handler", "echo", "--output", text(output.path())];
    let flags = ["--shard-size", &shard_size, "--workers", &workers];
    let run = run_json(arguments.into_iter().chain(flags), 0);
    let mut python = Command::new("python3");
    python.arg(tools.join("check_results.py")).args([csv, output.path()]);
    let checked = Process::start(python).finish().expect(0);
    let rows = run["itemCounts"]["succeeded"].as_u64().unwrap();
    assert_eq!(checked.stdout, format!("rows {rows} exact\n"));
    rows
}
