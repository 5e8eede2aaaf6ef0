//! How long a loss is felt, with the default times. Once in the ordinary tests, so that it works; `just measure` does each twenty
//! times and prints the table of docs/reliability.md.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Fleet, FleetSettings, Network, PARTITION, eventually, text};

/// Far beyond what any of it takes.
const DEADLINE: Duration = Duration::from_secs(120);
/// Batches of the run that is disturbed; it does not end by itself.
const BATCHES: u64 = 1_000_000;

/// A fleet, and a run whose handler notes each call with the worker's process and the batch.
struct Story {
    fleet: Fleet,
    calls: PathBuf,
    /// Runs so far.
    runs: u32,
}

impl Story {
    fn begin() -> Self {
        let mut fleet = Fleet::start(&FleetSettings::default());
        let calls = fleet.path("calls");
        std::fs::write(&calls, "").unwrap();
        let handler = format!(
            "[handlers.watched]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \
             'echo \"start $PPID $WARIFU_BATCH_NUMBER\" >>\"{0}\"; sleep 0.2; \
             echo \"end $PPID $WARIFU_BATCH_NUMBER\" >>\"{0}\"; cat']\n",
            text(&calls)
        );
        let held = format!(
            "[handlers.held]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \
             'echo \"start $PPID $WARIFU_BATCH_NUMBER\" >>\"{0}\"; \
             n=0; while [ ! -e \"{1}/$WARIFU_MAP_RUN_ID\" ] && [ $n -lt 1200 ]; do n=$((n + 1)); sleep 0.1; done; \
             echo \"end $PPID $WARIFU_BATCH_NUMBER\" >>\"{0}\"']\n",
            text(&calls),
            text(&fleet.path("")),
        );
        let handler = handler + &held;
        for id in ["w0", "w1", "w2"] {
            fleet.start_worker(id, 4, &handler);
        }
        let lines: String = (0..BATCHES).map(|call| format!("{call}\n")).collect();
        fleet.s3().put("input", "in.csv", format!("id\n{lines}"));
        fleet.s3().put("input", "held.csv", "id\n0\n1\n2\n3\n4\n5\n6\n7\n");
        let mut story = Self { fleet, calls, runs: 0 };
        story.submit("in.csv", "watched");
        story.wait_until_all_work();
        story
    }

    /// Begins a run with batches of one item; returns its id.
    fn submit(&mut self, key: &str, handler: &str) -> String {
        self.runs += 1;
        let id = self.run();
        self.fleet.submit(
            &id,
            &format!(
                "itemReader: {{bucket: input, key: {key}, readerConfig: {{inputType: CSV}}}}\n\
                 itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: {handler}}}\n\
                 resultWriter: {{bucket: output, prefix: r/}}\n"
            ),
        );
        id
    }

    /// The id of the run that was begun last.
    fn run(&self) -> String {
        format!("r{}", self.runs)
    }

    /// How much is noted by now.
    fn mark(&self) -> u64 {
        std::fs::metadata(&self.calls).unwrap().len()
    }

