//! Whole states: ours, compared with what is written beside them, and those that AWS's recordings hold.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use warifu_common::wire::codec;

use super::*;

fn crate_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files
}

/// Job file and losses, or the error, as text.
fn told(text: &str, state: Option<&str>, input: Option<&Json>) -> String {
    match convert(text, state, input) {
        Ok(Conversion { spec, losses }) => {
            let mut told = codec::to_yaml(&spec);
            for loss in losses {
                told.push_str(&format!("# {}{loss}\n", if loss.changes_the_work { "! " } else { "" }));
            }
            told
        }
        Err(error) => format!("# error: {error}\n"),
    }
}

/// `UPDATE_EXPECT=1` writes the expectations anew.
#[test]
fn states_become_the_jobs_that_are_written_beside_them() {
    let directory = crate_directory().join("src/asl/testdata");
    let files: Vec<PathBuf> =
        json_files(&directory).into_iter().filter(|path| !path.ends_with("input.json")).collect();
    assert!(files.len() >= 6, "only {files:?} were found");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let input = std::fs::read_to_string(file.with_extension("input")).ok();
        let input: Option<Json> = input.map(|text| serde_json::from_str(&text).unwrap());
        let told = told(&text, None, input.as_ref());
        let expectation = file.with_extension("yaml");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expectation, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&expectation).unwrap_or_default();
        assert_eq!(
            told,
            expected,
            "{} is out of date: UPDATE_EXPECT=1 writes it anew",
            expectation.display()
        );
        codec::parse_job_file(&told, &[]).unwrap_or_else(|error| {
            assert!(told.starts_with("# error: "), "{}: {error}", file.display());
            Default::default()
        });
    }
}

/// Fields of a state and where the job has them.
const FIELDS: [(&str, &str); 9] = [
    ("ItemReader", "/itemReader"),
    ("ItemSelector", "/itemSelector"),
    ("Parameters", "/itemSelector"),
    ("ItemBatcher", "/itemBatcher"),
    ("ItemProcessor", "/itemProcessor/handler"),
    ("MaxConcurrency", "/maxConcurrency"),
    ("ToleratedFailureCount", "/toleratedFailureCount"),
    ("ToleratedFailurePercentage", "/toleratedFailurePercentage"),
    ("ResultWriter", "/resultWriter/bucket"),
];

/// Every Map state below `value`: the machine at whose top it stands, and its name.
fn map_states<'a>(machine: &'a Json, states: &mut Vec<(&'a str, &'a Json)>) {
    for (name, state) in machine.get("States").and_then(Json::as_object).into_iter().flatten() {
        if state["Type"] == "Map" {
            states.push((name, state));
        }
        let branches = state["Branches"].as_array().into_iter().flatten();
        branches
            .chain([&state["ItemProcessor"], &state["Iterator"]])
            .for_each(|inside| map_states(inside, states));
    }
}

#[test]
fn every_map_state_of_the_recordings_is_converted_or_refused_by_name() {
    let recordings = crate_directory().join("../../shared/conformance/distributed-map");
    let files = [json_files(&recordings), json_files(&recordings.join("native"))].concat();
    if files.is_empty() {
        return eprintln!("skipped: there is no ../shared/conformance");
    }
    let (mut converted, mut with_jsonata, mut inline) = (0, 0, 0);
    for file in files {
        let case: Json = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let definitions = case["definitions"].as_array().cloned();
        for definition in definitions.unwrap_or_else(|| vec![case["definition"].clone()]) {
            let mut states = Vec::new();
            map_states(&definition, &mut states);
            for (name, state) in states {
                let text = definition.to_string();
                assert!(is_asl(&text) && is_asl(&state.to_string()));
                match convert(&text, Some(name), None) {
                    Ok(conversion) => {
                        check_carried(&file, state, &conversion);
                        converted += 1;
                    }
                    Err(AslError::Jsonata(paths)) => {
                        assert!(!paths.is_empty() && definition.to_string().contains("JSONata"), "{file:?}");
                        with_jsonata += 1;
                    }
                    Err(AslError::NoState(text)) => {
                        assert!(text.contains("has to be DISTRIBUTED"), "{file:?}: {text}");
                        inline += 1;
                    }
                    Err(error) => panic!("{}: {error:?}", file.display()),
                }
            }
        }
    }
    eprintln!("{converted} converted, {with_jsonata} refused for JSONata, {inline} inline");
    assert!(converted >= 60 && with_jsonata >= 10 && inline >= 1, "{converted} {with_jsonata} {inline}");
}

/// Whatever the state has is in the job, or named.
fn check_carried(file: &Path, state: &Json, conversion: &Conversion) {
    let job = codec::to_json(&conversion.spec);
    let is_lost = |name: &str| conversion.losses.iter().any(|loss| loss.path.contains(&format!(".{name}")));
    for (field, place) in FIELDS {
        let says_something = state.get(field).is_some_and(|value| *value != 0);
        assert!(
            !says_something || job.pointer(place).is_some() || is_lost(field),
            "{}: {field} is neither in {job} nor among {:?}",
            file.display(),
            conversion.losses
        );
    }
    for (field, by_path) in
        state.as_object().into_iter().flatten().filter(|(field, _)| field.ends_with("Path"))
    {
        assert!(by_path == "$" || is_lost(field), "{}: {field} depends on the input", file.display());
    }
}

#[test]
fn a_job_file_is_no_state_machine() {
    for text in ["itemReader: {}", "{\"itemReader\": {}}", "{\"Type\": \"Task\"}", "[]", ""] {
        assert!(!is_asl(text), "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_as_the_job_spells_it() {
    let state = r#"{"Type": "Map", "MaxConcurrency": "five", "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "A", "States": {"A": {"Type": "Pass"}}}}"#;
    let Err(AslError::Invalid(invalid)) = convert(state, None, None) else { panic!("five is no number") };
    assert_eq!(invalid.violations[0].field, "spec.max_concurrency");
}
