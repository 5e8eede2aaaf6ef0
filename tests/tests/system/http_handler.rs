//! A service called over HTTP: items that fail alone, a storm of 503 that heals, and the emulator of Lambda.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{
    Dev, DevSettings, HttpService, Results, ServiceAnswer, ServiceRequest, read_results, run, scratch, text,
};

const ITEMS: u64 = 1_000;

/// Items say how they fail.
fn items() -> String {
    let how = |item: u64| match item % 100 {
        7 => "bad",
        8 => "slow",
        _ => "",
    };
    let rows = (0..ITEMS).map(|item| format!("{item},{}\n", how(item)));
    ["id,fail\n".to_owned()].into_iter().chain(rows).collect()
}

fn job(more: &str) -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: 10}}\n\
         resultWriter: {{bucket: output, prefix: r/}}\n{more}"
    )
}

fn dev_with(section: &str) -> Dev {
    let dev = Dev::start(&DevSettings { worker_config: section, ..DevSettings::default() });
    dev.s3().put("input", "in.csv", items());
    dev
}

/// What an item should have become.
fn succeeded(results: &Results) -> BTreeMap<u64, Value> {
    results.succeeded.iter().map(|(index, line)| (*index, line["output"].clone())).collect()
}

/// Answers each item with its number, doubled; items that say so fail alone, the slow ones only in their first round.
fn double(request: &ServiceRequest) -> ServiceAnswer {
    let items = request.body["items"].as_array().unwrap();
    let batch = &request.body["batch"];
    let results: Vec<u64> = items.iter().map(|item| 2 * number(item)).collect();
    let failures = items.iter().zip(batch["indexes"].as_array().unwrap()).filter_map(|(item, index)| {
        let (error, message) = match item["fail"].as_str().unwrap() {
            "bad" => ("Told.Bad", "to fail"),
            "slow" if batch["round"] == 0 => ("Told.Slow", "to come again"),
            _ => return None,
        };
        Some(json!({"itemIdentifier": index, "errorType": error, "errorMessage": message}))
    });
    let failures: Vec<Value> = failures.collect();
    ServiceAnswer::ok(&json!({"results": results, "batchItemFailures": failures}))
}

fn number(item: &Value) -> u64 {
    item["id"].as_str().unwrap().parse().unwrap()
}

#[test]
fn items_fail_alone_and_configuration_says_which_of_them_are_sent_again() {
    let keys: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&keys);
    let service = HttpService::start(move |request| {
        assert_eq!(request.header("authorization"), Some("Bearer hunter2"));
        let key = request.header("idempotency-key").unwrap();
        assert_eq!(request.body["batch"]["idempotencyKey"], key);
        assert!(seen.lock().unwrap().insert(key.to_owned()), "{key} was sent twice");
        double(&request)
    });
    let dev = dev_with(&format!(
        "[handlers.hook]\ntype = 'http'\nurl = '{}'\nheaders = {{ Authorization = 'Bearer hunter2' }}\n\
         business_errors = ['Told.*']\nsystem_errors = ['Told.Slow']\n",
        service.url("/hook")
    ));
    let policy = "retry: [{errorEquals: [States.ALL], intervalSeconds: 1, maxAttempts: 3}]";
    let job = job(&format!("itemProcessor: {{handler: hook, {policy}}}\ntoleratedFailureCount: 10\n"));
    let run = dev.submit_and_wait("r", &job, 0);
    assert_eq!(run["state"], "SUCCEEDED");
    let results = read_results(&dev.download("r"));
    let bad: Vec<u64> = (0..ITEMS).filter(|item| item % 100 == 7).collect();
    assert_eq!(results.failed_as("FAILED"), bad);
    for line in results.failed.values() {
        assert_eq!((&line["error"], &line["cause"]), (&json!("Told.Bad"), &json!("to fail")));
        assert_eq!((&line["kind"], &line["attempts"]), (&json!("BUSINESS"), &json!(1)));
    }
    let expected = (0..ITEMS).filter(|item| item % 100 != 7).map(|item| (item, json!(2 * item)));
    assert_eq!(succeeded(&results), expected.collect());
    // A batch of ten with a slow item was sent again, with that item alone.
    assert_eq!(keys.lock().unwrap().len(), 100 + 10);
    assert!(keys.lock().unwrap().contains("r/0/1"), "the second round has a key of its own");
}