    /// Lines noted since a mark.
    fn lines_since(&self, mark: u64) -> Vec<String> {
        let mut calls = std::fs::File::open(&self.calls).unwrap();
        calls.seek(SeekFrom::Start(mark)).unwrap();
        let mut text = String::new();
        calls.read_to_string(&mut text).unwrap();
        // The last one may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until each worker has begun a call from now on.
    fn wait_until_all_work(&self) {
        let mark = self.mark();
        let workers: Vec<String> = (0..self.fleet.workers())
            .map(|worker| format!("start {} ", self.fleet.worker_id(worker)))
            .collect();
        eventually("all workers work", DEADLINE, || {
            let lines = self.lines_since(mark);
            let works = |worker: &String| lines.iter().any(|line| line.starts_with(worker));
            workers.iter().all(works).then_some(())
        });
    }

    /// Waits until another coordinator than `old` leads and a call has begun after that.
    fn wait_for_leases_of_another_leader(&self, old: usize) {
        eventually("another one leads", DEADLINE, || {
            (0..self.fleet.coordinators()).find(|&index| index != old && leads(self.fleet.http_port(index)))
        });
        let mark = self.mark();
        eventually("calls begin", DEADLINE, || {
            self.lines_since(mark).iter().any(|line| line.starts_with("start")).then_some(())
        });
    }

    /// Starts a coordinator, and waits until it answers: clients of the test talk to any that runs.
    fn start_again(&mut self, coordinator: usize) {
        self.fleet.start_coordinator(coordinator);
        eventually("it answers", DEADLINE, || self.fleet.term_seen_by(coordinator).map(drop));
    }

    fn leader_killed(&mut self) -> Duration {
        let leader = self.fleet.wait_for_leader();
        let began = Instant::now();
        self.fleet.kill_coordinator(leader);
        self.wait_for_leases_of_another_leader(leader);
        let took = began.elapsed();
        self.start_again(leader);
        took
    }

    fn leader_and_worker_killed(&mut self) -> Duration {
        let leader = self.fleet.wait_for_leader();
        let began = Instant::now();
        self.fleet.kill_coordinator(leader);
        self.fleet.kill_worker(0);
        self.wait_for_leases_of_another_leader(leader);
        let took = began.elapsed();
        self.start_again(leader);
        self.fleet.spawn_worker(0);
        took
    }

    fn leader_stopped(&mut self) -> Duration {
        let leader = self.fleet.wait_for_leader();
        let began = Instant::now();
        self.fleet.signal_coordinator(leader, Signal::SIGTERM);
        self.wait_for_leases_of_another_leader(leader);
        let took = began.elapsed();
        self.fleet.stop_coordinator(leader);
        self.start_again(leader);
        took
    }

    /// Until every batch that ran in the worker begins elsewhere, or in its next process.
    fn worker_killed(&mut self, restart: bool) -> Duration {
        /// Calls take 0.2 s, so those in progress are noted here.
        const RECENT_BYTES: u64 = 64 << 10;
        let began = Instant::now();
        let killed = self.fleet.kill_worker(0);
        let mark = self.mark();
        let lines = self.lines_since(mark.saturating_sub(RECENT_BYTES));
        let of = |what: &str| -> Vec<String> {
            let prefix = format!("{what} {killed} ");
            lines.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
        };
        let ended = of("end");
        let running: Vec<String> = of("start").into_iter().filter(|batch| !ended.contains(batch)).collect();
        assert!(!running.is_empty(), "the worker had nothing to lose");
        if restart {
            self.fleet.spawn_worker(0);
        }
        eventually("its batches begin again", DEADLINE, || {
            let lines = self.lines_since(mark);
            let begins = |batch: &String| {
                let again = |line: &&String| {
                    line.starts_with("start")
                        && line.ends_with(&format!(" {batch}"))
                        && !line.contains(&format!(" {killed} "))
                };
                lines.iter().any(|line| again(&line))
            };
            running.iter().all(begins).then_some(())
        });
        let took = began.elapsed();
        if !restart {
            self.fleet.spawn_worker(0);
        }
        took
    }

    /// Until every batch that ran in a worker begins elsewhere. Two workers have slots for all: each begins when it is leased.
    fn worker_killed_beside_free_slots(&mut self) -> Duration {
        let run = self.run();
        self.fleet.run(&["stop", &run]).expect(0);
        eventually("the run is stopped", DEADLINE, || {
            self.fleet.get(&run).filter(|run| run["state"] == "ABORTED").map(drop)
        });
        let mark = self.mark();
        let held = self.submit("held.csv", "held");
        eventually("all batches are held", DEADLINE, || (self.lines_since(mark).len() == 8).then_some(()));
        let lines = self.lines_since(mark);
        let has_one =
            |worker: &usize| lines[0].starts_with(&format!("start {} ", self.fleet.worker_id(*worker)));
        let worker = (0..self.fleet.workers()).find(has_one).unwrap();
        let began = Instant::now();
        let killed = format!("start {} ", self.fleet.kill_worker(worker));
        let lost: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&killed)).collect();
        eventually("its batches begin again", DEADLINE, || {
            let again = self.lines_since(mark).len() - lines.len();
            (again == lost.len()).then_some(())
        });
        let took = began.elapsed();
        std::fs::write(self.fleet.path(&held), "").unwrap();
        self.fleet.wait(&held, DEADLINE);
        self.fleet.spawn_worker(worker);
        self.submit("in.csv", "watched");
        took
    }

    /// Until a worker gives its silent stream up.
    fn partition(&mut self) -> Duration {
        let leader = self.fleet.wait_for_leader();
        let noticed = |fleet: &Fleet| fleet.worker_log(1).matches("the stream is given up").count();
        let before = noticed(&self.fleet);
        let began = Instant::now();
        self.fleet.set_network(leader, PARTITION);
        eventually("it is noticed", DEADLINE, || (noticed(&self.fleet) > before).then_some(()));
        let took = began.elapsed();
        self.fleet.set_network(leader, Network::Passes);
        took
    }
}

/// Whether the coordinator's metrics say that it leads.
fn leads(http_port: u16) -> bool {
    let metrics = || {
        let mut socket = TcpStream::connect(("127.0.0.1", http_port)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    metrics().is_some_and(|metrics| metrics.contains("\nwarifu_leading 1"))
}

type Disturbance = fn(&mut Story) -> Duration;

const DISTURBANCES: [(&str, Disturbance); 7] = [
    ("kill -9 of the leader, until another one's leases are worked on", Story::leader_killed),
    ("the same, and a worker with it", Story::leader_and_worker_killed),
    ("SIGTERM to the leader, until another one's leases are worked on", Story::leader_stopped),
    (
        "kill -9 of a worker, until its batches are leased and begin in free slots",
        Story::worker_killed_beside_free_slots,
    ),
    ("the same where all slots are taken", |story| story.worker_killed(false)),
    ("kill -9 of a worker that starts again, until its batches run", |story| story.worker_killed(true)),
    ("partition, until workers give the stream up", Story::partition),
];

#[test]
fn every_loss_is_felt_for_a_while_only() {
    let times = std::env::var("WARIFU_MEASURE").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut story = Story::begin();
    println!("| what | times | median | worst |\n| --- | --- | --- | --- |");
    for (what, disturb) in DISTURBANCES {
        let mut took: Vec<Duration> = Vec::new();
        for _ in 0..times {
            took.push(disturb(&mut story));
            story.wait_until_all_work();
        }
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2].as_secs_f64(), took[took.len() - 1].as_secs_f64());
        println!("| {what} | {times} | {median:.1} s | {worst:.1} s |");
    }
}
