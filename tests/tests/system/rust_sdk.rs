//! Workers in Rust: the examples of the library as processes of their own, beside a coordinator.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Dev, DevSettings, Process, eventually, example_command, read_results};

/// How long a start, or an end without anything to wait for, may take.
const SOON: Duration = Duration::from_secs(30);

/// A coordinator without workers, and S3.
fn coordinator() -> Dev {
    Dev::start(&DevSettings { workers: 0, ..DevSettings::default() })
}

/// Starts an example, with everything that it must know in its environment, and waits until the coordinator knows it.
fn start(example: &str, dev: &Dev) -> Process {
    let mut command = example_command(example);
    command
        .env("WARIFU_COORDINATOR__ENDPOINTS", dev.place("endpoint"))
        .env("WARIFU_WORKER__ID", example)
        .env("WARIFU_S3__ENDPOINT_URL", dev.place("s3Endpoint"))
        .env("WARIFU_S3__FORCE_PATH_STYLE", "true")
        .env("AWS_ACCESS_KEY_ID", dev.s3_keys().0)
        .env("AWS_SECRET_ACCESS_KEY", dev.s3_keys().1);
    let mut process = Process::start(command);
    eventually("the worker is there", SOON, || {
        assert!(process.is_running(), "{example} ended:\n{}", process.stderr());
        let workers = dev.json(["workers"], 0);
        let name = json!(format!("workers/{example}"));
        workers["workers"].as_array()?.iter().any(|worker| worker["name"] == name).then_some(())
    });
    process
}

fn job(handler: &str, processor: &str, batch_input: &str) -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: 10, batchInput: {batch_input}}}\n\
         itemProcessor: {{handler: {handler}, {processor}}}\n\
         toleratedFailurePercentage: 100\n\
         resultWriter: {{bucket: output, prefix: r/}}\n"
    )
}

/// SIGTERM; it must end by itself.
fn stop(process: Process) {
    process.signal(Signal::SIGTERM);
    process.finish_within(SOON).expect(0);
}

#[test]
fn typed_items_fail_one_by_one_and_outputs_are_theirs() {
    let dev = coordinator();
    let worker = start("user_stats", &dev);
    let row = |row: u64| match row % 50 {
        7 => format!("U{row},many,1,free\n"),
        8 => format!("U{row},0,{row},\n"),
        9 => format!("U{row},1,1,gold\n"),
        _ => format!("U{row}, 4 ,{row},{}\n", ["", "free", "paid"][row as usize % 3]),
    };
    let rows: String = (0..500).map(row).collect();
    dev.s3().put("input", "in.csv", format!("id,logins,posts,plan\n{rows}"));
    dev.submit_and_wait("r", &job("user-stats", "timeoutSeconds: 60", "{activeFromPosts: 100}"), 0);
    let results = read_results(&dev.download("r"));
    for row in 0..500 {
        let told = results.failed.get(&row).map(|line| {
            (line["error"].as_str().unwrap(), line["cause"].as_str().unwrap(), line["kind"].as_str().unwrap())
        });
        let posts = format!("{row} posts without a login");
        let expected = match row % 50 {
            7 => Some((
                "Warifu.ItemInvalid",
                "the field `logins`: \"many\" is no u32: invalid digit found in string",
                "BUSINESS",
            )),
            8 => Some(("User.NeverLoggedIn", posts.as_str(), "BUSINESS")),
            9 => Some((
                "Warifu.ItemInvalid",
                "the field `plan`: unknown variant `gold`, expected `free` or `paid`",
                "BUSINESS",
            )),
            _ => None,
        };
        assert_eq!(told, expected, "item {row}");
        if expected.is_none() {
            let output = json!({
                "id": format!("U{row}"), "active": row >= 100, "paying": row % 3 == 2, "posts_per_login": row as f64 / 4.0,
            });
            assert_eq!(results.succeeded[&row]["output"], output);
        }
    }
    stop(worker);
    dev.stop();
}

#[test]
fn a_function_hears_that_its_time_is_over_and_retryable_items_come_again() {
    let dev = coordinator();
    let worker = start("geocode", &dev);
    dev.s3().put("input", "in.csv", "place\nKyoto\nAtlantis\nNaha\nSapporo\n");
    let retry = "retry: [{errorEquals: [States.ALL], intervalSeconds: 1, maxAttempts: 2}]";
    dev.submit_and_wait("quick", &job("geocode", retry, "{pauseMs: 1}"), 0);
    let results = read_results(&dev.download("quick"));
    assert_eq!(results.failed_as("FAILED"), [1]);
    assert_eq!(results.failed[&1]["error"], "Geo.Unknown");
    assert_eq!(results.succeeded[&0]["output"], json!({"latitude": 35.01, "longitude": 135.77}));
    let tries = [0, 2, 3].map(|index| results.succeeded[&index]["attempts"].as_u64().unwrap());
    assert_eq!(tries, [1, 2, 1]);

    // An hour between two places, and a second for the batch.
    let started = Instant::now();
    dev.submit_and_wait("slow", &job("geocode", "timeoutSeconds: 1", "{pauseMs: 3600000}"), 0);
    let results = read_results(&dev.download("slow"));
    assert_eq!(results.failed_as("TIMED_OUT"), [0, 1, 2, 3]);
    let said = worker.stderr();
    assert!(said.contains("nobody waits for these places any more"), "{said}");
    eprintln!("a batch that timed out took {:?}", started.elapsed());

    // A settings error fails the batch.
    dev.submit_and_wait("wrong", &job("geocode", "timeoutSeconds: 60", "{}"), 0);
    let results = read_results(&dev.download("wrong"));
    let line = &results.failed[&0];
    let told = (&line["error"], &line["cause"], &line["kind"]);
    let cause = json!("missing field `pauseMs` at line 1 column 2");
    assert_eq!(told, (&json!("States.TaskFailed"), &cause, &json!("SYSTEM")));
    stop(worker);
    dev.stop();
}
