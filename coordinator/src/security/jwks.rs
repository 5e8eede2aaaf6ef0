//! The keys that signed tokens are checked with: from a file, or from the issuer's address.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use warifu_common::config::JwtKeys;
use warifu_common::error_chain::Chain;
use warifu_common::security::{FileProblem, Watched};

/// Keys are asked for again after so long.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// At the earliest: an unknown key asks for them too, and anybody can name one; and a failure is tried again.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// How long an answer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest key set.
const MAX_BYTES: usize = 1024 * 1024;

/// Where the keys come from.
pub(crate) enum KeySet {
    File(Watched<JwkSet>),
    Address { latest: watch::Receiver<Arc<JwkSet>>, wanted: Arc<Notify> },
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySet")
    }
}

impl KeySet {
    /// Reads the file, or begins to ask the address; until that has answered, no token is valid.
    pub(crate) fn open(keys: &JwtKeys) -> Result<Self, FileProblem> {
        match keys {
            JwtKeys::JwksFile(file) => {
                let path = file.clone();
                let parse = move |contents: &[Vec<u8>]| {
                    serde_json::from_slice(&contents[0]).map_err(|error| FileProblem {
                        file: path.clone(),
                        reason: format!("is no JSON Web Key Set: {error}"),
                    })
                };
                Ok(Self::File(Watched::open("the key set", vec![file.clone()], parse)?))
            }
            JwtKeys::JwksUrl(url) => {
                let problem = |reason: String| FileProblem { file: PathBuf::from(url), reason };
                let client = client().map_err(problem)?;
                let address =
                    url.parse::<http::Uri>().map_err(|error| problem(format!("is no address: {error}")))?;
                let (sender, latest) = watch::channel(Arc::new(JwkSet { keys: Vec::new() }));
                let wanted = Arc::new(Notify::new());
                tokio::spawn(keep_fetching(client, address, sender, wanted.clone()));
                Ok(Self::Address { latest, wanted })
            }
        }
    }

    pub(crate) fn current(&self) -> Arc<JwkSet> {
        match self {
            Self::File(file) => file.current(),
            Self::Address { latest, .. } => latest.borrow().clone(),
        }
    }

    /// A token named a key that is not there: the issuer may have a new one.
    pub(crate) fn refresh(&self) {
        match self {
            Self::File(_) => {}
            Self::Address { wanted, .. } => wanted.notify_one(),
        }
    }
}

type HttpClient = Client<
    hyper_rustls::HttpsConnector<hyper_util::client::legacy::connect::HttpConnector>,
    Empty<bytes::Bytes>,
>;

fn client() -> Result<HttpClient, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_native_roots()
        .map_err(|error| format!("the system's certificate authorities cannot be read: {error}"))?
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Asks until nobody wants keys any more.
async fn keep_fetching(
    client: HttpClient,
    address: http::Uri,
    keys: watch::Sender<Arc<JwkSet>>,
    wanted: Arc<Notify>,
) {
    loop {
        let fetched = timeout(FETCH_TIMEOUT, fetch(&client, &address)).await;
        let pause = match fetched.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(set) => {
                info!(keys = set.keys.len(), "the issuer's keys were read");
                keys.send_replace(Arc::new(set));
                REFRESH_INTERVAL
            }
            Err(error) => {
                warn!(error, "the issuer's keys cannot be read, the old ones stay");
                REFRESH_PAUSE
            }
        };
        // All branches of both only wait.
        tokio::select! {
            () = keys.closed() => return,
            () = sleep(REFRESH_PAUSE) => {}
        }
        tokio::select! {
            () = keys.closed() => return,
            () = sleep(pause.saturating_sub(REFRESH_PAUSE)) => {}
            () = wanted.notified() => {}
        }
    }
}

async fn fetch(client: &HttpClient, address: &http::Uri) -> Result<JwkSet, String> {
    let response = client.get(address.clone()).await.map_err(|error| Chain(&error).to_string())?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("the answer is {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("the answer is no JSON Web Key Set: {error}"))
}
