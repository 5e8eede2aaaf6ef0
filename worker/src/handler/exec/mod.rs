//! `exec`: a program for each batch. Items go in as JSON lines, outputs come out as lines.
//!
//! **Invariant:** the program runs in a process group of its own, and nothing of that group outlives the call.

mod answer;
mod files;
mod process;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use warifu_common::model::CallFailure;

use self::answer::read_answer;
use self::files::CallFiles;
use self::process::{Ended, Program, run_program};
use super::process::find_program;
use super::{BatchCall, Handler, HandlerAnswer};
use crate::classify::invalid_output;

/// The most bytes of standard output that are taken: many times what goes in.
const MAX_STDOUT_BYTES: usize = 32 << 20;

/// What a program puts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecOutput {
    /// One JSON text per item, a line each, or nothing at all.
    #[default]
    Items,
    /// One line of text per item, or nothing at all; each becomes a JSON string.
    Text,
    /// Whatever it prints is passed over.
    Discard,
}

/// Runs a program for each batch.
#[derive(Debug, Clone)]
pub struct Exec {
    command: Vec<OsString>,
    output: ExecOutput,
    directory: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Exec {
    /// Runs `command`: the program and its arguments, no shell. It must not be empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { command, output: ExecOutput::default(), directory: None, environment: Vec::new() }
    }

    /// Runs `script` by `sh -c`.
    pub fn shell(script: impl Into<OsString>) -> Self {
        Self::new([OsString::from("sh"), OsString::from("-c"), script.into()])
    }

    /// How its standard output is taken.
    pub fn output(self, output: ExecOutput) -> Self {
        Self { output, ..self }
    }

    /// The directory that it runs in; the worker's own if this is not called.
    pub fn directory(self, directory: Option<PathBuf>) -> Self {
        Self { directory, ..self }
    }

    /// Variables added to the worker's own.
    pub fn environment(self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { environment: environment.into_iter().collect(), ..self }
    }

    fn program(&self, call: &BatchCall, files: &CallFiles) -> Program {
        let mut environment = self.environment.clone();
        environment.extend(variables(call));
        environment.extend(files.variables());
        Program {
            command: self.command.clone(),
            directory: self.directory.clone(),
            environment,
            stdin: json_lines(call),
        }
    }

    fn answer(&self, call: &BatchCall, ended: Ended) -> HandlerAnswer {
        if let Some(failure) = ended.failure() {
            return HandlerAnswer::Failed(failure);
        }
        if self.output == ExecOutput::Discard {
            return HandlerAnswer::Succeeded;
        }
        if ended.stdout_overflowed {
            let cause = format!("the program put out more than {MAX_STDOUT_BYTES} bytes for one batch");
            return HandlerAnswer::Failed(invalid_output(cause));
        }
        read_answer(self.output, &ended.stdout, call.item_count())
    }
}

#[async_trait]
impl Handler for Exec {
    async fn check(&self) -> Result<(), String> {
        let program = self.command.first().ok_or("the command is empty: name a program")?;
        find_program(program, self.directory.as_deref())
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let files = match CallFiles::write(&call) {
            Ok(files) => files,
            Err(error) => {
                return HandlerAnswer::Failed(start_failure(format!(
                    "cannot write temporary files: {error}"
                )));
            }
        };
        match run_program(self.program(&call, &files), MAX_STDOUT_BYTES, cancel).await {
            Ok(ended) => self.answer(&call, ended),
            Err(error) => {
                let program = self.command.first().cloned().unwrap_or_default();
                HandlerAnswer::Failed(start_failure(format!("cannot start {}: {error}", program.display())))
            }
        }
    }
}

/// The program did not run at all.
fn start_failure(cause: String) -> CallFailure {
    CallFailure::system("Exec.NotStarted", cause)
}

fn json_lines(call: &BatchCall) -> Vec<u8> {
    let mut lines = Vec::new();
    for item in call.items() {
        item.write_json(&mut lines);
        lines.push(b'\n');
    }
    lines
}

fn variables(call: &BatchCall) -> Vec<(String, String)> {
    let identity = call.identity();
    let pairs = [
        ("WARIFU_MAP_RUN_ID", call.run().map_run.to_string()),
        ("WARIFU_BATCH_NUMBER", identity.batch_number.to_string()),
        ("WARIFU_ATTEMPT", identity.attempt.to_string()),
        ("WARIFU_ROUND", identity.round.to_string()),
        ("WARIFU_IDEMPOTENCY_KEY", call.idempotency_key()),
        ("WARIFU_DEADLINE", identity.deadline.0.to_string()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
