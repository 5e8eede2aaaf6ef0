//! Result files as AWS wrote them: the recordings lie beside the repository, where they are.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::files::ResultFiles;
use crate::harness::{Dev, DevSettings, shared_directory, skipped};

/// `fails` fails the item whose `fail` is `true`; `pair` puts out the item's number, and an object with it.
const WORKER: &str = r#"
[handlers.fails]
type = "exec"
command = ["sh", "-c", '''
case "$(cat)" in
*'"fail":"true"'*) echo '{"warifu:error":{"errorType":"OwnedItemFailure","errorMessage":"intentional bounded native observation"}}' ;;
*) echo 1 ;;
esac
''']
[handlers.pair]
type = "exec"
command = ["sed", 's/.*"n":"\([0-9]*\)".*/[\1,{"copy":\1}]/']
"#;

fn recorded(directory: &Path, case: &str) -> Value {
    let text = std::fs::read(directory.join(format!("{case}.json"))).unwrap();
    let case: Value = serde_json::from_slice(&text).unwrap();
    case["expected"]["aws_snapshot"].clone()
}

fn job(handler: &str, items_per_batch: u64, form: &str) -> Value {
    json!({
        "itemReader": {"bucket": "input", "key": "in.csv", "readerConfig": {"inputType": "CSV"}},
        "itemBatcher": {"maxItemsPerBatch": items_per_batch},
        "itemProcessor": {"handler": handler},
        "maxConcurrency": 1,
        "resultWriter": {
            "bucket": "output", "prefix": "r/",
            "writerConfig": {"transformation": form, "outputType": if form == "NONE" { "JSON" } else { "JSONL" }},
        },
    })
}

#[test]
fn entries_have_the_keys_that_aws_recorded() {
    let Some(native) = shared_directory("conformance/distributed-map/native") else {
        return skipped("result files as AWS wrote them", "there is no ../shared/conformance");
    };
    let dev = Dev::start(&DevSettings { worker_config: WORKER, ..DevSettings::default() });
    let rows: String = (0..2000).map(|n| format!("{n},{}\n", n == 1)).collect();
    dev.s3().put("input", "in.csv", format!("n,fail\n{rows}"));
    dev.submit_and_wait("cancel", &job("fails", 1, "NONE").to_string(), 1);
    let directory = dev.download("cancel");
    let found = ResultFiles::read(&directory, ".json");
    let written = recorded(&native, "cancel_pending")["s3_objects_written"].clone();
    let body = |name: &str| -> Value {
        let object =
            written.as_array().unwrap().iter().find(|object| {
                object["key"].as_str().is_some_and(|key| key.rsplit('/').next() == Some(name))
            });
        serde_json::from_str(object.unwrap()["body"].as_str().unwrap()).unwrap()
    };
    for (name, entries) in [
        ("SUCCEEDED_0.json", &found.succeeded),
        ("FAILED_0.json", &found.failed),
        ("PENDING_0.json", &found.pending),
    ] {
        let theirs = body(name);
        assert!(!entries.is_empty(), "{name}");
        for entry in entries {
            let mut theirs = theirs[0].clone();
            // What was in progress when the run failed: as AWS describes such a child, with a cause and no error.
            if entry["Status"] == "ABORTED" {
                theirs.as_object_mut().unwrap().shift_remove("Error");
            }
            same_shape(&theirs, entry, name);
        }
    }
    let failed: Vec<_> = found.failed.iter().filter(|entry| entry["Status"] == "FAILED").collect();
    let [failed] = failed[..] else { panic!("one item fails") };
    let theirs = body("FAILED_0.json");
    for key in ["Cause", "Error", "InputDetails", "OutputDetails", "RedriveCount", "RedriveStatus", "Status"]
    {
        assert_eq!(failed[key], theirs[0][key], "{key}");
    }
    assert_eq!(found.succeeded[0]["RedriveStatusReason"], body("SUCCEEDED_0.json")[0]["RedriveStatusReason"]);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    for (key, value) in body("manifest.json").as_object().unwrap() {
        assert_eq!(kind(&manifest[key]), kind(value), "{key}");
    }
    dev.stop();
}

#[test]
fn flattened_outputs_are_those_that_aws_recorded() {
    let Some(native) = shared_directory("conformance/distributed-map/native") else {
        return skipped("flattened results as AWS wrote them", "there is no ../shared/conformance");
    };
    let dev = Dev::start(&DevSettings { worker_config: WORKER, ..DevSettings::default() });
    dev.s3().put("input", "in.csv", "n\n10\n20\n");
    let mut job = job("pair", 1, "FLATTEN");
    // There each child got one item, and no batch.
    job.as_object_mut().unwrap().remove("itemBatcher");
    dev.submit_and_wait("flatten", &job.to_string(), 0);
    let found = ResultFiles::read(&dev.download("flatten"), ".jsonl");
    let theirs = recorded(&native, "jsonata_flatten")["result_file"].clone();
    assert_eq!(Value::from(found.succeeded), theirs["lines"]);
    let keys = dev.s3().list("output", "r/flatten/SUCCEEDED_");
    assert_eq!(dev.s3().get("output", &keys[0]).len() as u64, theirs["size"].as_u64().unwrap());
    dev.stop();
}

/// The same keys in the same order, with values of the same types; of texts those that are JSON, and dates, of the same form.
fn same_shape(theirs: &Value, ours: &Value, name: &str) {
    let fields = |entry: &Value| -> Vec<(String, String)> {
        let fields = entry.as_object().unwrap().iter();
        fields
            .map(|(key, value)| (key.clone(), if key == "Output" { "text".to_owned() } else { kind(value) }))
            .collect()
    };
    assert_eq!(fields(ours), fields(theirs), "{name}");
}

fn kind(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => {
            text.chars().map(|digit| if digit.is_ascii_digit() { '0' } else { digit }).collect()
        }
        Value::String(text) if text.starts_with("arn:") => {
            text.split(':').take(3).collect::<Vec<_>>().join(":")
        }
        Value::String(text) if text.starts_with('{') => "an object as text".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Object(fields) => format!("an object of {:?}", fields.keys().collect::<BTreeSet<_>>()),
        Value::Array(_) => "an array".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Null => "null".to_owned(),
    }
}
