//! Three coordinators over etcd: whichever dies, stands still or is cut off, every row is there once.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Fleet, FleetSettings, Network, PARTITION, Process, Sink, clock_library, eventually, read_results,
    skipped, text, users_csv,
};

/// Shorter than the defaults, so that losses are noticed soon.
const LEASES: &str = "[leases]\nttl_seconds = 5\nleader_ttl_seconds = 3\n";
/// Far beyond what any of it takes.
const DEADLINE: Duration = Duration::from_secs(300);

/// A fleet with a run in progress that writes rows into a database.
struct Story {
    fleet: Fleet,
    sink: Sink,
    rows: u64,
}

impl Story {
    fn begin(settings: &FleetSettings<'_>, rows: u64) -> Self {
        let mut fleet = Fleet::start(settings);
        let sink = Sink::create(fleet.path("users.db"));
        for id in ["w0", "w1"] {
            fleet.start_worker(id, 4, &sink.handler());
        }
        fleet.s3().put("input", "users.csv", users_csv(0..rows));
        fleet.submit(
            "r",
            "itemReader: {bucket: input, key: users.csv, readerConfig: {inputType: CSV}}\n\
             itemBatcher: {maxItemsPerBatch: 4}\nitemProcessor: {handler: users}\nmaxConcurrency: 2\n\
             resultWriter: {bucket: output, prefix: r/}\n",
        );
        let story = Self { fleet, sink, rows };
        story.wait_for_some_rows();
        story
    }

    /// Waits until some rows more are written, and the run is not over yet.
    #[track_caller]
    fn wait_for_some_rows(&self) {
        const MORE: u64 = 1_000;
        let written = self.sink.effects();
        assert!(written + MORE < self.rows, "the run is nearly over");
        eventually("rows are written", DEADLINE, || (self.sink.effects() >= written + MORE).then_some(()));
    }

    /// Waits for the run's end, and compares what it left behind with the input.
    #[track_caller]
    fn end(self) {
        let run = self.fleet.wait("r", DEADLINE);
        expect_all_succeeded(&run, self.rows);
        self.sink.expect_each_once(self.rows);
        let results = self.fleet.path("results");
        self.fleet.run(&["results", "r", "--download", text(&results)]).expect(0);
        let results = read_results(&results);
        assert_eq!((results.succeeded.len() as u64, results.failed.len()), (self.rows, 0));
        self.fleet.stop();
    }
}

#[track_caller]
fn expect_all_succeeded(run: &Value, rows: u64) {
    let items = &run["itemCounts"];
    assert_eq!((&items["total"], &items["succeeded"]), (&rows.into(), &rows.into()), "{items}");
    for state in ["failed", "timedOut", "aborted", "pending", "running"] {
        assert_eq!((&items[state], &run["batchCounts"][state]), (&0.into(), &0.into()), "{state}");
    }
}

fn fast() -> FleetSettings<'static> {
    FleetSettings { leases: LEASES, ..FleetSettings::default() }
}

#[test]
fn leaders_and_workers_that_are_killed_lose_and_repeat_nothing() {
    let mut story = Story::begin(&fast(), 60_000);
    for round in 0..3 {
        let leader = story.fleet.wait_for_leader();
        story.fleet.kill_coordinator(leader);
        if round == 1 {
            story.fleet.kill_worker(0);
        }
        let next = story.fleet.wait_for_leader();
        assert_ne!(next, leader);
        story.wait_for_some_rows();
        story.fleet.start_coordinator(leader);
        if round == 1 {
            story.fleet.spawn_worker(0);
        }
    }
    story.end();
}

#[test]
fn a_leader_that_stands_still_leads_no_more_when_it_comes_to_life() {
    let mut story = Story::begin(&fast(), 60_000);
    let (paused, term) = story.fleet.leader_and_term().unwrap();
    story.fleet.pause_coordinator(paused);
    let next = story.fleet.wait_for_leader();
    story.wait_for_some_rows();
    story.fleet.resume_coordinator(paused);
    eventually("it follows", DEADLINE, || story.fleet.term_seen_by(paused).filter(|later| *later > term));
    assert_ne!(story.fleet.leader(), Some(paused), "{next} leads");
    story.end();
}

#[test]
fn a_leader_that_is_cut_off_is_followed_and_everything_goes_on() {
    let story = Story::begin(&fast(), 120_000);
    for networks in [(PARTITION, PARTITION), (Network::Passes, PARTITION), (PARTITION, Network::Passes)] {
        let (leader, term) = story.fleet.leader_and_term().unwrap();
        let broken_streams = || story.fleet.worker_log(0).matches("the stream is given up").count();
        let broken_before = broken_streams();
        story.fleet.set_network(leader, networks.0);
        story.fleet.set_etcd_network(leader, networks.1);
        if networks.1 == PARTITION {
            eventually("another one leads", DEADLINE, || {
                let elsewhere = (0..story.fleet.coordinators()).find(|&index| index != leader).unwrap();
                story.fleet.term_seen_by(elsewhere).filter(|now| *now > term)
            });
        } else {
            eventually("the partition is noticed", DEADLINE, || {
                (broken_streams() > broken_before).then_some(())
            });
        }
        assert!(story.fleet.touched(leader) > 0);
        story.fleet.set_network(leader, Network::Passes);
        story.fleet.set_etcd_network(leader, Network::Passes);
        story.wait_for_some_rows();
    }
    story.end();
}

