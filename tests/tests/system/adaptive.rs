//! `adaptiveConcurrency` finds what a service bears, gives way when it refuses, comes back, and keeps to `maxConcurrency`.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Dev, DevSettings, HttpService, ServiceAnswer, eventually};

/// So many calls run at once at the service; others wait.
const CAPACITY: u32 = 6;
/// What a call takes that does not wait.
const CALL: Duration = Duration::from_millis(40);
/// More than the test ever sees handled.
const ITEMS: usize = 200_000;
const DEADLINE: Duration = Duration::from_secs(120);

/// A service that is saturated by some calls, and refuses all where it is told to.
#[derive(Default)]
struct Saturating {
    state: Mutex<State>,
    one_ended: Condvar,
}

#[derive(Default)]
struct State {
    in_progress: u32,
    running: u32,
    most_in_progress: u32,
    refuses: bool,
}

impl Saturating {
    fn answer(&self) -> ServiceAnswer {
        let mut state = self.state.lock().unwrap();
        if state.refuses {
            return ServiceAnswer { status: "503 Service Unavailable", headers: "", body: String::new() };
        }
        state.in_progress += 1;
        state.most_in_progress = state.most_in_progress.max(state.in_progress);
        state = self.one_ended.wait_while(state, |state| state.running >= CAPACITY).unwrap();
        state.running += 1;
        drop(state);
        std::thread::park_timeout(CALL);
        let mut state = self.state.lock().unwrap();
        state.running -= 1;
        state.in_progress -= 1;
        self.one_ended.notify_one();
        ServiceAnswer { status: "200 OK", headers: "", body: "null".to_owned() }
    }

    fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// The most calls that were in progress at once since the last question.
    fn most_in_progress(&self) -> u32 {
        let mut state = self.state.lock().unwrap();
        let most = state.most_in_progress;
        state.most_in_progress = state.in_progress;
        most
    }
}

/// Waits until what the run says of its limit is as wanted.
fn limit_becomes(dev: &Dev, what: &str, wanted: impl Fn(u64, &str) -> bool) -> u64 {
    eventually(what, DEADLINE, || {
        let run = dev.json(["get", "r"], 0);
        assert_eq!(run["state"], "RUNNING", "{run}");
        let adapted = &run["adaptedLimit"];
        let limit = adapted["limit"].as_u64().unwrap();
        assert!((1..=64).contains(&limit) && adapted["message"].is_string(), "{adapted}");
        wanted(limit, adapted["reason"].as_str().unwrap()).then_some(limit)
    })
}

#[test]
fn the_limit_follows_what_the_service_bears_and_never_exceeds_max_concurrency() {
    let saturating = Arc::new(Saturating::default());
    let answering = Arc::clone(&saturating);
    let service = HttpService::start(move |_| answering.answer());
    let config = format!("[handlers.hook]\ntype = 'http'\nurl = '{}'\n", service.url("/"));
    let dev = Dev::start(&DevSettings { slots: 32, worker_config: &config, ..DevSettings::default() });
    let rows: String = (0..ITEMS).map(|item| format!("{item}\n")).collect();
    dev.s3().put("input", "in.csv", format!("id\n{rows}"));
    let policy = "retry: [{errorEquals: [States.ALL], intervalSeconds: 1, maxAttempts: 9}]";
    let job = format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: 1}}\nitemProcessor: {{handler: hook, {policy}}}\n\
         maxConcurrency: 64\nadaptiveConcurrency: {{}}\ntoleratedFailurePercentage: 100\n"
    );
    dev.submit("r", &job);
    let submitted = dev.json(["get", "r"], 0);
    assert_eq!(submitted["spec"]["adaptiveConcurrency"], Value::Object(Default::default()));

    // Doubled from 1 until calls wait for each other; a busy machine makes them wait sooner.
    let found = limit_becomes(&dev, "it is held where calls begin to wait", |limit, reason| {
        reason == "LATENCY" && (3..=2 * u64::from(CAPACITY)).contains(&limit)
    });
    let most = saturating.most_in_progress();
    assert!(most <= 4 * CAPACITY, "{most} calls were in progress at once, {CAPACITY} run");

    // All are refused: of a service that bears two calls, a busy machine may find by their time that it bears no more than one.
    saturating.refuse(true);
    limit_becomes(&dev, "refusals lower it", |limit, reason| reason == "FAILURES" && limit == 1);
    saturating.refuse(false);
    limit_becomes(&dev, "it comes back", |limit, _| limit >= 3);
    let shown = dev.run(["get", "r"]).expect(0).stdout;
    assert!(shown.contains("Concurrency at most "), "{shown}");

    dev.run(["update", "r", "--max-concurrency", "2"]).expect(0);
    limit_becomes(&dev, "a lower ceiling is heeded", |limit, reason| {
        assert!(limit <= 2, "{limit}");
        limit == 2 && reason == "MAX_CONCURRENCY"
    });
    eventually("no more than the ceiling are in progress", DEADLINE, || {
        saturating.most_in_progress();
        std::thread::park_timeout(10 * CALL);
        (1..=2).contains(&saturating.most_in_progress()).then_some(())
    });
    eprintln!("held at {found} of {CAPACITY}, {most} in progress at most");
    dev.run(["stop", "r"]).expect(0);
    dev.stop();
}
