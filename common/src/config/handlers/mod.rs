//! `[handlers.NAME]` of worker.toml: what runs when a job names a handler.

mod error_classes;
mod event_format;
mod exec;
mod http;
mod sql;

use std::collections::BTreeMap;

use serde::Serialize;
use warifu_model::HandlerName;

use super::section::{Reader, Section};

pub use error_classes::{ErrorClasses, ErrorPattern};
pub use event_format::EventFormat;
pub use exec::{ExecConfig, ExecOutput};
pub use http::{HttpConfig, HttpProtocol, HttpUrl};
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
    /// A process for each batch.
    Exec(ExecConfig),
    /// A service that is called over HTTP.
    Http(HttpConfig),
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
        if let (Ok(name), Some(handler)) = (checked, read(section)) {
            handlers.insert(name, handler);
        }
    }
    handlers
}

fn read(mut section: Section<'_>) -> Option<ConfiguredHandler> {
    let kind = section.required_text("type")?;
    let error_classes = error_classes::read(&mut section);
    let handler = read_handler(&kind, section)?;
    Some(ConfiguredHandler { handler, error_classes })
}

fn read_handler(kind: &str, section: Section<'_>) -> Option<HandlerConfig> {
    match kind {
        "exec" => exec::read(section).map(HandlerConfig::Exec),
        "sql" => sql::read(section).map(HandlerConfig::Sql),
        "http" => http::read(section).map(HandlerConfig::Http),
        "lambda" => {
            section.problem(
                "type",
                format!("{kind} handlers are not available in this version; exec, http and sql are"),
            );
            None
        }
        "echo" | "noop" => {
            section.problem("type", format!("{kind} is built in under its own name; remove this section"));
            None
        }
        other => {
            section.problem(
                "type",
                format!("{other:?} is no type of handler; write \"exec\", \"http\" or \"sql\""),
            );
            None
        }
    }
}
