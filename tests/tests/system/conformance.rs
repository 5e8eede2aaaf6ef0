//! What AWS Step Functions answered, case by case: the recordings lie beside the repository, where they are.
//!
//! Run are those whose Map state reads CSV from S3 and passes its items on. Each becomes a job of ours; items, batches,
//! counts and errors are compared with the recording. The others are listed with the reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, Results, read_results, shared_directory, skipped};

/// Fails only in the Map Run there; here the number has the wrong type, and nothing is created.
const REFUSED_AT_CREATION: [&str; 2] =
    ["map_item_reader_csv_max_items_paths---1", "map_item_reader_csv_max_items_paths--1.5"];

/// Keeps what the job gives to every batch, and returns the items.
const WORKER: &str = r#"
[handlers.pass]
type = "exec"
command = ["sh", "-c", 'if [ -n "$WARIFU_BATCH_INPUT_FILE" ]; then cat "$WARIFU_BATCH_INPUT_FILE" >>"LOG"; echo >>"LOG"; fi; cat']
"#;

struct Recorded {
    name: String,
    case: Value,
    state: Value,
}

#[test]
fn csv_cases_come_out_as_aws_recorded_them() {
    let Some(cases) = shared_directory("conformance/distributed-map") else {
        return skipped("conformance", "there is no ../shared/conformance");
    };
    let log = tempfile::NamedTempFile::new().unwrap();
    let worker_config = WORKER.replace("LOG", log.path().to_str().unwrap());
    let dev = Dev::start(&DevSettings { worker_config: &worker_config, ..DevSettings::default() });
    let (mut compared, mut refused) = (Vec::new(), BTreeSet::new());
    for path in case_files(&cases) {
        let Some(recorded) = applicable(&path) else { continue };
        if REFUSED_AT_CREATION.contains(&recorded.name.as_str()) {
            expect_refused(&dev, &recorded);
            refused.insert(recorded.name);
            continue;
        }
        let id = format!("case-{}", compared.len());
        compare(&dev, &id, &recorded, log.path());
        compared.push(recorded.name);
    }
    eprintln!("{} cases agree with AWS: {}", compared.len(), compared.join(", "));
    eprintln!("refused at creation, where AWS fails later: {refused:?}");
    assert!(compared.len() >= 11, "only {compared:?} were found");
    assert_eq!(refused, REFUSED_AT_CREATION.map(str::to_owned).into());
    dev.stop();
}

fn case_files(directory: &Path) -> Vec<PathBuf> {
    let native = directory.join("native");
    let entries = [directory, &native].map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files
}

/// The case, if it can be told here; else the reason is printed.
fn applicable(path: &Path) -> Option<Recorded> {
    let name = path.file_stem()?.to_str()?.to_owned();
    let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let reason = match csv_state(&case) {
        None => "its items do not come from CSV in S3",
        Some(_) if name.starts_with("test_state") => "TestState runs single states, which is no map run",
        Some(_) if case["input"]["kind"] == "json" => "the input chooses its JSON branch",
        Some(state) => return Some(Recorded { name, state: state.clone(), case }),
    };
    eprintln!("cannot apply: {name}: {reason}");
    None
}

/// The Map state that reads CSV.
fn csv_state(case: &Value) -> Option<&Value> {
    let states = case["definition"]["States"].as_object()?;
    states.values().find(|state| state["ItemReader"]["ReaderConfig"]["InputType"] == "CSV")
}

