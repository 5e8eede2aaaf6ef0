//! What the tests of the handler share, whatever the database.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::HandlerConfig;
use warifu_common::config::{Source, WorkerConfig};
use warifu_common::model::HandlerName;

use super::Sql;
use crate::handler::{BatchIdentity, Handler as _, HandlerAnswer};
use crate::testing::call_in;

/// A handler as worker.toml configures it; `toml` stands below its section.
pub(super) fn handler_for(url: &str, toml: &str) -> Sql {
    configured(url, toml).unwrap()
}

/// The same, or why it cannot be.
pub(super) fn configured(url: &str, toml: &str) -> Result<Sql, String> {
    let toml = toml.replace("[columns]", "[handlers.t.columns]");
    let text = format!("[handlers.t]\ntype = 'sql'\nurl = '{url}'\n{toml}");
    let source = Source::new(None, &text, BTreeMap::new(), Vec::new()).unwrap();
    let config = WorkerConfig::from_source(source).unwrap();
    match &config.handlers[&HandlerName::new("t").unwrap()].handler {
        HandlerConfig::Sql(config) => Sql::new(config.clone()),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn call(handler: &Sql, csv: &str, identity: BatchIdentity) -> HandlerAnswer {
    handler.call(call_in(csv, identity), CancellationToken::new()).await
}

/// Positions and names of the failures.
pub(super) fn failed(answer: &HandlerAnswer) -> Vec<(usize, &str)> {
    match answer {
        HandlerAnswer::Succeeded => Vec::new(),
        HandlerAnswer::Answered { failures, .. } => {
            failures.iter().map(|failed| (failed.position, failed.failure.error.as_str())).collect()
        }
        HandlerAnswer::Failed(_) | HandlerAnswer::RunFailed(_) => panic!("{answer:?}"),
    }
}
