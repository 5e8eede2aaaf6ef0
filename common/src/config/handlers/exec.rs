//! `type = "exec"`: a program for each batch, or programs that are kept running.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::event_format::{self, EventFormat};
use super::program::{read_command, read_env};
use crate::config::parts::Secret;
use crate::config::section::Section;

/// A program that handles batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecConfig {
    /// Program and arguments; no shell. Not empty.
    pub command: Vec<String>,
    /// How long one process lives.
    #[serde(serialize_with = "serialize_per")]
    pub per: ExecPer,
    /// Calls after which a kept process is replaced. Absent: never for that reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_per_process: Option<u32>,
    /// What its standard output is. Says something only of a process per batch in our own format.
    #[serde(serialize_with = "serialize_output")]
    pub output: ExecOutput,
    /// The JSON that it gets and answers.
    #[serde(flatten, serialize_with = "event_format::serialize_as_keys")]
    pub event_format: EventFormat,
    /// Variables that it gets besides the worker's own.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs. Absent: where the worker does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
}

/// How long one process of a program lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecPer {
    /// For one batch.
    #[default]
    Batch,
    /// It is kept, and gets one batch after another.
    Process,
}

/// What a program's standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecOutput {
    /// A JSON value per item, one per line, or nothing at all.
    #[default]
    Items,
    /// One text, the output of the batch.
    Text,
    /// Read and thrown away.
    Discard,
}

const PERS: [(&str, ExecPer); 2] = [("batch", ExecPer::Batch), ("process", ExecPer::Process)];

const OUTPUTS: [(&str, ExecOutput); 3] =
    [("items", ExecOutput::Items), ("text", ExecOutput::Text), ("discard", ExecOutput::Discard)];

/// More calls than a process makes in its life would say nothing.
const MOST_CALLS_PER_PROCESS: u64 = 1_000_000_000;

fn serialize_per<S: serde::Serializer>(per: &ExecPer, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word_of(&PERS, per))
}

fn serialize_output<S: serde::Serializer>(output: &ExecOutput, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word_of(&OUTPUTS, output))
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> &'static str {
    words.iter().find(|(_, value)| value == wanted).map_or("", |(word, _)| word)
}

pub(super) fn read(mut section: Section<'_>) -> Option<ExecConfig> {
    let command = read_command(&mut section, "[\"python3\", \"clean.py\"]");
    let env = read_env(&mut section, |name| name.starts_with("WARIFU_"), "WARIFU_… are the worker's own");
    let per = section.choice("per", &PERS).unwrap_or_default();
    let event_format = event_format::read(&mut section, EventFormat::Warifu);
    let config = ExecConfig {
        command,
        per,
        max_calls_per_process: read_max_calls(&mut section, per),
        output: read_output(&mut section, per, event_format),
        event_format,
        env,
        workdir: section.path("workdir"),
    };
    section.finish();
    Some(config)
}

fn read_max_calls(section: &mut Section<'_>, per: ExecPer) -> Option<u32> {
    let max_calls = section.integer("max_calls_per_process", 1, MOST_CALLS_PER_PROCESS)?;
    if per == ExecPer::Batch {
        section.problem("max_calls_per_process", "is only for per = \"process\"");
    }
    u32::try_from(max_calls).ok()
}

fn read_output(section: &mut Section<'_>, per: ExecPer, event_format: EventFormat) -> ExecOutput {
    let output = section.choice("output", &OUTPUTS).unwrap_or_default();
    if output != ExecOutput::Items && (per, event_format) != (ExecPer::Batch, EventFormat::Warifu) {
        section.problem(
            "output",
            "is only for per = \"batch\" with event_format = \"warifu\": others answer with JSON",
        );
    }
    output
}
