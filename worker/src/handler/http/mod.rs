//! `http`: a service that gets each batch by POST and answers it.
//!
//! `client.rs` makes connections, `exchange.rs` sends one request and takes a bounded answer, `reply.rs` says what an answer
//! means, `repeats.rs` when a request is sent again within the attempt.
//!
//! **Invariant:** no failure holds a configured secret: a service may repeat what it was sent, so that every failure goes
//! through `Secrets`.

mod client;
mod exchange;
mod repeats;
mod reply;
mod secrets;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;
use tracing::trace;
use warifu_common::config::handlers::HttpConfig;
use warifu_common::model::{CallFailure, error_name};
use warifu_common::telemetry::traces::TRACE_PARENT_HEADER;

use self::client::Client;
use self::exchange::{Broken, Reply};
use self::repeats::Repeats;
use self::secrets::Secrets;
use super::event_format::{Invoke, call_by_event, wants_bare_items};
use super::{BatchCall, Handler, HandlerAnswer};
use crate::clock::wall_now;

/// Who calls.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("warifu/", env!("CARGO_PKG_VERSION")));

/// Stands for all requests with the same items.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When nobody waits for the answer any more, in milliseconds since 1970.
const DEADLINE: HeaderName = HeaderName::from_static("warifu-deadline");

/// Calls a service for each batch.
pub struct Http {
    config: HttpConfig,
    client: Client,
    /// Those that every request has.
    headers: HeaderMap,
    secrets: Secrets,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Http {
    /// The service that `config` names. An error says why it can never be called, as when its `ca_file` cannot be read.
    pub fn new(config: HttpConfig) -> Result<Self, String> {
        let client = client::client(&config)?;
        Ok(Self { client, headers: headers(&config)?, secrets: Secrets::of(&config), config })
    }

    fn idempotency_key(&self, call: &BatchCall) -> HeaderValue {
        let key = if wants_bare_items(self.config.event_format, call) {
            call.item_idempotency_key(0)
        } else {
            call.idempotency_key()
        };
        HeaderValue::from_str(&key).expect("names of runs, numbers and slashes are visible ASCII")
    }

    /// Sends the event until there is an answer that counts.
    async fn answer(&self, call: &BatchCall, event: Bytes) -> Result<Vec<u8>, CallFailure> {
        let mut repeats = Repeats::new(self.config.retries, call.identity().deadline);
        loop {
            let exchanged = self.exchange(call, event.clone()).await;
            let Some(pause) = repeats.pause(&exchanged, wall_now(), rand::random()) else {
                return self.read(exchanged, repeats.made());
            };
            trace!(pause_ms = pause.as_millis(), "the service cannot take a batch now, it is sent again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn exchange(&self, call: &BatchCall, event: Bytes) -> Result<Reply, Broken> {
        let mut headers = self.headers.clone();
        headers.insert(IDEMPOTENCY_KEY, self.idempotency_key(call));
        headers.insert(DEADLINE, call.identity().deadline.0.into());
        if let Some(place) = call.trace_parent() {
            let place =
                HeaderValue::from_str(&place.to_string()).expect("it is hexadecimal digits and hyphens");
            headers.insert(TRACE_PARENT_HEADER, place);
        }
        exchange::exchange(&self.client, &self.config, headers, event).await
    }

    fn read(&self, exchanged: Result<Reply, Broken>, repeats: u32) -> Result<Vec<u8>, CallFailure> {
        let read = match exchanged {
            Ok(reply) => reply::read(self.config.protocol, reply, self.config.max_response_bytes),
            Err(broken) => Err(broken.failure(&self.config)),
        };
        read.map_err(|mut failure| {
            if repeats > 0 {
                failure.cause = format!("{} requests; the last: {}", repeats + 1, failure.cause);
            }
            failure
        })
    }
}

#[async_trait]
impl Invoke for Http {
    async fn invoke(
        &self,
        call: &BatchCall,
        event: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, CallFailure> {
        // Dropping the request ends it: its connection or stream is closed.
        let answer = cancel.run_until_cancelled(self.answer(call, event.into())).await;
        answer.unwrap_or_else(|| Err(CallFailure::system(error_name::ABORTED, "nobody waits for the answer")))
    }
}

#[async_trait]
impl Handler for Http {
    // A service may be started after the worker, or again while it runs: nothing is asked of it before it is needed.

    fn takes_events(&self) -> bool {
        true
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        self.secrets.hide_in(call_by_event(self, self.config.event_format, &call, &cancel).await)
    }
}

/// The headers that every request has.
fn headers(config: &HttpConfig) -> Result<HeaderMap, String> {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, json.clone()),
        (header::ACCEPT, json),
        (header::USER_AGENT, USER_AGENT),
    ]);
    let authorization = config.url.authorization().map(|value| (header::AUTHORIZATION.as_str(), value));
    let configured = config.headers.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in configured.chain(authorization) {
        let problem = || format!("the header {name:?} cannot be sent");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| problem())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| problem())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
