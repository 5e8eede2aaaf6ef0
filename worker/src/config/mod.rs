//! worker.toml: read, completed from the environment, checked, all problems at once.

mod expand;
mod handlers;
mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::{Table, Value};
use warifu_common::model::{HandlerName, WorkerId};
use warifu_common::object_store::S3Settings;

use self::sections::Sections;
use crate::handler::Handler;

/// The most bytes of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What a worker.toml says, checked.
pub struct WorkerConfig {
    /// Where coordinators are.
    pub endpoints: Vec<String>,
    /// The worker's id, if it is given.
    pub id: Option<WorkerId>,
    /// Batches in progress at once.
    pub slots: u32,
    /// Scanned bytes that are kept.
    pub cache_bytes: u64,
    /// Time for what runs when the worker is told to stop.
    pub drain_timeout: Duration,
    /// A directory that proves that the worker's process before is dead.
    pub state_dir: Option<PathBuf>,
    /// How object storage is reached.
    pub s3: S3Settings,
    /// Whether logs are JSON.
    pub json_logs: bool,
    /// Handlers by name, `echo` and `noop` among them.
    pub handlers: BTreeMap<HandlerName, Arc<dyn Handler>>,
    /// The same as text, defaults filled in, secrets left out.
    pub shown: String,
}

/// Why a configuration cannot be used: each problem with its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}", .problems.join("\n  "))]
pub struct InvalidConfig {
    /// The file, or what stands for it.
    pub place: String,
    /// At least one.
    pub problems: Vec<String>,
}

impl WorkerConfig {
    /// Reads a file, and variables of the environment over it.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        let place = path.display().to_string();
        let invalid = |problem: String| InvalidConfig { place: place.clone(), problems: vec![problem] };
        let size = std::fs::metadata(path).map_err(|error| invalid(error.to_string()))?.len();
        if size > MAX_CONFIG_BYTES {
            return Err(invalid(format!("the file has {size} bytes, more than {MAX_CONFIG_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
        Self::parse(&place, &text, &|name| std::env::var(name).ok(), std::env::vars())
    }

    /// Takes a configuration's text. `variable` gives what `${NAME}` stands for; `overrides` are variables of the
    /// environment, of which `WARIFU_SECTION__KEY` count.
    pub fn parse(
        place: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        overrides: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, InvalidConfig> {
        let invalid = |problems| InvalidConfig { place: place.to_owned(), problems };
        let mut table: Table =
            text.parse().map_err(|error: toml::de::Error| invalid(vec![error.to_string()]))?;
        expand::apply_overrides(&mut table, overrides);
        let written = table.clone();
        let mut problems = expand::expand_table(&mut table, variable);
        let handlers = handlers::read(table.remove("handlers"), &mut problems);
        let sections = match Sections::read(table) {
            Ok(sections) => sections,
            Err(problem) => {
                problems.push(problem);
                return Err(invalid(problems));
            }
        };
        sections.check(&mut problems);
        if !problems.is_empty() {
            return Err(invalid(problems));
        }
        Ok(Self {
            shown: shown(&sections, written),
            id: sections.worker.id,
            slots: sections.worker.slots,
            cache_bytes: sections.worker.cache_bytes,
            drain_timeout: sections.worker.drain_timeout.0,
            state_dir: sections.worker.state_dir,
            s3: sections.s3.settings(),
            json_logs: sections.telemetry.is_json(),
            endpoints: sections.coordinator.endpoints,
            handlers,
        })
    }
}

/// Sections with their defaults; handlers as they are written, so that `${…}` stays closed and passwords in URLs go.
fn shown(sections: &Sections, written: Table) -> String {
    let mut table = Table::try_from(sections).unwrap_or_default();
    if let Some(handlers) = written.get("handlers") {
        let mut handlers = handlers.clone();
        redact(&mut handlers);
        table.insert("handlers".to_owned(), handlers);
    }
    table.to_string()
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((user_and_password, host)) = rest.rsplit_once('@')
                && let Some((user, _)) = user_and_password.split_once(':')
            {
                *text = format!("{scheme}://{user}:***@{host}");
            }
        }
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| redact(value)),
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WorkerConfig, Vec<String>> {
        let variable = |name: &str| (name == "DB").then(|| "sqlite://t.db".to_owned());
        let overrides = [("WARIFU_WORKER__SLOTS", "3"), ("WARIFU_ENDPOINT", "x")];
        let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
        WorkerConfig::parse("worker.toml", text, &variable, overrides).map_err(|invalid| invalid.problems)
    }

    const WHOLE: &str = r#"
        [coordinator]
        endpoints = ["http://127.0.0.1:7400"]
        [worker]
        id = "w1"
        drain_timeout = "2m"
        [handlers.users]
        type = "sql"
        url = "${DB}"
        upsert = { table = "users", key = ["id"] }
        audit = { table = "audit_log" }
        [handlers.users.columns]
        id = { from = "ユーザーID" }
        n = { from = "投稿回数", type = "int8", on_conflict = "greatest" }
        [handlers.clean]
        type = "exec"
        command = ["python3", "clean.py"]
        output = "text"
        [handlers.mine]
        type = "noop"
    "#;

    #[test]
    fn a_whole_file_is_taken_and_the_environment_stands_over_it() {
        let config = parse(WHOLE).unwrap();
        assert_eq!((config.slots, config.drain_timeout), (3, Duration::from_secs(120)));
        let names: Vec<_> = config.handlers.keys().map(HandlerName::as_str).collect();
        assert_eq!(names, ["clean", "echo", "mine", "noop", "users"]);
        assert!(config.shown.contains("slots = 3"), "{}", config.shown);
        assert!(config.shown.contains("${DB}") && !config.shown.contains("t.db"), "{}", config.shown);
    }

    #[test]
    fn an_empty_file_is_a_worker_with_the_built_in_handlers() {
        let config = parse("").unwrap();
        assert_eq!(config.endpoints, ["http://127.0.0.1:7400"]);
        assert_eq!(config.handlers.len(), 2);
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        let problems = parse(
            "[worker]\nslots = 0\n[handlers.a]\ntype = 'sql'\nurl = '${NOT_SET}'\n[handlers.b]\ntype = 'lambda'\n\
             [handlers.c]\ntype = 'exec'\ncommand = []\n[handlers.'d d']\ntype = 'noop'\n[handlers.e]\ntype = 'exec'\ncmd = 1\n",
        )
        .err()
        .unwrap();
        let all = problems.join("\n");
        for part in
            ["handlers.a", "NOT_SET", "handlers.b: type \"lambda\"", "handlers.c", "d d", "handlers.e", "cmd"]
        {
            assert!(all.contains(part), "{part} is not in {all}");
        }
    }

    #[test]
    fn unknown_keys_and_unsupported_sections_are_refused() {
        for text in [
            "[worker]\nslot = 1",
            "[workers]\n",
            "x = 1",
            "[tls]\nca_file = 'x'",
            "[worker]\ndrain_timeout = '5 parsecs'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let mut value = Value::String("postgres://me:secret@host/db".to_owned());
        redact(&mut value);
        assert_eq!(value.as_str(), Some("postgres://me:***@host/db"));
    }
}
