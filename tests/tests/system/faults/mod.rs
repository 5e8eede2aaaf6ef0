//! A fleet under faults: everything that can break does, one after the other and several at once, while runs go on; then
//! database, result files, counts and the handlers' own notes are compared with the input.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{
    Fleet, FleetSettings, Random, Sink, clock_library, eventually, read_results, skipped, soak, text,
    users_csv,
};
use calls::CallLog;
use fault::{Breakage, Fault};

mod calls;
mod fault;

/// How long runs are started and broken: in the ordinary tests, and in the long variant.
const LASTS: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3_600));
/// Rows of one run that writes into the database.
const ROWS: u64 = 60_000;
/// Batches of one run whose calls are watched, and how many may be in progress.
const CALLS: u64 = 1_000;
const CALLS_AT_ONCE: usize = 3;
/// Between the beginning of a fault and its end.
const HOLD: (u64, u64) = (200, 6_000);
/// How long anything may take to go on after a fault, and how long a run may take to its end.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long before that deadline everything is asked what it said last.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Writes that prove that work goes on.
const PROGRESS: u64 = 200;

const SETTINGS: FleetSettings<'static> = FleetSettings {
    coordinators: 3,
    etcd_members: 3,
    etcd_options: &["--quota-backend-bytes", "67108864"],
    leases: "[leases]\nttl_seconds = 5\nleader_ttl_seconds = 3\n",
    s3_past_network: false,
};

