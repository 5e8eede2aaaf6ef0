//! Connections: taken up to a number, encrypted if there are certificates, and only then handed on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, warn};
use warifu_common::security::{ServerCertificates, is_client_verified};

/// A handshake that takes longer is given up: nothing holds a place for nothing.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once. Each costs a signature; more wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 256;
/// Connections beyond the limit that are told so; what comes after them is closed without a word.
const SPARE_CONNECTIONS: usize = 64;
/// Connections that are ready and not yet taken.
const READY_CONNECTIONS: usize = 16;
/// Before the next attempt when no connection can be taken: file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    is_one_too_many: bool,
    is_verified: bool,
}

impl Peer {
    /// True if this connection is beyond the limit: its calls are to be refused.
    pub(crate) fn is_one_too_many(&self) -> bool {
        self.is_one_too_many
    }

    /// True if it showed a certificate that the client authority signed.
    pub(crate) fn is_verified(&self) -> bool {
        self.is_verified
    }
}

/// Connections that are ready.
#[derive(Debug)]
pub(crate) struct Connections {
    ready: mpsc::Receiver<Connection>,
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: MaybeTls,
    peer: Peer,
    /// Its place among those that may be.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum MaybeTls {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Takes connections.
struct Acceptor {
    certificates: Option<Arc<ServerCertificates>>,
    places: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    ready: mpsc::Sender<Connection>,
}

impl Connections {
    /// Takes connections until `stop`, at most `limit` at once.
    pub(crate) fn accept(
        listener: TcpListener,
        certificates: Option<ServerCertificates>,
        limit: u32,
        stop: CancellationToken,
    ) -> Self {
        let (sender, ready) = mpsc::channel(READY_CONNECTIONS);
        let acceptor = Arc::new(Acceptor {
            certificates: certificates.map(Arc::new),
            places: Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS))),
            spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            ready: sender,
        });
        tokio::spawn(async move {
            // Dropping the accept loses at most a connection that nobody has begun to serve.
            tokio::select! {
                () = acceptor.run(&listener) => {}
                () = stop.cancelled() => {}
            }
        });
        Self { ready }
    }

    /// The next one; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<Connection> {
        self.ready.recv().await
    }

    /// As a stream.
    pub(crate) fn into_stream(self) -> impl futures::Stream<Item = io::Result<Connection>> {
        futures::stream::unfold(self, |mut connections| async move {
            let connection = connections.next().await?;
            Some((Ok(connection), connections))
        })
    }
}

impl Acceptor {
    async fn run(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection cannot be taken");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = self.places.clone().try_acquire_owned();
            let (place, is_one_too_many) = match place {
                Ok(place) => (place, false),
                Err(_) => match self.spare.clone().try_acquire_owned() {
                    Ok(place) => (place, true),
                    Err(_) => {
                        warn!(%address, "too many connections are open, one was closed");
                        continue;
                    }
                },
            };
            let Ok(handshake) = self.handshakes.clone().acquire_owned().await else { return };
            let acceptor = self.clone();
            tokio::spawn(async move {
                let peer = Peer { is_one_too_many, is_verified: false };
                match timeout(HANDSHAKE_TIMEOUT, acceptor.secured(stream, peer, place)).await {
                    Ok(Ok(connection)) => {
                        drop(handshake);
                        // Nobody takes it if the server has ended.
                        let _ = acceptor.ready.send(connection).await;
                    }
                    Ok(Err(error)) => {
                        warn!(%address, %error, "a connection was refused: its handshake failed")
                    }
                    Err(_) => debug!(%address, "a connection was closed: its handshake did not end in time"),
                }
            });
        }
    }

    async fn secured(
        &self,
        stream: TcpStream,
        mut peer: Peer,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Connection> {
        // Messages are small and wait for each other: delaying them costs a round trip each.
        stream.set_nodelay(true)?;
        let stream = match &self.certificates {
            None => MaybeTls::Plain(stream),
            Some(certificates) => {
                let stream = TlsAcceptor::from(certificates.current()).accept(stream).await?;
                peer.is_verified = is_client_verified(stream.get_ref().1);
                MaybeTls::Tls(Box::new(stream))
            }
        };
        Ok(Connection { stream, peer, _place: place })
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.next().await {
            Some(connection) => {
                let peer = connection.peer.clone();
                (connection, peer)
            }
            // The server is told to stop by other means.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { is_one_too_many: false, is_verified: false })
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Connections>) -> Self {
        stream.remote_addr().clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            MaybeTls::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            MaybeTls::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            MaybeTls::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            MaybeTls::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            MaybeTls::Plain(stream) => Pin::new(stream).poll_flush(context),
            MaybeTls::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            MaybeTls::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            MaybeTls::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
