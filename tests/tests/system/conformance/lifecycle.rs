//! Captures in AWS itself of failures, what they leave, and a redrive. Which items got how far when a run failed is a race there as
//! here; what holds of every split is compared.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Stage;
use super::compare::{entries, expect_counts, one_by_one};
use super::job::Job;
use super::recording::{Case, MapState};
use super::result_files::{expect_same_shape, kind};
use super::values::{Names, expect_same};
use crate::result_forms::files::ResultFiles;

/// Counts that depend on how far items got; their sum does not.
const SPLIT: &str = "pending succeeded aborted";

/// One failure where none is tolerated.
pub(super) fn cancel_pending(stage: &Stage<'_>, case: &Case) -> String {
    let run = stage.id.as_str();
    let spec = job(stage, case, case.map_state("LifeMap"));
    stage.function.begin(true);
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 1);
    let answers = case.answers();
    expect_counts(&ended, &answers["describe_map_run"], SPLIT);
    expect_split(&ended, &answers["describe_map_run"]);
    expect_error(&ended, &answers["describe_execution"]);
    let directory = stage.dev.download(run);
    let files = ResultFiles::read(&directory, ".json");
    expect_failed(stage, &files, &written(case, "FAILED_0.json")[0]);
    expect_pending(stage, &files, &written(case, "PENDING_0.json")[0]);
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    for (key, value) in written(case, "manifest.json").as_object().unwrap() {
        assert_eq!(kind(&manifest[key]), kind(value), "{key}");
    }
    "counts (which items got how far is a race), error and cause, entries of FAILED and PENDING files field by field, the manifest".to_owned()
}

/// A file that AWS wrote.
fn written(case: &Case, name: &str) -> Value {
    let objects = case.answers()["s3_objects_written"].as_array().unwrap();
    let object =
        objects.iter().find(|object| object["key"].as_str().unwrap().rsplit('/').next() == Some(name));
    serde_json::from_str(object.unwrap()["body"].as_str().unwrap()).unwrap()
}

/// The entry of the failed item, and of those in progress then: as AWS describes an aborted child, with a cause and no error.
fn expect_failed(stage: &Stage<'_>, files: &ResultFiles, theirs: &Value) {
    let failed: Vec<&Value> = files.failed.iter().filter(|entry| entry["Status"] == "FAILED").collect();
    let [ours] = failed[..] else { panic!("one item fails") };
    expect_same_shape(ours, theirs, "FAILED");
    for key in ["Cause", "Error", "InputDetails", "OutputDetails", "RedriveCount", "RedriveStatus", "Status"]
    {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    expect_same("failed input", &input_of(ours), &parsed(&theirs["Input"]), &names(stage));
    let mut aborted = theirs.clone();
    aborted.as_object_mut().unwrap().shift_remove("Error");
    for entry in files.failed.iter().filter(|entry| entry["Status"] == "ABORTED") {
        expect_same_shape(entry, &aborted, "ABORTED");
    }
}

fn expect_pending(stage: &Stage<'_>, files: &ResultFiles, theirs: &Value) {
    assert!(!files.pending.is_empty(), "an item is pending");
    let item = parsed(&theirs["Input"]);
    for entry in &files.pending {
        expect_same_shape(entry, theirs, "PENDING");
        let ours = input_of(entry);
        // Another item may have been the first that was left.
        let mut expected = item.clone();
        expected["index"] = ours["index"].clone();
        expected["value"]["n"] = ours["index"].clone();
        expect_same("pending input", &ours, &expected, &names(stage));
    }
}

/// One failure where one is tolerated.
pub(super) fn tolerated_failure(stage: &Stage<'_>, case: &Case) -> String {
    let run = stage.id.as_str();
    let spec = job(stage, case, case.map_state("LifeMap"));
    stage.function.begin(false);
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 0);
    assert_eq!(ended["state"], case.answers()["describe_map_run"]["status"]);
    expect_counts(&ended, &case.answers()["describe_map_run"], "");
    let files = ResultFiles::read(&stage.dev.download(run), ".json");
    assert_eq!((files.succeeded.len(), files.failed.len(), files.pending.len()), (3, 1, 0));
    for entry in entries(&files) {
        assert_eq!(entry.output["item"], entry.input["Items"][0]);
    }
    // The same state machine ran there, with another input, and its files were recorded.
    let cancelled = Case::read(stage.cases, &stage.cases.join("native/cancel_pending.json"));
    let succeeded = &written(&cancelled, "SUCCEEDED_0.json")[0];
    for entry in &files.succeeded {
        expect_same_shape(entry, succeeded, "SUCCEEDED");
        assert_eq!(entry["RedriveStatusReason"], succeeded["RedriveStatusReason"]);
    }
    "counts, state, entries in each result file; those of SUCCEEDED field by field with a file of `native/cancel_pending`".to_owned()
}

