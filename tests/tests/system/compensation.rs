//! Compensation: a run that fails calls its undo handler once in effect, whoever dies meanwhile.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::Mode;
use serde_json::Value;

use crate::harness::{Fleet, FleetSettings, count, eventually, execute, text};

/// Shorter than the defaults, so that losses are noticed soon.
const LEASES: &str = "[leases]\nttl_seconds = 5\nleader_ttl_seconds = 3\n";
/// Far beyond what any of it takes.
const DEADLINE: Duration = Duration::from_secs(240);

/// A fleet whose worker has a handler that always fails, and some that undo.
struct Story {
    fleet: Fleet,
}

impl Story {
    fn begin() -> Self {
        let settings =
            FleetSettings { coordinators: 2, etcd_members: 1, leases: LEASES, ..FleetSettings::default() };
        let mut fleet = Fleet::start(&settings);
        let database = fleet.path("undone.db");
        execute(&database, "CREATE TABLE undone (run TEXT PRIMARY KEY, reason TEXT, failed INTEGER)");
        // What it is called with is appended to a file of the run. The first try waits at the gate, if there is one.
        let directory = fleet.path("");
        let undo = format!(
            "echo \"$WARIFU_IDEMPOTENCY_KEY $WARIFU_ATTEMPT $(cat)\" >> {0}calls-$WARIFU_MAP_RUN_ID; \
             gate={0}gate-$WARIFU_MAP_RUN_ID; \
             if [ $WARIFU_ATTEMPT = 1 ] && [ -p $gate ]; then read line < $gate; fi",
            text(&directory)
        );
        let handlers = format!(
            "[handlers.fails]\ntype = \"exec\"\ncommand = [\"false\"]\n\
             [handlers.undo]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", '''{undo}''']\n\
             [handlers.undo-sql]\ntype = \"sql\"\nurl = \"sqlite://{}\"\ninsert = {{ table = \"undone\" }}\n\
             [handlers.undo-sql.columns]\nrun = {{ from = \"mapRunId\" }}\nreason = {{ from = \"reason\" }}\n\
             failed = {{ from = \"failed\", type = \"int8\" }}\n",
            text(&database)
        );
        fleet.start_worker("w0", 2, &handlers);
        fleet.s3().put("input", "users.csv", "id\n1\n2\n3\n");
        Self { fleet }
    }

    /// A run of which every item fails, to be compensated by `handler`.
    fn submit(&self, id: &str, handler: &str) {
        let job = format!(
            "itemReader: {{bucket: input, key: users.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemProcessor: {{handler: fails}}\nresultWriter: {{bucket: output, prefix: r/}}\n\
             compensation: {{handler: {handler}, on: [TOLERANCE_EXCEEDED]}}\n"
        );
        self.fleet.submit(id, &job);
    }

    /// A run whose first try waits until the gate is opened; returns once it waits.
    fn submit_gated(&self, id: &str) -> PathBuf {
        let gate = self.fleet.path(&format!("gate-{id}"));
        nix::unistd::mkfifo(&gate, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        self.submit(id, "undo");
        eventually("it is called", DEADLINE, || (self.calls(id).len() == 1).then_some(()));
        let run = eventually("it is shown", DEADLINE, || {
            self.fleet.get(id).filter(|run| run["compensation"]["state"] == "RUNNING")
        });
        assert_eq!(
            (&run["state"], &run["compensation"]["attempts"]),
            (&"STOPPING".into(), &1.into()),
            "{run}"
        );
        assert_eq!(run["compensation"]["worker"], "workers/w0");
        gate
    }

    /// The calls of a run's handler so far: key, try, and item.
    fn calls(&self, id: &str) -> Vec<(String, u32, Value)> {
        let text = std::fs::read_to_string(self.fleet.path(&format!("calls-{id}"))).unwrap_or_default();
        let call = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            (word().to_owned(), word().parse().unwrap(), serde_json::from_str(word()).unwrap())
        };
        text.lines().map(call).collect()
    }

    /// Waits for the run's end, which must be a failure by tolerance.
    #[track_caller]
    fn end(&self, id: &str) -> Value {
        let run = eventually(&format!("{id} ends"), DEADLINE, || {
            self.fleet
                .get(id)
                .filter(|run| !["RUNNING", "STOPPING"].contains(&run["state"].as_str().unwrap()))
        });
        assert_eq!(run["state"], "FAILED", "{run}");
        assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
        assert_eq!(
            (&run["itemCounts"]["total"], &run["itemCounts"]["failed"]),
            (&3.into(), &3.into()),
            "{run}"
        );
        run
    }

    #[track_caller]
    fn expect_keys(&self, id: &str, attempts: &[u32]) {
        let calls = self.calls(id);
        let key = format!("{id}/compensation/0");
        assert!(calls.iter().all(|(called_with, ..)| *called_with == key), "{calls:?}");
        assert_eq!(calls.iter().map(|(_, attempt, _)| *attempt).collect::<Vec<_>>(), attempts, "{calls:?}");
        assert!(calls.windows(2).all(|pair| pair[0].2 == pair[1].2), "{calls:?}");
    }
}

