//! `exec`: a program for each batch, or programs that are kept and get one batch after another.
//!
//! Items go in as JSON, outputs come out as JSON or lines. Nothing of a job reaches a shell, a path or the program's name:
//! command, directory and environment are configuration alone, a job's data is on standard input, in files with names of
//! the worker's own, and in variables that hold ids and numbers.
//!
//! **Invariant:** a program runs in a process group of its own, and nothing of that group outlives the call, or the
//! handler where processes are kept.

mod answer;
mod backoff;
mod event;
mod files;
mod kept;
#[cfg(test)]
mod kept_tests;
mod pool;
mod process;
mod stderr;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::EventFormat;
use warifu_common::model::CallFailure;
use warifu_common::telemetry::traces::TRACE_PARENT_VARIABLE;

use self::answer::read_answer;
use self::files::CallFiles;
use self::pool::Pool;
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

/// Runs a program on batches.
pub struct Exec {
    program: Program,
    output: ExecOutput,
    event_format: EventFormat,
    /// Absent: a process for each batch.
    pool: Option<Pool>,
}

impl Exec {
    /// Runs `command` for each batch: the program and its arguments, no shell. It must not be empty.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        let program = Program { command, directory: None, environment: Vec::new() };
        Self { program, output: ExecOutput::default(), event_format: EventFormat::Warifu, pool: None }
    }

    /// Runs `script` by `sh -c`.
    pub fn shell(script: impl Into<OsString>) -> Self {
        Self::new([OsString::from("sh"), OsString::from("-c"), script.into()])
    }

    /// How its standard output is taken, where a process gets one batch in our own format.
    pub fn output(self, output: ExecOutput) -> Self {
        Self { output, ..self }
    }

    /// The JSON that it gets and answers.
    pub fn event_format(self, event_format: EventFormat) -> Self {
        Self { event_format, ..self }
    }

    /// The directory that it runs in; the worker's own if this is not called.
    pub fn directory(self, directory: Option<PathBuf>) -> Self {
        Self { program: Program { directory, ..self.program }, ..self }
    }

    /// Variables added to the worker's own.
    pub fn environment(self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let environment = environment.into_iter().collect();
        Self { program: Program { environment, ..self.program }, ..self }
    }

    /// Keeps processes and gives them one batch after another, as lines; a process is replaced after `max_calls` calls.
    /// To be said last: what is kept is the program as it was described before.
    pub fn keep_running(self, max_calls: Option<u32>) -> Self {
        let max_calls = max_calls.map_or(u64::MAX, u64::from);
        Self { pool: Some(Pool::new(self.program.clone(), max_calls)), ..self }
    }

    /// The program with the variables of a call.
    fn program_for(&self, call: &BatchCall, idempotency_key: String, files: &CallFiles) -> Program {
        let mut program = self.program.clone();
        program.environment.extend(variables(call, idempotency_key));
        program.environment.extend(files.variables());
        program
    }

    /// Runs a process of its own on `stdin`.
    async fn run_once(
        &self,
        call: &BatchCall,
        idempotency_key: String,
        stdin: &[u8],
        cancel: &CancellationToken,
    ) -> Result<Ended, CallFailure> {
        let files = CallFiles::write(call)
            .map_err(|error| start_failure(format!("cannot write temporary files: {error}")))?;
        let program = self.program_for(call, idempotency_key, &files);
        let ended = run_program(&program, stdin, MAX_STDOUT_BYTES, cancel).await;
        ended.map_err(|error| start_failure(format!("cannot start {}: {error}", program.name())))
    }

    /// Our own format, a process for the batch: items as lines.
    async fn call_by_lines(&self, call: &BatchCall, cancel: &CancellationToken) -> HandlerAnswer {
        match self.run_once(call, call.idempotency_key(), &json_lines(call), cancel).await {
            Ok(ended) => self.read_lines(call, ended),
            Err(failure) => HandlerAnswer::Failed(failure),
        }
    }

    fn read_lines(&self, call: &BatchCall, ended: Ended) -> HandlerAnswer {
        if let Some(failure) = ended.failure() {
            return HandlerAnswer::Failed(failure);
        }
        if self.output == ExecOutput::Discard {
            return HandlerAnswer::Succeeded;
        }
        match bounded(ended) {
            Ok(stdout) => read_answer(self.output, &stdout, call.item_count()),
            Err(failure) => HandlerAnswer::Failed(failure),
        }
    }
}

#[async_trait]
impl Handler for Exec {
    async fn check(&self) -> Result<(), String> {
        let program = self.program.command.first().ok_or("the command is empty: name a program")?;
        find_program(program, self.program.directory.as_deref())
    }

    fn takes_events(&self) -> bool {
        self.pool.is_some() || matches!(self.event_format, EventFormat::States { .. })
    }

    fn puts_out(&self) -> bool {
        self.output != ExecOutput::Discard
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        match (&self.pool, self.event_format) {
            (Some(pool), format) => event::call_kept(pool, format, &call, &cancel).await,
            (None, EventFormat::Warifu) => self.call_by_lines(&call, &cancel).await,
            (None, format @ EventFormat::States { .. }) => {
                event::call_once(self, format, &call, &cancel).await
            }
        }
    }

    async fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.close().await;
        }
    }
}

/// All of a program's standard output.
fn bounded(ended: Ended) -> Result<Vec<u8>, CallFailure> {
    if ended.stdout_overflowed {
        let cause = format!("the program put out more than {MAX_STDOUT_BYTES} bytes for one batch");
        return Err(invalid_output(cause));
    }
    Ok(ended.stdout)
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

fn variables(call: &BatchCall, idempotency_key: String) -> Vec<(String, String)> {
    let identity = call.identity();
    let pairs = [
        ("WARIFU_MAP_RUN_ID", call.run().map_run.to_string()),
        ("WARIFU_BATCH_NUMBER", identity.batch_number.to_string()),
        ("WARIFU_ATTEMPT", identity.attempt.to_string()),
        ("WARIFU_ROUND", identity.round.to_string()),
        ("WARIFU_IDEMPOTENCY_KEY", idempotency_key),
        ("WARIFU_DEADLINE", identity.deadline.0.to_string()),
    ];
    let trace = call.trace_parent().map(|place| (TRACE_PARENT_VARIABLE, place.to_string()));
    pairs.into_iter().chain(trace).map(|(name, value)| (name.to_owned(), value)).collect()
}
