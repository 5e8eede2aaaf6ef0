//! Connections of the simulated network, as the gRPC stack takes them.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::codegen::http::Uri;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};
use warifu_common::transport::Dial;

use crate::plan::Host;
use crate::scene::{Scene, elapsed};

/// Where coordinators listen.
pub(crate) const PORT: u16 = 7400;

/// The address of a coordinator.
pub(crate) fn endpoint(coordinator: usize) -> String {
    format!("http://{}:{PORT}", Host::Coordinator(coordinator))
}

/// One end of a connection. It reads nothing while its host is stalled.
pub(crate) struct Wire {
    stream: TcpStream,
    host: Host,
    scene: Arc<Scene>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    fn new(stream: TcpStream, host: Host, scene: Arc<Scene>) -> Self {
        Self { stream, host, scene, stalled: None }
    }

    /// Ready when the host reads.
    fn poll_awake(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(stalled) = &mut self.stalled {
                ready!(stalled.as_mut().poll(context));
                self.stalled = None;
            }
            let left = self.scene.stalled_until(self.host).and_then(|until| until.checked_sub(elapsed()));
            match left {
                Some(left) if !left.is_zero() => self.stalled = Some(Box::pin(tokio::time::sleep(left))),
                Some(_) | None => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_awake(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Listens on this host and gives what comes.
pub(crate) async fn incoming(
    host: Host,
    scene: Arc<Scene>,
) -> io::Result<impl Stream<Item = io::Result<Wire>> + Send> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    Ok(stream::unfold((listener, scene), move |(listener, scene)| async move {
        let accepted = listener.accept().await;
        let wire = accepted.map(|(stream, _)| Wire::new(stream, host, scene.clone()));
        Some((wire, (listener, scene)))
    }))
}

/// Makes connections from one host.
#[derive(Clone)]
pub(crate) struct SimulatedNetwork {
    pub(crate) host: Host,
    pub(crate) scene: Arc<Scene>,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedNetwork({})", self.host)
    }
}

impl SimulatedNetwork {
    fn connect(self, uri: Uri) -> BoxFuture<'static, io::Result<TokioIo<Wire>>> {
        async move {
            let address = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(PORT));
            let stream = TcpStream::connect(address).await?;
            self.scene.connected();
            Ok(TokioIo::new(Wire::new(stream, self.host, self.scene)))
        }
        .boxed()
    }
}

#[async_trait]
impl Dial for SimulatedNetwork {
    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        let network = self.clone();
        endpoint.connect_with_connector(tower::service_fn(move |uri| network.clone().connect(uri))).await
    }

    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel {
        let network = self.clone();
        endpoint.connect_with_connector_lazy(tower::service_fn(move |uri| network.clone().connect(uri)))
    }
}