/// Lets whoever waits at the gate pass. Nobody need wait there: it is opened for reading, too.
fn open(gate: &PathBuf) -> std::fs::File {
    let mut gate = std::fs::OpenOptions::new().read(true).write(true).open(gate).unwrap();
    gate.write_all(b"go\n").unwrap();
    gate
}

#[test]
fn a_run_that_fails_is_undone_once_whoever_dies_meanwhile() {
    let mut story = Story::begin();
    // No worker will ever have this one's handler: it ends in its own time, beside the others.
    story.submit("nobody", "missing");

    story.submit("once", "undo");
    let run = story.end("once");
    let compensation = &run["compensation"];
    assert_eq!(
        (&compensation["state"], &compensation["attempts"]),
        (&"SUCCEEDED".into(), &1.into()),
        "{run}"
    );
    assert_eq!(compensation["trigger"], "TOLERANCE_EXCEEDED");
    assert!(compensation["startTime"].is_string() && compensation["stopTime"].is_string(), "{run}");
    story.expect_keys("once", &[1]);
    let item = &story.calls("once")[0].2;
    let expected = serde_json::json!({
        "mapRunId": "once", "redrive": "0", "reason": "TOLERANCE_EXCEEDED",
        "error": run["error"]["error"], "cause": run["error"]["cause"],
        "total": "3", "pending": "0", "succeeded": "0", "failed": "3", "timedOut": "0", "aborted": "0",
        "resultLocation": format!("s3://output/{}", run["resultLocation"]["manifestKey"].as_str().unwrap()),
    });
    assert_eq!(*item, expected);
    let shown = story.fleet.run(&["get", "once"]).expect(0).stdout;
    assert!(shown.contains("undo: SUCCEEDED after 1 try on worker w0"), "{shown}");

    story.submit("sql", "undo-sql");
    assert_eq!(story.end("sql")["compensation"]["state"], "SUCCEEDED");
    let undone =
        "SELECT count(*) FROM undone WHERE run = 'sql' AND reason = 'TOLERANCE_EXCEEDED' AND failed = 3";
    assert_eq!(count(&story.fleet.path("undone.db"), undone), 1);

    let gate = story.submit_gated("worker-killed");
    story.fleet.kill_worker(0);
    story.fleet.spawn_worker(0);
    let run = story.end("worker-killed");
    assert_eq!(
        (&run["compensation"]["state"], &run["compensation"]["attempts"]),
        (&"SUCCEEDED".into(), &2.into())
    );
    story.expect_keys("worker-killed", &[1, 2]);
    let _open_for_what_the_dead_worker_left = open(&gate);

    let gate = story.submit_gated("leader-killed");
    let leader = story.fleet.wait_for_leader();
    story.fleet.kill_coordinator(leader);
    assert_ne!(story.fleet.wait_for_leader(), leader);
    let _open = open(&gate);
    let run = story.end("leader-killed");
    assert_eq!(
        (&run["compensation"]["state"], &run["compensation"]["attempts"]),
        (&"SUCCEEDED".into(), &1.into())
    );
    story.expect_keys("leader-killed", &[1]);

    let run = story.end("nobody");
    assert_eq!(run["compensation"]["state"], "NOT_RUN", "{run}");
    assert!(run["compensation"]["error"]["cause"].as_str().unwrap().contains("missing for 60 s"), "{run}");
    assert!(run["warnings"].as_array().unwrap().iter().any(|warning| {
        warning["reason"] == "HANDLER_NOT_AVAILABLE"
            && warning["message"].as_str().unwrap().contains("missing")
    }));
    story.fleet.stop();
}
