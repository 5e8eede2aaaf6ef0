//! `[handlers.NAME]` of worker.toml: what runs when a job names a handler.

mod error_classes;
mod event_format;
mod exec;
mod http;
mod lambda;
mod program;
mod sql;

use std::collections::BTreeMap;

use serde::Serialize;
use warifu_model::HandlerName;

use super::section::{Reader, Section};

pub use error_classes::{ErrorClasses, ErrorPattern};
pub use event_format::EventFormat;
pub use exec::{ExecConfig, ExecOutput, ExecPer};
pub use http::{HttpConfig, HttpProtocol, HttpUrl};
pub use lambda::{LambdaConfig, is_reserved_for_runtime};
pub use sql::{
    AuditConfig, ColumnConfig, ColumnSource, ContextValue, EmptyRule, Literal, OnConflict, SqlConfig,
    SqlStatement, SqlType,
};

/// Returns each item.
pub const ECHO: &str = "echo";
/// Does nothing.
pub const NOOP: &str = "noop";

/// A handler as a section configures it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfiguredHandler {
    /// What it does.
    #[serde(flatten)]
    pub handler: HandlerConfig,
    /// Kinds of failures that it is overruled in.
    #[serde(flatten)]
    pub error_classes: ErrorClasses,
}

impl From<HandlerConfig> for ConfiguredHandler {
    fn from(handler: HandlerConfig) -> Self {
        Self { handler, error_classes: ErrorClasses::default() }
    }
}

/// What a handler does, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HandlerConfig {
    /// Built in: returns each item.
    Echo,
    /// Built in: does nothing.
    Noop,
    /// A program for each batch, or one that is kept running.
    Exec(ExecConfig),
    /// A service that is called over HTTP.
    Http(HttpConfig),
    /// An AWS Lambda function in processes of its own.
    Lambda(LambdaConfig),
    /// Rows of a table.
    Sql(SqlConfig),
}

/// The handlers that every worker has.
pub fn built_in() -> BTreeMap<HandlerName, ConfiguredHandler> {
    let name = |name| HandlerName::new(name).expect("built-in names are valid");
    [(name(ECHO), HandlerConfig::Echo.into()), (name(NOOP), HandlerConfig::Noop.into())].into()
}

/// Every handler of the file, and the built-in ones.
pub(super) fn read_all(reader: &Reader) -> BTreeMap<HandlerName, ConfiguredHandler> {
    let mut handlers = built_in();
    for (name, section) in reader.section("handlers").tables() {
        let path = format!("handlers.{name}");
        if name == ECHO || name == NOOP {
            reader.problem(&path, "is built in; choose another name");
            continue;
        }
        let checked = HandlerName::new(&name);
        if let Err(error) = &checked {
            reader.problem(&path, format!("is no handler name: {}", error.rule));
        }
        // A name that is wrong has been noted; what else is wrong is noted, too.
        let stand_in = || HandlerName::new("unnamed").expect("it is a plain word");
        let handler = read(checked.as_ref().ok().unwrap_or(&stand_in()), section);
        if let (Ok(name), Some(handler)) = (checked, handler) {
            handlers.insert(name, handler);
        }
    }
    handlers
}

/// Notes every handler that wants more processes ahead than the worker has slots.
pub(super) fn check_slots(reader: &Reader, handlers: &BTreeMap<HandlerName, ConfiguredHandler>, slots: u32) {
    for (name, handler) in handlers {
        if let HandlerConfig::Lambda(lambda) = &handler.handler
            && lambda.warm > slots
        {
            let warm = lambda.warm;
            reader.problem(
                &format!("handlers.{name}.warm"),
                format!("{warm} processes would be kept for {slots} slots; write at most worker.slots"),
            );
        }
    }
}

fn read(name: &HandlerName, mut section: Section<'_>) -> Option<ConfiguredHandler> {
    let kind = section.required_text("type")?;
    let error_classes = error_classes::read(&mut section);
    let handler = read_handler(name, &kind, section)?;
    Some(ConfiguredHandler { handler, error_classes })
}

fn read_handler(name: &HandlerName, kind: &str, section: Section<'_>) -> Option<HandlerConfig> {
    match kind {
        "exec" => exec::read(section).map(HandlerConfig::Exec),
        "sql" => sql::read(section).map(HandlerConfig::Sql),
        "http" => http::read(section).map(HandlerConfig::Http),
        "lambda" => lambda::read(name, section).map(HandlerConfig::Lambda),
        "echo" | "noop" => {
            section.problem("type", format!("{kind} is built in under its own name; remove this section"));
            None
        }
        other => {
            section.problem(
                "type",
                format!("{other:?} is no type of handler; write \"exec\", \"http\", \"lambda\" or \"sql\""),
            );
            None
        }
    }
}