/// A failure while another item is in progress, and a redrive once the cause is away.
pub(super) fn redrive_standard(stage: &Stage<'_>, case: &Case) -> String {
    let run = stage.id.as_str();
    let mut map_state = case.map_state("ProbeMap");
    // What the state before adds.
    map_state.input["parentBefore"] = json!({"execution": "before"});
    let spec = job(stage, case, map_state);
    stage.function.begin(true);
    let failed = stage.dev.submit_and_wait(run, &spec.to_string(), 1);
    let described = &case.answers()["after_failure"]["describe_map_run"];
    expect_counts(&failed, described, SPLIT);
    expect_split(&failed, described);
    let done: BTreeSet<u64> = indexes(&ResultFiles::read(&stage.dev.download(run), ".json").succeeded);
    stage.function.begin(false);
    stage.dev.run(["redrive", run, "--watch"]).expect(0);
    let redriven = stage.dev.wait(run, 0);
    expect_counts(&redriven, &case.answers()["after_redrive_2"]["describe_map_run"], "");
    let mut again = stage.function.began();
    again.sort_unstable();
    assert_eq!(again, (0..6).filter(|index| !done.contains(index)).collect::<Vec<u64>>(), "redriven");
    let files = ResultFiles::read(&stage.dev.download(run), ".json");
    assert_eq!(indexes(&files.succeeded), (0..6).collect());
    assert_eq!((files.failed.len(), files.pending.len()), (0, 0));
    "counts after the failure (which items got how far is a race) and after the redrive, which items ran again, the last manifest: successes of all attempts, nothing else".to_owned()
}

fn job(stage: &Stage<'_>, case: &Case, map_state: MapState) -> Value {
    let mut spec = Job::of(stage, case, &map_state).ready();
    spec["itemProcessor"] = json!({"handler": "function"});
    one_by_one(&mut spec);
    spec
}

fn names<'a>(stage: &'a Stage<'_>) -> Names<'a> {
    Names { bucket: &stage.id, run: &stage.id }
}

fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// The item of an entry: a child there gets it bare, a batch of one here within `Items`.
fn input_of(entry: &Value) -> Value {
    parsed(&entry["Input"])["Items"][0].clone()
}

fn indexes(entries: &[Value]) -> BTreeSet<u64> {
    entries.iter().map(|entry| input_of(entry)["index"].as_u64().unwrap()).collect()
}

/// All that did not fail got somewhere.
fn expect_split(run: &Value, described: &Value) {
    let sum = |counts: &Value| -> u64 { SPLIT.split(' ').map(|state| counts[state].as_u64().unwrap()).sum() };
    assert_eq!(sum(&run["itemCounts"]), sum(&described["itemCounts"]));
}

fn expect_error(run: &Value, described: &Value) {
    assert_eq!(run["error"]["error"], described["error"]);
    let (ours, theirs) = (run["error"]["cause"].as_str().unwrap(), described["cause"].as_str().unwrap());
    assert!(ours.contains(theirs), "`{theirs}` is not in `{ours}`");
}
