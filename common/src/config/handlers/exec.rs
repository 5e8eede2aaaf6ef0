//! `type = "exec"`: a process for each batch.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::program::{read_command, read_env};
use crate::config::parts::Secret;
use crate::config::section::Section;

/// A program that handles batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecConfig {
    /// Program and arguments; no shell. Not empty.
    pub command: Vec<String>,
    /// What its standard output is.
    #[serde(serialize_with = "serialize_output")]
    pub output: ExecOutput,
    /// Variables that it gets besides the worker's own.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs. Absent: where the worker does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
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

const OUTPUTS: [(&str, ExecOutput); 3] =
    [("items", ExecOutput::Items), ("text", ExecOutput::Text), ("discard", ExecOutput::Discard)];

fn serialize_output<S: serde::Serializer>(output: &ExecOutput, serializer: S) -> Result<S::Ok, S::Error> {
    let word = OUTPUTS.iter().find(|(_, value)| value == output).map_or("", |(word, _)| word);
    serializer.serialize_str(word)
}

pub(super) fn read(mut section: Section<'_>) -> Option<ExecConfig> {
    let command = read_command(&mut section, "[\"python3\", \"clean.py\"]");
    refuse_other_modes(&mut section);
    let env = read_env(&mut section, |name| name.starts_with("WARIFU_"), "WARIFU_… are the worker's own");
    let config = ExecConfig {
        command,
        output: section.choice("output", &OUTPUTS).unwrap_or_default(),
        env,
        workdir: section.path("workdir"),
    };
    section.finish();
    Some(config)
}

fn refuse_other_modes(section: &mut Section<'_>) {
    let per = section.filled_text("per");
    match per.as_deref() {
        None | Some("batch") => {}
        Some("process") => {
            section.problem(
                "per",
                "a process that is kept running is not available in this version; write \"batch\"",
            );
        }
        Some(other) => section.problem("per", format!("{other:?}: write \"batch\"")),
    }
    let format = section.filled_text("event_format");
    match format.as_deref() {
        None | Some("warifu") => {}
        Some("states") => {
            section.problem("event_format", "\"states\" is not available in this version; write \"warifu\"");
        }
        Some(other) => section.problem("event_format", format!("{other:?}: write \"warifu\"")),
    }
}