#[test]
fn a_storm_of_503_heals_and_every_item_is_answered_once() {
    /// Enough for all slots to fail an attempt, with every request within it.
    const REFUSED: u64 = 100;
    let requests = AtomicU64::new(0);
    let service = HttpService::start(move |request| {
        if requests.fetch_add(1, Ordering::Relaxed) < REFUSED {
            let body = r#"{"errorType": "Overloaded", "errorMessage": "come again"}"#.to_owned();
            return ServiceAnswer { status: "503 Service Unavailable", headers: "retry-after: 0\r\n", body };
        }
        double(&request)
    });
    let dev = dev_with(&format!("[handlers.hook]\ntype = 'http'\nurl = '{}'\n", service.url("/")));
    let policy = "retry: [{errorEquals: ['Http.*'], intervalSeconds: 1, maxAttempts: 8, backoffRate: 1}]";
    let job = job(&format!("itemProcessor: {{handler: hook, {policy}}}\ntoleratedFailureCount: 20\n"));
    let run = dev.submit_and_wait("r", &job, 0);
    assert_eq!(run["itemCounts"]["succeeded"], ITEMS - 20);
    let results = read_results(&dev.download("r"));
    let expected = (0..ITEMS).filter(|item| ![7, 8].contains(&(item % 100)));
    assert_eq!(succeeded(&results), expected.map(|item| (item, json!(2 * item))).collect());
    assert!(results.failed.values().all(|line| line["error"].as_str().unwrap().starts_with("Told.")));
    // The refusals cost attempts, and none of them an item.
    let attempts = |line: &Value| line["attempts"].as_u64().unwrap();
    assert!(results.succeeded.values().any(|line| attempts(line) > 1));
}

#[test]
fn functions_behind_the_emulator_of_lambda_are_called_and_their_errors_found() {
    let service = HttpService::start(|request| {
        let items = request.body["Items"].as_array().unwrap();
        if items.iter().any(|item| item["fail"] == "bad") {
            return ServiceAnswer::ok(&json!({"errorType": "ValueError", "errorMessage": "told to fail"}));
        }
        ServiceAnswer::ok(&items.iter().map(|item| json!(2 * number(item))).collect())
    });
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("in.csv"), items()).unwrap();
    let url = service.url("/2015-03-31/functions/function/invocations");
    let section = format!("[handlers.fn]\ntype = 'http'\nurl = '{url}'\nprotocol = 'lambda'\n");
    std::fs::write(path("worker.toml"), section).unwrap();
    let (csv, config, output) = (path("in.csv"), path("worker.toml"), path("out"));
    let arguments = [
        ["run", text(&csv)],
        ["--handler", "fn"],
        ["--worker-config", text(&config)],
        ["--batch-size", "10"],
        ["--tolerated-failure-count", "100"],
        ["--output", text(&output)],
    ];
    run(arguments.into_iter().flatten()).expect(0);
    let results = read_results(&output);
    let fails = |item: &u64| item % 100 < 10;
    assert_eq!(results.failed_as("FAILED"), (0..ITEMS).filter(fails).collect::<Vec<_>>());
    for line in results.failed.values() {
        assert_eq!((&line["error"], &line["cause"]), (&json!("ValueError"), &json!("told to fail")));
        assert_eq!(line["kind"], "SYSTEM");
    }
    let expected = (0..ITEMS).filter(|item| !fails(item)).map(|item| (item, json!(2 * item)));
    assert_eq!(succeeded(&results), expected.collect());
}
