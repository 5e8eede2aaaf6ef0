//! The fields of a Distributed Map state.

use serde_json::{Value as Json, json};

use super::fields::{Fields, Job, Losses};
use super::find::Found;
use super::{AslError, Loss, batcher, items, limits, path, processor, reader, template, writer};

/// Fields whose values the job has to say: an expression in one of them leaves the job without it.
const SAID_BY_THE_JOB: [&str; 9] = [
    "ItemReader",
    "Items",
    "ItemSelector",
    "ItemBatcher",
    "MaxConcurrency",
    "ToleratedFailurePercentage",
    "ToleratedFailureCount",
    "ResultWriter",
    "Label",
];

/// The job of a state, and what it lacks.
pub(super) fn convert(found: &Found<'_>, input: Option<&Json>) -> Result<(Job, Vec<Loss>), AslError> {
    let language = found.state.get("QueryLanguage").and_then(Json::as_str).or(found.query_language);
    let is_jsonata = language == Some("JSONata");
    if is_jsonata {
        refuse_expressions(found)?;
    }
    let mut losses = Losses::new(input);
    let mut state = Fields::of(found.state, found.path.clone(), &mut losses);
    state.pass_over(["Type", "Comment", "Next", "End", "QueryLanguage"]);
    take_input_path(&mut state, &mut losses);
    let mut job = Job::new();
    let has_reader = reader::read(&mut state, &mut job, &mut losses);
    items::read(&mut state, has_reader, is_jsonata, &mut job, &mut losses);
    select(&mut state, &mut job, &mut losses);
    batcher::read(&mut state, &mut job, &mut losses);
    processor::read(&mut state, language, &mut job, &mut losses)?;
    limits::read(&mut state, &mut job, &mut losses);
    writer::read(&mut state, &mut job, &mut losses);
    label(&mut state, &mut job, &mut losses);
    lose_the_rest(&mut state, &mut losses);
    state.finish(&mut losses);
    around(found, &mut job, &mut losses);
    give_input(&mut job, &losses);
    Ok((job, losses.into_list()))
}

/// Refuses JSONata wherever the job would have to say what only the expression knows.
fn refuse_expressions(found: &Found<'_>) -> Result<(), AslError> {
    let mut paths = Vec::new();
    for name in SAID_BY_THE_JOB {
        if let Some(value) = found.state.get(name) {
            expressions(value, &path::join(&found.path, name), &mut paths);
        }
    }
    if paths.is_empty() { Ok(()) } else { Err(AslError::Jsonata(paths)) }
}

/// The places of all JSONata expressions in `value`.
pub(super) fn expressions(value: &Json, at: &str, paths: &mut Vec<String>) {
    match value {
        Json::String(text) if is_expression(text) => paths.push(at.to_owned()),
        Json::Object(object) => {
            object.iter().for_each(|(key, value)| expressions(value, &path::join(at, key), paths));
        }
        Json::Array(values) => {
            values.iter().enumerate().for_each(|(i, value)| expressions(value, &format!("{at}[{i}]"), paths));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn is_expression(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("{%") && text.ends_with("%}")
}

/// What the state's other paths are relative to.
fn take_input_path(state: &mut Fields<'_>, losses: &mut Losses<'_>) {
    let Some(reference) = state.take("InputPath") else { return };
    let at = state.path_of("InputPath");
    if reference == "$" {
        return;
    }
    let Some(input) = losses.input else {
        return losses.changes_the_work(at, "paths are into the whole of the job's input: give the state's input with --input, or shorten it by hand");
    };
    let part =
        reference.as_str().and_then(path::Reference::parse).and_then(|path| path.of(input).map(|_| path));
    match part {
        Some(path) => losses.input = path.of(input),
        None => losses
            .changes_the_work(at, format!("{reference} matches nothing in the input that --input gives")),
    }
}

/// `ItemSelector`, which was `Parameters` once.
fn select(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    for name in ["Parameters", "ItemSelector"] {
        if let Some(selector) = state.take(name) {
            let selector =
                template::carried(selector, &state.path_of(name), template::Kind::Selector, losses);
            job.insert("itemSelector".to_owned(), selector);
        }
    }
}

/// A label becomes a label of the run, if its characters allow.
fn label(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    let Some(label) = state.take("Label") else { return };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    match label.as_str() {
        Some(text) if plain(text) => _ = job.insert("labels".to_owned(), json!({"label": text})),
        _ => losses.beside(
            state.path_of("Label"),
            format!("{label} has other characters than letters, digits, `_`, `.` and `-`, which a run's labels do not take"),
        ),
    }
}

fn lose_the_rest(state: &mut Fields<'_>, losses: &mut Losses<'_>) {
    let output = "a map run hands no output to a next state: results lie in files, and counts in the run";
    let reasons = [
        ("Retry", "it repeats the whole state: `warifu redrive` runs what did not succeed again"),
        ("Catch", "what follows a failure is not part of a map run; `compensation` calls a handler then"),
        ("ResultSelector", output),
        ("ResultPath", output),
        ("OutputPath", output),
        ("Output", output),
        ("Assign", "a map run has no variables"),
    ];
    state.lose(reasons, losses);
}

/// What the state machine around the state says.
fn around(found: &Found<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    let Some(machine) = found.machine else { return };
    let others = machine.get("States").and_then(Json::as_object).map_or(0, |states| states.len() - 1);
    if others > 0 {
        losses.beside(
            "$.States",
            format!("{others} other states are around the Map state; a map run is that state alone"),
        );
    }
    let Some(limit) = machine.get("TimeoutSeconds") else { return };
    if others == 0 {
        job.insert("timeoutSeconds".to_owned(), limit.clone());
    } else {
        losses.beside(
            "$.TimeoutSeconds",
            "it limits the whole state machine; `timeoutSeconds` of the job would limit the run",
        );
    }
}

/// The input, for what the job's templates take from it.
fn give_input(job: &mut Job, losses: &Losses<'_>) {
    if let Some(input @ Json::Object(_)) = losses.input {
        job.insert("input".to_owned(), input.clone());
    }
}