#[test]
fn members_of_etcd_that_go_fail_no_call_and_two_of_three_only_stop_the_work() {
    let mut story = Story::begin(&fast(), 60_000);
    for member in 0..3 {
        story.fleet.etcd.kill(member);
        let began = Instant::now();
        for _ in 0..10 {
            story.fleet.json(&["get", "r"], 0);
            story.fleet.json(&["list"], 0);
        }
        eprintln!("twenty calls without etcd's member {member} took {:?}", began.elapsed());
        story.wait_for_some_rows();
        story.fleet.etcd.restart(member);
    }
    story.fleet.etcd.kill(0);
    story.fleet.etcd.kill(1);
    let refused = eventually("calls are refused", DEADLINE, || {
        let finished = story.fleet.run(&["list"]);
        (finished.status != 0).then_some(finished)
    });
    refused.expect(3).says(&["the state store"]);
    story.fleet.etcd.restart(0);
    story.fleet.etcd.restart(1);
    story.end();
}

#[test]
fn wall_clocks_that_step_by_hours_change_nothing() {
    if clock_library().is_none() {
        return skipped("steps of clocks", "libfaketime is not installed");
    }
    let story = Story::begin(&fast(), 60_000);
    for hours in [1, 0, -2, 0] {
        story.fleet.step_clocks(hours);
        // A process may take a second to see it.
        std::thread::park_timeout(Duration::from_millis(1_200));
        story.wait_for_some_rows();
    }
    story.end();
}

#[test]
fn etcd_without_space_stops_the_work_and_says_what_to_do() {
    let settings = FleetSettings {
        etcd_members: 1,
        etcd_options: &["--quota-backend-bytes", "33554432"],
        leases: LEASES,
        ..FleetSettings::default()
    };
    let story = Story::begin(&settings, 60_000);
    let filler = vec![7; 1 << 20];
    while story.fleet.etcd.put(0, "/filler", &filler) {}
    let said = eventually("the problem is said", DEADLINE, || {
        let cluster = story.fleet.run(&["cluster"]);
        let said = format!("{}{}", cluster.stdout, cluster.stderr);
        said.contains("out of space").then_some(said)
    });
    assert!(said.contains("etcdctl alarm disarm"), "{said}");
    let written = eventually("nothing more is written", DEADLINE, || {
        let before = story.sink.effects();
        std::thread::park_timeout(Duration::from_secs(1));
        (story.sink.effects() == before).then_some(before)
    });
    assert!(written < story.rows, "the run was over before etcd was full");
    story.fleet.etcd.make_space();
    story.end();
}

#[test]
fn two_clients_that_create_one_id_at_two_coordinators_make_one_run() {
    let fleet = Fleet::start(&FleetSettings { leases: LEASES, ..FleetSettings::default() });
    fleet.s3().put("input", "in.csv", "id\n1\n2\n");
    let job = |batch: u32| {
        format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemBatcher: {{maxItemsPerBatch: {batch}}}\nitemProcessor: {{handler: noop}}\n"
        )
    };
    let (one, other) = (fleet.path("one.yaml"), fleet.path("other.yaml"));
    std::fs::write(&one, job(1)).unwrap();
    std::fs::write(&other, job(2)).unwrap();
    for round in 0..10 {
        let (same, different) = (format!("same-{round}"), format!("different-{round}"));
        let submit = |coordinator, file, id: &str| {
            Process::start(fleet.client_of(coordinator, &["submit", "-f", text(file), "--id", id]))
        };
        let pairs = [submit(0, &one, &same), submit(1, &one, &same)];
        for submitted in pairs {
            submitted.finish().expect(0);
        }
        let pairs = [submit(1, &one, &different), submit(2, &other, &different)];
        let mut statuses = pairs.map(|submitted| submitted.finish().status);
        statuses.sort_unstable();
        assert_eq!(statuses, [0, 2], "one is made, the other is told that it exists");
    }
    let listed = fleet.json(&["list", "--limit", "100"], 0);
    assert_eq!(listed["mapRuns"].as_array().unwrap().len(), 20);
    fleet.stop();
}

/// Everything is restarted, one by one, while batches run: each runs once, and none fails.
#[test]
fn a_rolling_restart_under_load_repeats_nothing() {
    const BATCHES: usize = 400;
    let mut fleet = Fleet::start(&fast());
    let log = fleet.path("log");
    let handlers = format!(
        "[handlers.slow]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \
         'echo \"$WARIFU_BATCH_NUMBER\" >>\"{}\"; sleep 0.5; cat']\n",
        text(&log)
    );
    for id in ["w0", "w1", "w2"] {
        fleet.start_worker(id, 4, &handlers);
    }
    let rows: String = (0..BATCHES).map(|row| format!("{row}\n")).collect();
    fleet.s3().put("input", "in.csv", format!("id\n{rows}"));
    fleet.submit(
        "r",
        "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
         itemBatcher: {maxItemsPerBatch: 1}\nitemProcessor: {handler: slow}\nmaxConcurrency: 10\n",
    );
    let begun = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    eventually("batches run", DEADLINE, || (begun() > 10).then_some(()));
    for index in 0..fleet.workers() {
        fleet.stop_worker(index);
        fleet.spawn_worker(index);
        let before = begun();
        eventually("batches run", DEADLINE, || (begun() > before + 10).then_some(()));
    }
    for index in 0..fleet.coordinators() {
        fleet.stop_coordinator(index);
        fleet.start_coordinator(index);
        let before = begun();
        eventually("batches run", DEADLINE, || (begun() > before + 10).then_some(()));
    }
    assert!(begun() < BATCHES, "the run was over before everything was restarted");
    let run = fleet.wait("r", DEADLINE);
    assert_eq!(run["itemCounts"]["succeeded"], BATCHES);
    let mut batches: Vec<u64> =
        std::fs::read_to_string(&log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    batches.sort_unstable();
    assert!(batches.iter().copied().eq(0..BATCHES as u64), "each batch runs once: {batches:?}");
    fleet.stop();
}
