//! What workers of this process can do: built-in handlers, those of a worker.toml, and what flags stand for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use warifu_common::model::HandlerName;
use warifu_worker::config::WorkerConfig;
use warifu_worker::handler::{Echo, Handler, Noop};

use crate::problem::Problem;

/// Read where no other worker configuration is named, if it is there.
const DEFAULT_CONFIG: &str = "worker.toml";

/// Handlers by name.
pub(crate) type HandlerMap = BTreeMap<HandlerName, Arc<dyn Handler>>;

/// What workers of this process can do.
#[derive(Clone)]
pub(crate) struct Handlers(HandlerMap);

impl Handlers {
    /// `echo` and `noop`.
    pub(crate) fn built_in() -> Self {
        let built_in: [(&str, Arc<dyn Handler>); 2] = [("echo", Arc::new(Echo)), ("noop", Arc::new(Noop))];
        Self(built_in.map(|(name, handler)| (plain_name(name), handler)).into())
    }

    /// `echo`, `noop`, and what a file configures: the one at `path`, else ./worker.toml if it is there.
    pub(crate) fn from_worker_config(path: Option<&Path>) -> anyhow::Result<Self> {
        let default = Path::new(DEFAULT_CONFIG);
        match path.or_else(|| default.exists().then_some(default)) {
            Some(path) => Ok(Self(WorkerConfig::load(path)?.handlers)),
            None => Ok(Self::built_in()),
        }
    }

    /// Adds a handler. `name` is one of our own constants.
    pub(crate) fn with(mut self, name: &'static str, handler: impl Handler) -> Self {
        self.0.insert(plain_name(name), Arc::new(handler));
        self
    }

    /// Puts something around each handler.
    pub(crate) fn map(self, around: impl Fn(Arc<dyn Handler>) -> Arc<dyn Handler>) -> Self {
        Self(self.0.into_iter().map(|(name, handler)| (name, around(handler))).collect())
    }

    /// All handlers.
    pub(crate) fn into_map(self) -> HandlerMap {
        self.0
    }

    /// The names of all handlers.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(HandlerName::as_str).collect()
    }

    /// Makes sure that the handler `name` is there and can work.
    pub(crate) async fn check(&self, name: &str) -> Result<(), Problem> {
        let Some((_, handler)) = self.0.iter().find(|(known, _)| known.as_str() == name) else {
            return Err(Problem::new(format!("there is no handler `{name}`"))
                .advise(format!("there are {}", self.names().join(", ")))
                .advise(
                    "others are configured in ./worker.toml, or in the file that --worker-config names",
                ));
        };
        let checked = handler.check().await;
        checked.map_err(|reason| Problem::new(format!("the handler `{name}` cannot work: {reason}")))
    }
}

fn plain_name(name: &'static str) -> HandlerName {
    HandlerName::new(name).expect("a plain word is a handler's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handler_that_nobody_configured_is_refused_with_those_that_are_there() {
        let handlers = Handlers::built_in();
        assert!(handlers.check("echo").await.is_ok());
        let problem = anyhow::Error::from(handlers.check("eco").await.unwrap_err());
        let text = crate::problem::render(&problem);
        assert!(text.contains("no handler `eco`") && text.contains("echo, noop"), "{text}");
    }

    #[test]
    fn a_worker_file_adds_its_handlers_to_the_built_in_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[handlers.clean]\ntype = 'exec'\ncommand = ['cat']\n").unwrap();
        let handlers = Handlers::from_worker_config(Some(file.path())).unwrap();
        assert_eq!(handlers.names(), ["clean", "echo", "noop"]);
        assert!(Handlers::from_worker_config(Some(Path::new("no/such.toml"))).is_err());
    }
}
