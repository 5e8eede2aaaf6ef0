//! Cases that their recorded history tells whole: what the Map state got, and how it ended.

use serde_json::{Value, json};

use super::job::{Job, is_without_batches};
use super::recording::{Case, Ended, MapState};
use super::values::{Names, expect_same};
use super::{Stage, Verdict, refused};
use crate::result_forms::files::ResultFiles;

/// A number that fails the Map Run there once it has begun; here it has the wrong type, and nothing is created.
const REFUSED_BEFORE_IT_BEGINS: &str = "map_item_reader_csv_max_items_paths---1";

/// Tells every execution of the case's Map state.
pub(super) fn case(stage: &Stage<'_>, case: &Case) -> Verdict {
    let map_states = if case.name == "map_state_nested_config_distributed" {
        vec![inner(&case.map_states()[0])]
    } else {
        case.map_states()
    };
    let mut compared = String::new();
    for (number, map_state) in map_states.iter().enumerate() {
        let job = Job::of(stage, case, map_state);
        let run = format!("{}-{number}", stage.id);
        compared = match &map_state.ended {
            Ended::Failed { error, cause, had_map_run }
                if !had_map_run || case.name == REFUSED_BEFORE_IT_BEGINS =>
            {
                let field = refused::expect(stage, &job, cause);
                let error = error.as_str().unwrap();
                return Verdict::Refused(format!("the execution fails with `{error}`; `{field}`"));
            }
            Ended::Failed { error, cause, .. } => failed(stage, &run, &job.ready(), error, cause),
            Ended::Output(output) => succeeded(stage, &run, &job.ready(), map_state, output),
            Ended::Unsaid => described(stage, &run, job.ready(), case),
        };
    }
    if map_states.len() > 1 {
        compared.push_str(&format!(", in each of {} map runs", map_states.len()));
    }
    if case.name == "map_state_nested_config_distributed" {
        compared.push_str(", of the inner map (a map run whose items are map runs is not one job)");
    }
    Verdict::Agrees(compared)
}

/// The map inside the only child of `outer`, with the item that the child got.
fn inner(outer: &MapState) -> MapState {
    let state = outer.state["ItemProcessor"]["States"]["SubMapState"].clone();
    let Ended::Output(output) = &outer.ended else { panic!("it ended well") };
    MapState {
        state,
        query_language: outer.query_language.clone(),
        input: outer.input["values"][0].clone(),
        ended: Ended::Output(output[0]["result"].clone()),
    }
}

fn failed(stage: &Stage<'_>, run: &str, spec: &Value, error: &Value, cause: &str) -> String {
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 1);
    assert_eq!(&ended["error"]["error"], error);
    let ours = ended["error"]["cause"].as_str().unwrap();
    assert!(ours.contains(cause), "`{cause}` is not in `{ours}`");
    "error and cause".to_owned()
}

fn succeeded(stage: &Stage<'_>, run: &str, spec: &Value, map_state: &MapState, output: &Value) -> String {
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 0);
    let entries = entries(&ResultFiles::read(&stage.dev.download(run), ".json"));
    let names = Names { bucket: &stage.id, run };
    if !map_state.state["ResultWriter"].is_null() {
        expect_manifest(stage, run, output, &map_state.state);
        let items = entries.iter().map(|entry| entry.input.clone()).collect();
        expect_same("inputs", &Value::Array(items), &map_state.input, &names);
        return "what each child got; place of the manifest and of the files that it names".to_owned();
    }
    let outputs: Vec<Value> = entries.iter().map(|entry| entry.output.clone()).collect();
    expect_same("outputs", &Value::from(outputs), output, &names);
    // Its children only pass on what they get.
    for entry in &entries {
        assert_eq!(entry.input, entry.output);
    }
    if is_without_batches(&map_state.state) {
        assert_eq!(ended["itemCounts"]["succeeded"], entries.len());
        return "the items, in order".to_owned();
    }
    assert_eq!(ended["batchCounts"]["succeeded"], entries.len());
    "the batches, in order, each with its items".to_owned()
}

/// A recording of counts alone.
fn described(stage: &Stage<'_>, run: &str, mut spec: Value, case: &Case) -> String {
    one_by_one(&mut spec);
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 0);
    expect_counts(&ended, &case.answers()["describe_map_run"], "");
    "counts of items and executions".to_owned()
}

/// One item in a batch, so that a batch is what a child is.
pub(super) fn one_by_one(spec: &mut Value) {
    spec["itemBatcher"] = json!({"maxItemsPerBatch": 1});
}

/// Makes sure that a run has the counts that `DescribeMapRun` had. `but` begins the names of those that the caller compares.
#[track_caller]
pub(super) fn expect_counts(run: &Value, described: &Value, but: &str) {
    for (theirs, ours) in [("itemCounts", "itemCounts"), ("executionCounts", "batchCounts")] {
        for (state, count) in described[theirs].as_object().unwrap() {
            // What cannot be redriven does not exist here.
            let is_compared = state != "failuresNotRedrivable" && !but.split(' ').any(|other| state == other);
            assert!(!is_compared || &run[ours][state] == count, "{ours}.{state}: {} {count}", run[ours]);
        }
    }
}

/// A child that ended: what it got, what it gave.
pub(super) struct Entry {
    pub(super) input: Value,
    pub(super) output: Value,
}

/// Entries in AWS's shape, by the children's order.
pub(super) fn entries(files: &ResultFiles) -> Vec<Entry> {
    let place = |entry: &Value| entry["Name"].as_str().unwrap().parse::<u64>().unwrap();
    let mut entries: Vec<&Value> = files.succeeded.iter().collect();
    entries.sort_by_key(|entry| place(entry));
    let text = |text: &Value| serde_json::from_str(text.as_str().unwrap()).unwrap();
    entries
        .into_iter()
        .map(|entry| Entry { input: text(&entry["Input"]), output: text(&entry["Output"]) })
        .collect()
}

/// Makes sure that manifest and result files lie where the state's output says, under our run in place of theirs.
#[track_caller]
pub(super) fn expect_manifest(stage: &Stage<'_>, run: &str, output: &Value, state: &Value) {
    let key = output["ResultWriterDetails"]["Key"].as_str().unwrap();
    let (theirs, _) = key.strip_suffix("/manifest.json").unwrap().rsplit_once('/').unwrap();
    let manifest = stage.dev.s3().get(&stage.id, &format!("{theirs}/{run}/manifest.json"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["DestinationBucket"], stage.id);
    let output_type = state["ResultWriter"]["WriterConfig"]["OutputType"].as_str().unwrap_or("JSON");
    let extension = format!(".{}", output_type.to_lowercase());
    for (status, files) in manifest["ResultFiles"].as_object().unwrap() {
        for file in files.as_array().unwrap() {
            let key = file["Key"].as_str().unwrap();
            assert!(
                key.starts_with(&format!("{theirs}/{run}/{status}_")) && key.ends_with(&extension),
                "{key}"
            );
        }
    }
}
