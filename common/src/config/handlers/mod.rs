//! `[handlers.NAME]` of worker.toml: what runs when a job names a handler.

mod event_format;
mod exec;
mod sql;

use std::collections::BTreeMap;

use serde::Serialize;
use warifu_model::HandlerName;

use super::section::{Reader, Section};

pub use event_format::EventFormat;
pub use exec::{ExecConfig, ExecOutput, ExecPer};
pub use sql::{
    AuditConfig, ColumnConfig, ColumnSource, ContextValue, EmptyRule, Literal, OnConflict, SqlConfig,
    SqlStatement, SqlType,
};

/// Returns each item.
pub const ECHO: &str = "echo";
/// Does nothing.
pub const NOOP: &str = "noop";

/// A handler, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum HandlerConfig {
    /// Built in: returns each item.
    Echo,
    /// Built in: does nothing.
    Noop,
    /// A program for each batch, or one that is kept running.
    Exec(ExecConfig),
    /// Rows of a table.
    Sql(SqlConfig),
}

/// The handlers that every worker has.
pub fn built_in() -> BTreeMap<HandlerName, HandlerConfig> {
    let name = |name| HandlerName::new(name).expect("built-in names are valid");
    [(name(ECHO), HandlerConfig::Echo), (name(NOOP), HandlerConfig::Noop)].into()
}

/// Every handler of the file, and the built-in ones.
pub(super) fn read_all(reader: &Reader) -> BTreeMap<HandlerName, HandlerConfig> {
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

fn read(mut section: Section<'_>) -> Option<HandlerConfig> {
    let kind = section.required_text("type")?;
    match kind.as_str() {
        "exec" => exec::read(section).map(HandlerConfig::Exec),
        "sql" => sql::read(section).map(HandlerConfig::Sql),
        "lambda" | "http" => {
            section.problem(
                "type",
                format!("{kind} handlers are not available in this version; exec and sql are"),
            );
            None
        }
        "echo" | "noop" => {
            section.problem("type", format!("{kind} is built in under its own name; remove this section"));
            None
        }
        other => {
            section.problem("type", format!("{other:?} is no type of handler; write \"exec\" or \"sql\""));
            None
        }
    }
}
