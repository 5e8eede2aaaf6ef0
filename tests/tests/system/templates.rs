//! Templates: items, batches, events and answers in the shape that a job gives them, and batches cut by what that makes.

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, read_results};

/// Answers with what it got, one JSON text for the other.
const WORKER: &str = r#"
[handlers.pass]
type = "exec"
command = ["cat"]
event_format = "states"
"#;

fn job(rest: Value) -> Value {
    let mut job = json!({
        "itemReader": {"bucketPath": "$.where.bucket", "keyPath": "$.where['the key']", "readerConfig": {"inputType": "CSV"}},
        "itemProcessor": {"handler": "echo"},
        "resultWriter": {"bucket": "output", "prefix": "results/"},
        "input": {"where": {"bucket": "input", "the key": "users.csv"}, "tenant": {"id": 7}},
    });
    for (key, value) in rest.as_object().unwrap() {
        job[key] = value.clone();
    }
    job
}

fn users(count: usize) -> String {
    let rows: String = (0..count).map(|user| format!("u{user:03},\"a \"\"b\"\"\"\n")).collect();
    format!("id,full name\n{rows}")
}

#[test]
fn items_reach_handlers_and_results_in_the_shape_of_their_selector() {
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "users.csv", users(40));
    let job = job(json!({
        "itemSelector": {
            "n.$": "$$.Map.Item.Index", "user": {"id.$": "$$.Map.Item.Value.id"}, "from.$": "$$.Map.Item.Source",
            "tenant.$": "$.tenant.id", "run.$": "$$.Execution.Id", "redrives.$": "$$.Execution.RedriveCount",
        },
        "itemBatcher": {"maxItemsPerBatch": 7},
    }));
    let file = dev.write("shown.json", job.to_string());
    let shown = dev.json(["submit", "-f", file.to_str().unwrap(), "--dry-run", "--id", "shaped"], 0);
    let events = shown["previewEvents"].as_array().unwrap();
    let second: Value = serde_json::from_str(events[1].as_str().unwrap()).unwrap();
    let item = |index: usize| {
        json!({
            "n": index, "user": {"id": format!("u{index:03}")}, "from": "s3://input/users.csv", "tenant": 7,
            "run": "mapRuns/shaped", "redrives": 0,
        })
    };
    assert_eq!(second["Items"][0], item(7));
    dev.submit_and_wait("shaped", &job.to_string(), 0);
    let items: Vec<Value> = (0..40).map(item).collect();
    read_results(&dev.download("shaped")).expect_echoed(&items);
    dev.stop();
}

/// Every batch is as large as it may be, and no larger, measured on the event that the handler gets.
#[test]
fn batches_are_cut_by_the_bytes_of_what_handlers_get() {
    let dev = Dev::start(&DevSettings { worker_config: WORKER, ..DevSettings::default() });
    dev.s3().put("input", "users.csv", users(300));
    let limit = 700;
    let job = job(json!({
        "itemSelector": {"i.$": "$$.Map.Item.Index", "all.$": "$$.Map.Item.Value"},
        "itemBatcher": {
            "maxItemsPerBatch": 100, "maxInputBytesPerBatch": limit,
            "batchInput": {"number.$": "$$.Map.Item.BatchNumber", "of.$": "$.tenant"},
        },
        "itemProcessor": {"handler": "pass"},
    }));
    let run = dev.submit_and_wait("cut", &job.to_string(), 0);
    let results = read_results(&dev.download("cut"));
    // A handler in AWS's format answers once for its batch: its first item holds the whole event.
    let events: Vec<&Value> =
        results.succeeded.values().map(|line| &line["output"]).filter(|output| !output.is_null()).collect();
    assert_eq!(run["batchCounts"]["succeeded"], events.len());
    let measured = |event: &Value, more: Option<&Value>| {
        let mut event = event.clone();
        event["BatchInput"]["number"] = json!("x".repeat(18));
        let items = event["Items"].as_array_mut().unwrap();
        items.extend(more.cloned());
        items.iter_mut().for_each(|item| item["i"] = json!("x".repeat(18)));
        event.to_string().len()
    };
    let mut seen = 0;
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["BatchInput"], json!({"number": number, "of": {"id": 7}}));
        let items = event["Items"].as_array().unwrap();
        for item in items {
            assert_eq!((&item["i"], &item["all"]["id"]), (&json!(seen), &json!(format!("u{seen:03}"))));
            seen += 1;
        }
        assert!(measured(event, None) <= limit, "{event}");
        if let Some(next) = events.get(number + 1) {
            assert!(measured(event, Some(&next["Items"][0])) > limit, "the batch {number} had room");
        }
    }
    assert_eq!(seen, 300);
    dev.stop();
}