/// The job that asks for the same. Without a batcher AWS gives each child one item.
fn job(recorded: &Recorded) -> Value {
    let (state, input) = (&recorded.state, &recorded.case["input"]);
    let reader = &state["ItemReader"]["ReaderConfig"];
    let key = state["ItemReader"]["Parameters"]["Key"].as_str().or(input["Key"].as_str()).unwrap();
    let mut config = json!({"inputType": "CSV", "csvHeaderLocation": reader["CSVHeaderLocation"]});
    let max_items = if reader["MaxItemsPath"].is_string() { &input["MaxItems"] } else { &reader["MaxItems"] };
    let optional = [
        ("csvHeaders", &reader["CSVHeaders"]),
        ("csvDelimiter", &reader["CSVDelimiter"]),
        ("maxItems", max_items),
    ];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        config[name] = value.clone();
    }
    let batcher = &state["ItemBatcher"];
    let mut job = json!({
        "itemReader": {"bucket": "input", "key": key, "readerConfig": config},
        "itemBatcher": {"maxItemsPerBatch": batcher["MaxItemsPerBatch"].as_u64().unwrap_or(1)},
        "itemProcessor": {"handler": "pass"},
        "maxConcurrency": state["MaxConcurrency"],
        "resultWriter": {"bucket": "output", "prefix": "results/"},
    });
    // Templates are taken as they stand.
    job["input"] = input.clone();
    for (template, to) in
        [(&batcher["BatchInput"], "/itemBatcher/batchInput"), (&state["ItemSelector"], "/itemSelector")]
    {
        if template.is_object() {
            let (parent, key) = to.rsplit_once('/').unwrap();
            job.pointer_mut(parent).unwrap()[key] = template.clone();
        }
    }
    if let Some(path) = state["ItemReader"]["Parameters"]["Key.$"].as_str() {
        job["itemReader"].as_object_mut().unwrap().remove("key");
        job["itemReader"]["keyPath"] = path.into();
    }
    job
}

fn put_objects(dev: &Dev, recorded: &Recorded) {
    for object in recorded.case["s3_objects"].as_array().unwrap() {
        dev.s3().put("input", object["key"].as_str().unwrap(), object["body"].as_str().unwrap());
    }
}

fn compare(dev: &Dev, id: &str, recorded: &Recorded, log: &Path) {
    let name = &recorded.name;
    put_objects(dev, recorded);
    std::fs::write(log, "").unwrap();
    let run = dev.submit_and_wait(id, &job(recorded).to_string(), 0);
    let results = read_results(&dev.download(id));
    match name.as_str() {
        "csv_pipe_batch" => compare_children(id, recorded, &results, log),
        "list_map_runs_and_describe_map_run" => {}
        _ => compare_output(recorded, &results),
    }
    let described = &recorded.case["expected"]["aws_snapshot"]["describe_map_run"];
    for (theirs, ours) in [("itemCounts", "itemCounts"), ("executionCounts", "batchCounts")] {
        for (state, count) in described[theirs].as_object().into_iter().flatten() {
            // What cannot be redriven does not exist here.
            if state != "failuresNotRedrivable" {
                assert_eq!(&run[ours][state], count, "{name}: {ours}.{state}");
            }
        }
    }
}

/// The Map state's output: an array of what each child returned.
fn compare_output(recorded: &Recorded, results: &Results) {
    let output = &recorded.case["executions"][0]["derived"]["output"];
    let expected: Vec<Value> = match output {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        output => output.as_array().expect("the recording has an output").clone(),
    };
    results.expect_echoed(&expected);
}

/// What each child got: its items in their selector's shape, and the batch's own input. Bucket and names of runs differ.
fn compare_children(id: &str, recorded: &Recorded, results: &Results, log: &Path) {
    let children = recorded.case["expected"]["aws_snapshot"]["children_in_order"].as_array().unwrap();
    let mut expected = Vec::new();
    for (batch, child) in children.iter().enumerate() {
        for item in child["input"]["Items"].as_array().unwrap() {
            assert_eq!(item["index"], expected.len());
            assert_eq!(results.succeeded[&(expected.len() as u64)]["batch"], batch);
            let mut item = item.clone();
            let key = item["source"].as_str().unwrap().splitn(4, '/').nth(3).unwrap();
            item["source"] = format!("s3://input/{key}").into();
            item["parentId"] = format!("mapRuns/{id}").into();
            expected.push(item);
        }
    }
    results.expect_echoed(&expected);
    let batch_inputs = std::fs::read_to_string(log).unwrap();
    let batch_inputs: Vec<Value> =
        batch_inputs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<&Value> = children.iter().map(|child| &child["input"]["BatchInput"]).collect();
    assert_eq!(batch_inputs.iter().collect::<Vec<_>>(), expected);
}

fn expect_refused(dev: &Dev, recorded: &Recorded) {
    assert!(recorded.case["executions"][0]["derived"]["error"].is_string());
    put_objects(dev, recorded);
    let file = dev.write("refused.json", job(recorded).to_string());
    dev.run(["submit", "-f", file.to_str().unwrap()]).expect(2).says(&["max_items"]);
}