#[test]
fn whatever_breaks_every_row_is_counted_once_and_every_run_ends() {
    let seed = std::env::var("WARIFU_FAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let lasts = if soak() { LASTS.1 } else { LASTS.0 };
    let mut story = Story::begin(seed);
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < lasts {
        story.round(rounds);
        rounds += 1;
    }
    println!(
        "seed {seed}: {rounds} rounds of {ROWS} rows and {CALLS} watched calls in {:?}\n",
        started.elapsed()
    );
    println!("{}", story.table());
    for fault in possible_faults() {
        assert!(story.felt.contains_key(&fault), "{fault:?} was never injected");
    }
    story.fleet.stop();
}

/// What is known of a fault.
#[derive(Default)]
struct Felt {
    /// Times that it was injected together with another one.
    mixed: usize,
    /// How long it was felt after its end, when it was injected alone.
    alone: Vec<Duration>,
}

fn possible_faults() -> Vec<Fault> {
    let mut faults = Fault::ALL.to_vec();
    if clock_library().is_none() {
        skipped("steps of clocks", "libfaketime is not installed");
        faults.retain(|fault| *fault != Fault::ClocksStep);
    }
    faults
}

struct Story {
    fleet: Fleet,
    sink: Sink,
    calls: CallLog,
    random: Random,
    /// Faults that have not had their turn.
    next: Vec<Fault>,
    felt: BTreeMap<Fault, Felt>,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let mut fleet = Fleet::start(&SETTINGS);
        let sink = Sink::create(fleet.path("users.db"));
        let calls = CallLog::create(fleet.path("calls"));
        let handlers = format!("{}{}", sink.handler(), calls.handler());
        for id in ["w0", "w1", "w2"] {
            fleet.start_worker(id, 4, &handlers);
        }
        Self { fleet, sink, calls, random: Random::new(seed), next: Vec::new(), felt: BTreeMap::new() }
    }

    /// Two runs under faults until both have ended, and what they left behind.
    fn round(&mut self, round: u64) {
        let (rows, calls) = (format!("rows-{round}"), format!("calls-{round}"));
        let before = round * ROWS;
        self.fleet.s3().put("input", "users.csv", users_csv(before..before + ROWS));
        self.fleet.submit(
            &rows,
            &format!(
                "itemReader: {{bucket: input, key: users.csv, readerConfig: {{inputType: CSV}}}}\n\
                 itemBatcher: {{maxItemsPerBatch: 4}}\nitemProcessor: {{handler: users}}\nmaxConcurrency: 2\n\
                 resultWriter: {{bucket: output, prefix: {rows}/}}\n"
            ),
        );
        let lines: String = (0..CALLS).map(|call| format!("{call}\n")).collect();
        self.fleet.s3().put("input", &format!("{calls}.csv"), format!("id\n{lines}"));
        self.fleet.submit(
            &calls,
            &format!(
                "itemReader: {{bucket: input, key: {calls}.csv, readerConfig: {{inputType: CSV}}}}\n\
                 itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: watched}}\n\
                 maxConcurrency: {CALLS_AT_ONCE}\nresultWriter: {{bucket: output, prefix: {calls}/}}\n"
            ),
        );
        while self.sink.effects() + 3 * PROGRESS < before + ROWS {
            self.break_something(before + ROWS);
        }
        for (id, items) in [(&rows, ROWS), (&calls, CALLS)] {
            let run = self.fleet.wait(id, DEADLINE);
            let counts = &run["itemCounts"];
            assert_eq!(
                (&counts["total"], &counts["succeeded"]),
                (&items.into(), &items.into()),
                "{id}: {counts}"
            );
            let results = self.fleet.path(&format!("results-{id}"));
            self.fleet.run(&["results", id, "--download", text(&results)]).expect(0);
            let results = read_results(&results);
            assert_eq!((results.succeeded.len() as u64, results.failed.len()), (items, 0), "{id}");
        }
        self.sink.expect_each_once(before + ROWS);
        self.calls.expect_at_most(CALLS_AT_ONCE);
    }

    /// Breaks one thing, or two, for a while, and waits until work goes on.
    fn break_something(&mut self, rows_at_end: u64) {
        let mut broken: Vec<Breakage> = Vec::new();
        let faults = if self.random.one_in(3) { 2 } else { 1 };
        for _ in 0..faults {
            let fault = self.next_fault();
            // Not every two go together: there may be nobody left to be broken.
            match fault.inject(&mut self.fleet, &mut self.random, &broken) {
                Some(breakage) => broken.push(breakage),
                None => self.next.insert(0, fault),
            }
        }
        let (least, most) = HOLD;
        std::thread::park_timeout(Duration::from_millis(least + self.random.below(most - least)));
        let is_mixed = broken.len() > 1;
        let faults: Vec<Fault> = broken.iter().map(|breakage| breakage.fault).collect();
        for breakage in broken.drain(..) {
            breakage.heal(&mut self.fleet);
        }
        let healed_at = Instant::now();
        let written = self.sink.effects();
        eventually(&format!("work goes on after {faults:?}"), DEADLINE, || {
            let now = self.sink.effects();
            if healed_at.elapsed() > DEADLINE - LAST_WORDS {
                eprintln!("{}", self.fleet.last_words());
                std::thread::park_timeout(LAST_WORDS);
            }
            (now >= written + PROGRESS || now == rows_at_end).then_some(())
        });
        eprintln!("{faults:?}: {:?}", healed_at.elapsed());
        for fault in faults {
            let felt = self.felt.entry(fault).or_default();
            if is_mixed {
                felt.mixed += 1;
            } else {
                felt.alone.push(healed_at.elapsed());
            }
        }
    }

    /// Each has its turn before one comes again.
    fn next_fault(&mut self) -> Fault {
        if self.next.is_empty() {
            self.next = possible_faults();
        }
        let index = self.random.below(self.next.len() as u64);
        self.next.swap_remove(usize::try_from(index).unwrap())
    }

    /// For docs/reliability.md.
    fn table(&self) -> String {
        let head = "| fault | alone | with another | alone, work went on after its end: median | worst |\n";
        let mut table = format!("{head}| --- | --- | --- | --- | --- |\n");
        for (fault, Felt { mixed, alone }) in &self.felt {
            let mut sorted: Vec<f64> = alone.iter().map(Duration::as_secs_f64).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let shown = |seconds: Option<&f64>| seconds.map_or_else(String::new, |s| format!("{s:.1} s"));
            let (median, worst) = (shown(sorted.get(sorted.len() / 2)), shown(sorted.last()));
            table += &format!("| {} | {} | {mixed} | {median} | {worst} |\n", fault.name(), alone.len());
        }
        table
    }
}
