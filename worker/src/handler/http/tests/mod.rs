//! The handler against real servers.

mod lambda;
mod plain;
mod server;
mod tls;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use warifu_common::config::{HandlerConfig, Source, WorkerConfig};
use warifu_common::model::{CallFailure, HandlerName, WallTime};

use self::server::{Act, Server, ok, response};
use super::Http;
use crate::clock::wall_now;
use crate::handler::{BatchCall, BatchIdentity, Handler, HandlerAnswer, RunFacts};
use crate::testing::{batch_of, facts, identity};

/// The handler of a section with these lines, for a URL.
fn handler(url: &str, toml: &str) -> Http {
    Http::new(config(url, toml)).unwrap()
}

fn config(url: &str, toml: &str) -> warifu_common::config::handlers::HttpConfig {
    let text = format!("[handlers.hook]\ntype = 'http'\nurl = '{url}'\n{toml}");
    let source = Source::new(None, &text, BTreeMap::new(), Vec::new()).unwrap();
    let config = WorkerConfig::from_source(source).unwrap();
    match &config.handlers[&HandlerName::new("hook").unwrap()].handler {
        HandlerConfig::Http(config) => config.clone(),
        other => panic!("{other:?}"),
    }
}

/// A call with a minute to go.
fn call() -> BatchCall {
    call_in(facts())
}

fn call_in(facts: RunFacts) -> BatchCall {
    let batch = batch_of(b"a\n1\n2\n");
    let identity = BatchIdentity { deadline: WallTime(wall_now().0 + 60_000), ..identity(7, 0) };
    BatchCall::new(Arc::new(facts), identity, batch, [0, 1])
}

async fn run(server: &Server, toml: &str) -> HandlerAnswer {
    let handler = handler(&format!("http://{}/hook", server.address), toml);
    handler.call(call(), CancellationToken::new()).await
}

/// What a service that always does `act` leads to.
async fn answer(act: Act, toml: &str) -> HandlerAnswer {
    let server = Server::start(move |_| act.clone()).await;
    run(&server, toml).await
}

fn failed(answer: HandlerAnswer) -> CallFailure {
    match answer {
        HandlerAnswer::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

async fn failure(act: Act, toml: &str) -> CallFailure {
    failed(answer(act, toml).await)
}

/// Outputs of all items, none of which failed.
fn outputs(answer: HandlerAnswer) -> Vec<String> {
    match answer {
        HandlerAnswer::Answered { outputs: Some(outputs), failures } if failures.is_empty() => (0..outputs
            .len())
            .map(|i| String::from_utf8_lossy(outputs.get(i).unwrap()).into_owned())
            .collect(),
        other => panic!("{other:?}"),
    }
}