#[test]
fn events_and_answers_are_reshaped_as_the_job_says() {
    let dev = Dev::start(&DevSettings { worker_config: WORKER, ..DevSettings::default() });
    dev.s3().put("input", "users.csv", users(5));
    let processor = |path: &str| {
        json!({
            "itemBatcher": {"maxItemsPerBatch": 3},
            "itemProcessor": {
                "handler": "pass", "outputPath": path,
                "payload": {"source": "warifu", "input.$": "$.Items", "size.$": "$$.Map.Item.BatchSize"},
            },
        })
    };
    dev.submit_and_wait("reshaped", &job(processor("$.input")).to_string(), 0);
    let item = |index: usize| json!({"id": format!("u{index:03}"), "full name": "a \"b\""});
    read_results(&dev.download("reshaped")).expect_echoed(&(0..5).map(item).collect::<Vec<_>>());
    dev.submit_and_wait("unmatched", &job(processor("$.input[2]")).to_string(), 1);
    let failed = read_results(&dev.download("unmatched"));
    assert!(failed.failed.values().all(|line| line["error"] == "States.ParameterPathFailure"), "{failed:?}");
    assert!(!failed.failed.is_empty());
    dev.stop();
}

#[test]
fn what_a_template_cannot_take_fails_creation_or_the_item() {
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "users.csv", users(5));
    let file = dev.write("refused.json", job(json!({"itemSelector": {"x.$": "$.no"}})).to_string());
    dev.run(["submit", "-f", file.to_str().unwrap()])
        .expect(2)
        .says(&["spec.item_selector.x.$: $.no names nothing in the run's input"]);
    let missing = job(json!({
        "itemSelector": {"x.$": "$$.Map.Item.Value.no"}, "toleratedFailurePercentage": 100,
    }));
    let run = dev.submit_and_wait("missing", &missing.to_string(), 0);
    assert_eq!(run["itemCounts"]["failed"], 5);
    assert_eq!(run["errorGroups"][0]["error"], "States.ParameterPathFailure");
    let failed = read_results(&dev.download("missing"));
    assert_eq!(failed.failed[&4]["item"]["id"], "u004");
    // Nothing in the job reshapes what echo never gets.
    let reshaped = job(json!({"itemProcessor": {"handler": "echo", "payload": {}}}));
    let run = dev.submit_and_wait("payload", &reshaped.to_string(), 1);
    assert_eq!(run["error"]["error"], "States.ParameterPathFailure");
    dev.stop();
}

#[test]
fn the_size_of_batches_is_chosen_once_by_items_and_concurrency() {
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "users.csv", users(3000));
    let sized = |concurrency: u32, auto: Value| {
        job(json!({"itemBatcher": {"autoSize": auto}, "maxConcurrency": concurrency})).to_string()
    };
    let run = dev.submit_and_wait("sized", &sized(5, json!({})), 0);
    assert_eq!(run["batchSize"], json!({"items": 60, "reason": "3000 items, maxConcurrency 5"}));
    assert_eq!(
        (&run["itemCounts"]["succeeded"], &run["batchCounts"]["succeeded"]),
        (&3000.into(), &50.into())
    );
    let told = dev.run(["get", "sized"]);
    assert!(told.stdout.contains("60 items, chosen for 3000 items, maxConcurrency 5"), "{}", told.stdout);
    let bounded = sized(5, json!({"minItems": 10, "maxItems": 50}));
    let run = dev.submit_and_wait("bounded", &bounded, 0);
    assert_eq!((&run["batchSize"]["items"], &run["batchCounts"]["total"]), (&50.into(), &60.into()));
    let file = dev.write("bounded.json", &bounded);
    let shown = dev.json(["submit", "-f", file.to_str().unwrap(), "--dry-run"], 0);
    let first: Value = serde_json::from_str(shown["previewEvents"][0].as_str().unwrap()).unwrap();
    assert_eq!(first["Items"].as_array().unwrap().len(), 50);
    dev.stop();
}
