//! What AWS Step Functions answered where items come from JSON or a listing: the recordings lie beside the repository, where
//! they are. Those of CSV are in `conformance.rs`.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, read_results, shared_directory, skipped};

struct Recorded {
    name: String,
    case: Value,
    reader: Value,
}

#[test]
fn json_and_listings_come_out_as_aws_recorded_them() {
    let Some(cases) = shared_directory("conformance/distributed-map") else {
        return skipped("conformance of inputs", "there is no ../shared/conformance");
    };
    let dev = Dev::start(&DevSettings::default());
    let mut compared = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for recorded in paths.iter().filter_map(|path| applicable(path)) {
        compare(&dev, &format!("case-{}", compared.len()), &recorded);
        compared.push(recorded.name);
    }
    eprintln!("{} cases agree with AWS: {}", compared.len(), compared.join(", "));
    assert!(compared.len() >= 7, "only {compared:?} were found");
    dev.stop();
}

/// The case, if its one Map state reads JSON or a listing, says all that matters itself, and hands each item on.
fn applicable(path: &Path) -> Option<Recorded> {
    let name = path.file_stem()?.to_str()?.to_owned();
    if name.starts_with("test_state") || !path.is_file() {
        return None;
    }
    let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let states = case["definition"]["States"].as_object()?;
    let state = states.values().find(|state| state["ItemReader"].is_object())?;
    let reader = state["ItemReader"].clone();
    let config = &reader["ReaderConfig"];
    let reads = config["InputType"] == "JSON" || lists(&reader);
    let plain =
        state["ItemBatcher"].is_null() && state["ItemSelector"].is_null() && config["MaxItemsPath"].is_null();
    if !(reads && plain) {
        return None;
    }
    Some(Recorded { name, reader, case })
}

fn lists(reader: &Value) -> bool {
    reader["Resource"].as_str().is_some_and(|resource| resource.ends_with("listObjectsV2"))
}

fn compare(dev: &Dev, id: &str, recorded: &Recorded) {
    // A bucket of its own: a listing is of all that it holds.
    dev.s3().create_bucket(id);
    for object in recorded.case["s3_objects"].as_array().unwrap() {
        dev.s3().put(id, object["key"].as_str().unwrap(), object["body"].as_str().unwrap());
    }
    let derived = &recorded.case["executions"][0]["derived"];
    let fails = derived["error"].is_string();
    let run = dev.submit_and_wait(id, &job(recorded, id).to_string(), i32::from(fails));
    if fails {
        assert_eq!(run["error"]["error"], derived["error"], "{}", recorded.name);
        let (ours, theirs) = (run["error"]["cause"].as_str().unwrap(), derived["cause"].as_str().unwrap());
        assert!(ours.contains(theirs), "{}: {ours}", recorded.name);
        return;
    }
    let expected: Vec<Value> = match &derived["output"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        output => output.as_array().unwrap().clone(),
    };
    let results = read_results(&dev.download(id));
    if !lists(&recorded.reader) {
        return results.expect_echoed(&expected);
    }
    assert_eq!(results.succeeded.len(), expected.len(), "{}", recorded.name);
    for (line, expected) in results.succeeded.values().zip(&expected) {
        // The recording has placeholders for the others.
        for field in ["Key", "Size", "StorageClass"] {
            assert_eq!(line["output"][field], expected[field], "{}", recorded.name);
        }
        let fields = |item: &Value| {
            item.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(fields(&line["output"]), fields(expected), "{}", recorded.name);
    }
}

/// The job that asks for the same. Without a batcher AWS gives each child one item.
fn job(recorded: &Recorded, bucket: &str) -> Value {
    let config = &recorded.reader["ReaderConfig"];
    let reader = if lists(&recorded.reader) {
        json!({"bucket": bucket, "resource": recorded.reader["Resource"]})
    } else {
        let max_items = config["MaxItems"].as_u64().unwrap_or(0);
        let config = json!({"inputType": "JSON", "maxItems": max_items});
        json!({"bucket": bucket, "key": recorded.case["input"]["Key"], "readerConfig": config})
    };
    json!({
        "itemReader": reader,
        "itemBatcher": {"maxItemsPerBatch": 1},
        "itemProcessor": {"handler": "echo"},
        "resultWriter": {"bucket": "output", "prefix": "results/"},
    })
}
