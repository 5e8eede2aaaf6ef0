//! An S3 server in this process over a directory: what `warifu` uses where nobody runs a store.
//!
//! Any S3 client reaches it (path style, one access key). A bucket is a directory below the root, an object a file in
//! it, so results can be looked at with `ls` and `less`. It is made for one machine: it listens on loopback only, does
//! not sync to disk, and keeps no versions. What it must not do is hand out bytes under another object's ETag; see
//! `objects`.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

mod listing;
mod objects;

use objects::Objects;

/// Most connections at once; further clients wait to be accepted. The S3 clients of this process share some dozens.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may be idle, or send the head of a request. Idle clients connect again without notice.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long requests in progress are waited for when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The pause after a failure to accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server, and how to reach it.
pub struct EmbeddedS3 {
    /// Its URL, such as `http://127.0.0.1:9000`. Clients must use path style.
    pub endpoint: String,
    /// The only access key that it knows.
    pub access_key: String,
    /// The secret of that key.
    pub secret_key: String,
    task: JoinHandle<()>,
}

impl EmbeddedS3 {
    /// Serves the directory `root`, which is made if it is missing, until `shutdown` is cancelled.
    ///
    /// `listener` must be bound to a loopback address: there is no TLS.
    pub fn start(
        root: &Path,
        listener: TcpListener,
        access_key: &str,
        secret_key: &str,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let address =
            listener.local_addr().context("the listener of the embedded S3 server has no address")?;
        ensure!(
            address.ip().is_loopback(),
            "the embedded S3 server listens on loopback only, not on {address}; use a real store to share objects"
        );
        let service = service(root, access_key, secret_key)?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            task: tokio::spawn(serve(listener, service, shutdown)),
        })
    }

    /// Returns once the server has stopped: requests in progress at the shutdown are finished, or were given up.
    pub async fn stopped(self) -> anyhow::Result<()> {
        self.task.await.context("the embedded S3 server failed")
    }
}

fn service(root: &Path, access_key: &str, secret_key: &str) -> anyhow::Result<S3Service> {
    let unusable = || format!("cannot keep objects in {}", root.display());
    std::fs::create_dir_all(root).with_context(unusable)?;
    let mut builder = S3ServiceBuilder::new(Objects::open(root).with_context(unusable)?);
    builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
    Ok(builder.build())
}

/// Accepts connections until the shutdown, then waits for those that are open.
async fn serve(listener: TcpListener, service: S3Service, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Some(socket) = shutdown.run_until_cancelled(accept(&listener)).await {
        let Some(Ok(permit)) = shutdown.run_until_cancelled(Arc::clone(&free).acquire_owned()).await else {
            break;
        };
        let connection = serve_connection(socket, service.clone(), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {} // forgets the connections that ended
    }
    connections.join_all().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                // An answer leaves in two pieces; without this the second waits 40 ms for the first one's acknowledgement.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%error, "a connection to the embedded S3 may be slow");
                }
                return socket;
            }
            Err(error) => {
                warn!(%error, "the embedded S3 server could not accept a connection, it tries again")
            }
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves one connection. After the shutdown a request in progress is finished within [`SHUTDOWN_GRACE`].
async fn serve_connection(socket: TcpStream, service: S3Service, shutdown: CancellationToken) {
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_HEAD_TIMEOUT);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = match shutdown.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(SHUTDOWN_GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(error, "a connection to the embedded S3 server broke off");
    }
}

#[cfg(test)]
mod tests;
