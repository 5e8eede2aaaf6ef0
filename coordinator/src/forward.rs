//! Passes API calls on to the leader while this process does not lead.
//!
//! A layer before the services: it hands the call's bytes on as they are and the answer's back, streams included, and knows
//! nothing of what they say. So a client may call any coordinator.
//!
//! **Invariant:** a call is passed on once at most; the process that gets it answers for itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::transport::Channel;
use tower::Service as _;
use warifu_common::transport::{self, Dial};

use crate::api::ApiError;
use crate::driver::{DriverHandle, Leadership};
use crate::intercept::{Intercept, Services};
use crate::state_store::Leader;

/// What marks a call that was passed on.
const FORWARDED: &str = "warifu-forwarded";

/// How long a call waits while nobody leads: longer than a hand-over, and than a failure of one member of the state store.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

/// Services whose calls any coordinator takes. A worker is told where the leader is instead; health, and what the API looks
/// like, is each process's own.
const FORWARDED_SERVICES: [&str; 3] =
    ["/warifu.v1.MapRunService/", "/warifu.v1.FleetService/", "/externalscaler.ExternalScaler/"];

/// Marks the answer of another process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PassedOn;

/// Passes calls on; cheap to clone.
#[derive(Clone)]
pub(crate) struct Forward {
    driver: DriverHandle,
    dial: Arc<dyn Dial>,
    shutdown: CancellationToken,
    /// The connection to the latest leader. Locked for a look only.
    channel: Arc<Mutex<Option<(String, Channel)>>>,
}

impl Forward {
    pub(crate) fn new(driver: DriverHandle, dial: Arc<dyn Dial>, shutdown: CancellationToken) -> Self {
        Self { driver, dial, shutdown, channel: Arc::default() }
    }

    /// Where a call is to be answered, once that is known or has not become known in time.
    async fn leadership(&self) -> Leadership {
        let mut leadership = self.driver.leading();
        // Both only wait.
        tokio::select! {
            _ = timeout(LEADER_PATIENCE, leadership.wait_for(Leadership::is_settled)) => {}
            () = self.shutdown.cancelled() => {}
        }
        leadership.borrow().clone()
    }

    async fn pass_on(&self, leader: Leader, request: Request<Body>) -> Response<Body> {
        let unreachable = |source: tonic::transport::Error| ApiError::LeaderUnreachable {
            endpoint: leader.endpoint.clone(),
            source: Box::new(source),
        };
        match self.send(&leader.endpoint, request).await {
            Ok(response) => response,
            Err(SendError::Endpoint(error)) => refuse(ApiError::Internal(Box::new(error))),
            Err(SendError::Transport(error)) => refuse(unreachable(error)),
        }
    }

    async fn send(&self, endpoint: &str, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        request.headers_mut().insert(FORWARDED, HeaderValue::from_static("true"));
        let mut channel = self.channel(endpoint)?;
        poll_fn(|context| channel.poll_ready(context)).await?;
        let mut response = channel.call(request).await?;
        response.extensions_mut().insert(PassedOn);
        Ok(response)
    }

    /// The connection to `endpoint`. It is opened by the first call and opened again when it breaks.
    fn channel(&self, endpoint: &str) -> Result<Channel, transport::InvalidEndpoint> {
        let mut known = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, channel)) = known.as_ref().filter(|(known, _)| known == endpoint) {
            return Ok(channel.clone());
        }
        let channel = self.dial.dial_lazily(&transport::endpoint(endpoint)?);
        *known = Some((endpoint.to_owned(), channel.clone()));
        Ok(channel)
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Endpoint(#[from] transport::InvalidEndpoint),
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

fn refuse(error: ApiError) -> Response<Body> {
    tonic::Status::from(error).into_http()
}

fn is_for_the_leader(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    FORWARDED_SERVICES.iter().any(|service| path.starts_with(service))
}

impl Intercept for Forward {
    async fn intercept<S: Services>(
        self,
        mut services: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, S::Error> {
        if !is_for_the_leader(&request) {
            return services.call(request).await;
        }
        // One hop at most: who passed it on may have been wrong about this process, and must hear so.
        let was_passed_on = request.headers().contains_key(FORWARDED);
        match self.leadership().await {
            Leadership::Elsewhere(leader) if !was_passed_on => Ok(self.pass_on(leader, request).await),
            Leadership::Nobody { problem: Some(problem) } => {
                Ok(refuse(ApiError::StoreUnavailable((*problem).into())))
            }
            Leadership::Here(_) | Leadership::Elsewhere(_) | Leadership::Nobody { problem: None } => {
                services.call(request).await
            }
        }
    }
}
