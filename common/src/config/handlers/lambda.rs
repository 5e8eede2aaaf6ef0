//! `type = "lambda"`: unmodified AWS Lambda code in processes that are kept running.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use warifu_model::HandlerName;

use super::event_format::{self, EventFormat};
use super::program::{read_command, read_env};
use crate::config::parts::{Secret, serialize_duration};
use crate::config::section::Section;

/// Processes that are started ahead unless it is said otherwise: one, so that a function that cannot start is not offered.
const DEFAULT_WARM: u32 = 1;
/// As many as a worker may have slots.
const MOST_WARM: u64 = 4096;
/// AWS's default. It is only shown to the function: nothing enforces it.
const DEFAULT_MEMORY_MB: u64 = 128;
/// A terabyte: no machine that is known has more.
const MOST_MEMORY_MB: u64 = 1 << 20;
/// As on AWS.
const DEFAULT_INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a batch may take by default; a worker says nothing to its coordinator before its checks have ended.
const LONGEST_INIT_TIMEOUT: Duration = Duration::from_secs(900);
/// Long enough for the pauses between the runs of a busy worker.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// As on AWS: 6 MiB and a little.
const DEFAULT_MAX_RESPONSE_BYTES: u64 = 6_291_556;
/// Every slot may hold an answer of this size.
const MOST_RESPONSE_BYTES: u64 = 64 << 20;
/// As on AWS.
const LONGEST_FUNCTION_NAME: usize = 64;
/// The API is the worker's own, one process handles one event at a time, and nothing is restored from a snapshot.
const RESERVED: [&str; 3] =
    ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_INITIALIZATION_TYPE"];

/// An AWS Lambda function, and how its processes are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LambdaConfig {
    /// Its name among the worker's handlers, for logs.
    #[serde(skip)]
    pub handler: String,
    /// A runtime client and its arguments; no shell. Not empty.
    pub command: Vec<String>,
    /// Processes that are started ahead and kept; the others come when they are needed, and go after `idle_timeout`.
    pub warm: u32,
    /// What it gets and answers.
    #[serde(flatten)]
    pub event_format: EventFormat,
    /// Variables that it gets besides the worker's own.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs, the function's own directory. Absent: where the worker does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// What the function is told that it is called.
    pub function_name: String,
    /// What the function is told that it has; megabytes.
    pub memory_mb: u64,
    /// Time from the start of a process until it asks for its first event.
    #[serde(serialize_with = "serialize_duration")]
    pub init_timeout: Duration,
    /// After this long without an event a process beyond `warm` is ended.
    #[serde(serialize_with = "serialize_duration")]
    pub idle_timeout: Duration,
    /// A longer answer fails its batch.
    pub max_response_bytes: u64,
}

impl LambdaConfig {
    /// The handler called `handler`, whose function `command` runs; all else as it is by default.
    pub fn new(handler: impl Into<String>, command: Vec<String>) -> Self {
        let handler = handler.into();
        Self {
            function_name: handler.clone(),
            handler,
            command,
            warm: DEFAULT_WARM,
            event_format: EventFormat::States { partial_failures: false },
            env: BTreeMap::new(),
            workdir: None,
            memory_mb: DEFAULT_MEMORY_MB,
            init_timeout: DEFAULT_INIT_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
        }
    }
}

/// Whether the worker sets the variable itself, or the function would be run in a way that the worker does not know.
pub fn is_reserved_for_runtime(variable: &str) -> bool {
    RESERVED.contains(&variable)
}

pub(super) fn read(name: &HandlerName, mut section: Section<'_>) -> Option<LambdaConfig> {
    let command = read_command(&mut section, "[\"python3\", \"-m\", \"awslambdaric\", \"app.handler\"]");
    let default = LambdaConfig::new(name.as_str(), command);
    let config = LambdaConfig {
        warm: section
            .integer("warm", 0, MOST_WARM)
            .map_or(default.warm, |warm| u32::try_from(warm).unwrap_or(u32::MAX)),
        event_format: event_format::read(&mut section, default.event_format),
        env: read_env(&mut section, is_reserved_for_runtime, "it says how the worker talks to the function"),
        workdir: section.path("workdir"),
        function_name: read_function_name(&mut section).unwrap_or(default.function_name),
        memory_mb: section.integer("memory_mb", 1, MOST_MEMORY_MB).unwrap_or(default.memory_mb),
        init_timeout: read_init_timeout(&mut section).unwrap_or(default.init_timeout),
        idle_timeout: section.duration("idle_timeout").unwrap_or(default.idle_timeout),
        max_response_bytes: section
            .integer("max_response_bytes", 1, MOST_RESPONSE_BYTES)
            .unwrap_or(default.max_response_bytes),
        command: default.command,
        handler: default.handler,
    };
    section.finish();
    Some(config)
}

fn read_function_name(section: &mut Section<'_>) -> Option<String> {
    section.parsed("function_name", |name| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.len() <= LONGEST_FUNCTION_NAME && name.chars().all(plain) {
            Ok(name.to_owned())
        } else {
            Err(format!("write at most {LONGEST_FUNCTION_NAME} letters, digits, `-` and `_`"))
        }
    })
}

fn read_init_timeout(section: &mut Section<'_>) -> Option<Duration> {
    let timeout = section.duration("init_timeout")?;
    if timeout.is_zero() || timeout > LONGEST_INIT_TIMEOUT {
        section.problem("init_timeout", "must be more than 0 and at most 900s");
    }
    Some(timeout)
}
