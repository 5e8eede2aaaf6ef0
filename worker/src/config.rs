//! From worker.toml to handlers that can be called.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use warifu_common::config::handlers::{self, ConfiguredHandler, ExecConfig, ExecPer, HandlerConfig};
use warifu_common::config::{self, ConfigError, ConfigProblem, Setting};
use warifu_common::model::HandlerName;

use crate::handler::exec::{Exec, ExecOutput};
use crate::handler::http::Http;
use crate::handler::lambda::Lambda;
use crate::handler::sql::Sql;
use crate::handler::{Classified, Echo, Handler, Noop};

/// A worker's configuration with its handlers made.
pub struct WorkerConfig {
    /// What the file, the environment and the flags say.
    pub settings: config::WorkerConfig,
    /// Handlers by name, `echo` and `noop` among them.
    pub handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
}

impl WorkerConfig {
    /// Reads a file and the environment of this process.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_with(Some(file), Vec::new())
    }

    /// Reads a file (none: defaults), the environment of this process, and `flags`.
    pub fn load_with(file: Option<&Path>, flags: Vec<Setting>) -> Result<Self, ConfigError> {
        let settings = config::WorkerConfig::load(file, flags)?;
        let mut handlers = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, handler) in &settings.handlers {
            match handler_in_classes(handler) {
                Ok(handler) => drop(handlers.insert(name.clone(), handler)),
                Err(description) => {
                    problems.push(ConfigProblem { key: format!("handlers.{name}"), description });
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { settings, handlers })
        } else {
            Err(ConfigError { file: file.map(Path::to_owned), problems })
        }
    }
}

/// The handler of a section, with its failures in the classes that the section gives them.
fn handler_in_classes(configured: &ConfiguredHandler) -> Result<Arc<dyn Handler>, String> {
    let handler = handler_of(&configured.handler)?;
    if configured.error_classes.is_empty() {
        return Ok(handler);
    }
    Ok(Arc::new(Classified::new(handler, configured.error_classes.clone())))
}

/// The handler that a configuration stands for.
pub fn handler_of(config: &HandlerConfig) -> Result<Arc<dyn Handler>, String> {
    Ok(match config {
        HandlerConfig::Echo => Arc::new(Echo),
        HandlerConfig::Noop => Arc::new(Noop),
        HandlerConfig::Exec(config) => Arc::new(exec_of(config)),
        HandlerConfig::Http(config) => Arc::new(Http::new(config.clone())?),
        HandlerConfig::Lambda(config) => Arc::new(Lambda::new(config.clone())),
        HandlerConfig::Sql(config) => Arc::new(Sql::new(config.clone())?),
    })
}

fn exec_of(config: &ExecConfig) -> Exec {
    let output = match config.output {
        handlers::ExecOutput::Items => ExecOutput::Items,
        handlers::ExecOutput::Text => ExecOutput::Text,
        handlers::ExecOutput::Discard => ExecOutput::Discard,
    };
    let environment = config.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    let exec = Exec::new(config.command.iter())
        .output(output)
        .event_format(config.event_format)
        .directory(config.workdir.clone())
        .environment(environment);
    match config.per {
        ExecPer::Batch => exec,
        ExecPer::Process => exec.keep_running(config.max_calls_per_process),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_of_a_file_are_made_and_the_built_in_ones_are_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[handlers.clean]\ntype = 'exec'\ncommand = ['cat']\n[handlers.users]\ntype = 'sql'\n\
                    url = 'sqlite://t.db'\nupsert = { table = 'users', key = ['id'] }\n";
        std::fs::write(file.path(), text).unwrap();
        let config = WorkerConfig::load(file.path()).unwrap();
        let names: Vec<_> = config.handlers.keys().map(HandlerName::as_str).collect();
        assert_eq!(names, ["clean", "echo", "noop", "users"]);
    }
}
