//! The handlers of worker.toml: `[handlers.NAME]`, each with a `type`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use warifu_common::model::HandlerName;

use crate::handler::exec::{Exec, ExecOutput};
use crate::handler::sql::Sql;
use crate::handler::{Echo, Handler, Noop};

type Handlers = BTreeMap<HandlerName, Arc<dyn Handler>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecConfig {
    command: Vec<String>,
    #[serde(default)]
    output: ExecOutput,
    directory: Option<PathBuf>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    per: ExecPer,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExecPer {
    #[default]
    Batch,
    Process,
}

/// A handler without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {}

/// Reads all of them, and adds `echo` and `noop` under their own names.
pub(super) fn read(handlers: Option<Value>, problems: &mut Vec<String>) -> Handlers {
    let mut known: Handlers = BTreeMap::new();
    let built_in: [(&str, Arc<dyn Handler>); 2] = [("echo", Arc::new(Echo)), ("noop", Arc::new(Noop))];
    known.extend(built_in.map(|(name, handler)| (HandlerName::new(name).expect("a plain name"), handler)));
    let table = match handlers {
        None => return known,
        Some(Value::Table(table)) => table,
        Some(_) => {
            problems.push("handlers: must be tables, [handlers.NAME]".to_owned());
            return known;
        }
    };
    for (name, value) in table {
        match read_named(&name, value) {
            Ok((name, handler)) => drop(known.insert(name, handler)),
            Err(problem) => problems.push(format!("handlers.{name}: {problem}")),
        }
    }
    known
}

fn read_named(name: &str, value: Value) -> Result<(HandlerName, Arc<dyn Handler>), String> {
    let name = HandlerName::new(name).map_err(|error| error.to_string())?;
    let Value::Table(table) = value else { return Err("must be a table".to_owned()) };
    Ok((name, read_one(table)?))
}

fn read_one(mut table: Table) -> Result<Arc<dyn Handler>, String> {
    let Some(Value::String(kind)) = table.remove("type") else {
        return Err("type is missing: exec, sql, echo or noop".to_owned());
    };
    match kind.as_str() {
        "exec" => exec(settings(table)?),
        "sql" => Ok(Arc::new(Sql::new(settings(table)?)?)),
        "echo" => settings::<Plain>(table).map(|Plain {}| Arc::new(Echo) as Arc<dyn Handler>),
        "noop" => settings::<Plain>(table).map(|Plain {}| Arc::new(Noop) as Arc<dyn Handler>),
        "lambda" | "http" => {
            Err(format!("type {kind:?} is not supported yet: there are exec, sql, echo and noop"))
        }
        _ => Err(format!("type {kind:?} is unknown: there are exec, sql, echo and noop")),
    }
}

fn settings<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    table.try_into().map_err(|error: toml::de::Error| error.to_string().trim_end().replace('\n', " "))
}

fn exec(config: ExecConfig) -> Result<Arc<dyn Handler>, String> {
    if config.command.first().is_none_or(String::is_empty) {
        return Err("command names no program".to_owned());
    }
    if config.per == ExecPer::Process {
        return Err("per = \"process\" is not supported yet".to_owned());
    }
    let exec = Exec::new(config.command).output(config.output);
    Ok(Arc::new(exec.directory(config.directory).environment(config.environment)))
}
