//! Captures in AWS itself of readers, batches and result files.

use serde_json::{Value, json};

use super::Stage;
use super::compare::{entries, expect_counts, expect_manifest};
use super::job::{Job, is_without_batches};
use super::recording::Case;
use super::values::{Names, expect_same};
use crate::result_forms::files::ResultFiles;

/// Which Map state each capture ran.
const STATES: [(&str, &str); 5] = [
    ("csv_pipe_batch", "CsvMap"),
    ("json_pointer_batch", "JsonMap"),
    ("jsonata_flatten", "FlattenMap"),
    ("s3_load_flatten", "LoadMap"),
    ("s3_metadata", "MetadataMap"),
];

/// Tells a capture; returns what was compared.
pub(super) fn compare(stage: &Stage<'_>, case: &Case) -> String {
    let name = case.short_name();
    let state = STATES.iter().find(|(case, _)| *case == name).expect("every capture is known").1;
    let map_state = case.map_state(state);
    let mut spec = Job::of(stage, case, &map_state).ready();
    if name == "jsonata_flatten" {
        spec["itemProcessor"]["handler"] = "pair".into();
    }
    let run = stage.id.as_str();
    let ended = stage.dev.submit_and_wait(run, &spec.to_string(), 0);
    let answers = case.answers();
    let mut compared = Vec::new();
    if let Some(described) = answers.get("describe_map_run") {
        if is_without_batches(&map_state.state) {
            let items = json!({"itemCounts": described["itemCounts"], "executionCounts": {}});
            expect_counts(&ended, &items, "");
        } else {
            expect_counts(&ended, described, "");
        }
        compared.push("counts");
    }
    if answers["output"]["ResultWriterDetails"].is_object() {
        expect_manifest(stage, run, &answers["output"], &map_state.state);
        compared.push("place of manifest and result files");
    }
    let is_lines = spec["resultWriter"]["writerConfig"]["outputType"] == "JSONL";
    let files = ResultFiles::read(&stage.dev.download(run), if is_lines { ".jsonl" } else { ".json" });
    let names = Names { bucket: run, run };
    compared.push(match name {
        "jsonata_flatten" => expect_lines(stage, &files, answers, &spec),
        "json_pointer_batch" => expect_compact(&files, case, &names),
        "s3_metadata" => expect_outputs(&files, answers, &names),
        _ => expect_children(&files, answers, &names),
    });
    compared.join(", ")
}

/// Result files byte for byte in size, and their lines.
fn expect_lines(stage: &Stage<'_>, files: &ResultFiles, answers: &Value, spec: &Value) -> &'static str {
    let theirs = &answers["result_file"];
    assert_eq!(Value::from(files.succeeded.clone()), theirs["lines"]);
    let prefix = spec["resultWriter"]["prefix"].as_str().unwrap().trim_end_matches('/');
    let keys = stage.dev.s3().list(&stage.id, &format!("{prefix}/{}/SUCCEEDED_", stage.id));
    let sizes: usize = keys.iter().map(|key| stage.dev.s3().get(&stage.id, key).len()).sum();
    assert_eq!(sizes as u64, theirs["size"].as_u64().unwrap());
    "lines and size of the result file"
}

/// The bytes of the file were not recorded; its form is one array for each child, of what the definition makes of the items.
fn expect_compact(files: &ResultFiles, case: &Case, names: &Names<'_>) -> &'static str {
    let objects = case.json["s3_objects"].as_array().unwrap();
    let object = objects.iter().find(|object| object["key"] == "inputs/nested.json").unwrap();
    let nested: Value = serde_json::from_str(object["body"].as_str().unwrap()).unwrap();
    let item = |index: usize| {
        json!({
            "index": index, "value": nested["data"]["items"][index], "source": "s3://{{BUCKET}}/inputs/nested.json",
            "parentId": "<parent execution arn>",
        })
    };
    let expected = json!([[item(0), item(1)], [item(2), item(3)]]);
    let mut found = files.succeeded.clone();
    found.sort_by_key(|batch| batch[0]["index"].as_u64());
    expect_same("outputs", &Value::from(found), &expected, names);
    "batches and their items, by the definition"
}

fn expect_outputs(files: &ResultFiles, answers: &Value, names: &Names<'_>) -> &'static str {
    let outputs: Vec<Value> = entries(files).into_iter().map(|entry| entry.output).collect();
    expect_same("outputs", &Value::from(outputs), &answers["output"], names);
    "what each child got and gave, field by field"
}

fn expect_children(files: &ResultFiles, answers: &Value, names: &Names<'_>) -> &'static str {
    let one = [answers["child"].clone()];
    let children = answers["children_in_order"].as_array().map_or(&one[..], Vec::as_slice);
    let entries = entries(files);
    assert_eq!(entries.len(), children.len());
    for (entry, child) in entries.iter().zip(children) {
        expect_same("input", &entry.input, &child["input"], names);
        expect_same("output", &entry.output, &child["output"], names);
    }
    "what each child got (items and batch input) and gave, in order"
}
