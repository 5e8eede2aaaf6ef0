//! Connections to a coordinator: with TLS where the address says so, and with a token.

use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{BearerToken, FileProblem, Watched, certificates};
use crate::config::ClientTlsConfig;
use crate::transport::{Dial, Tcp, is_secured};

/// The network of this machine, with TLS and a token.
#[derive(Debug)]
pub struct SecureDial {
    /// Absent: addresses that are `https://` cannot be reached.
    tls: Option<Arc<Watched<ClientConfig>>>,
    token: BearerToken,
}

impl SecureDial {
    /// Reads the certificates if they were named or one of `endpoints` is `https://`. They are read again when they change.
    pub fn new(endpoints: &[String], tls: &ClientTlsConfig, token: BearerToken) -> Result<Self, FileProblem> {
        let secured = endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        let needed = secured || *tls != ClientTlsConfig::default();
        let tls = needed.then(|| certificates::client(tls)).transpose()?;
        Ok(Self { tls: tls.map(Arc::new), token })
    }
}

#[async_trait]
impl Dial for SecureDial {
    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        match &self.tls {
            Some(tls) if is_secured(endpoint) => {
                let tls = tls.clone();
                endpoint.connect_with_connector(tower::service_fn(move |uri| connect(uri, tls.clone()))).await
            }
            Some(_) | None => Tcp.dial(endpoint).await,
        }
    }

    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel {
        match &self.tls {
            Some(tls) if is_secured(endpoint) => {
                let tls = tls.clone();
                endpoint.connect_with_connector_lazy(tower::service_fn(move |uri| connect(uri, tls.clone())))
            }
            Some(_) | None => Tcp.dial_lazily(endpoint),
        }
    }

    fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        self.token.authorization()
    }
}

/// Each connection is made with the certificates that are in the files then.
async fn connect(
    uri: Uri,
    tls: Arc<Watched<ClientConfig>>,
) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    Ok(TokioIo::new(TlsConnector::from(tls.current()).connect(name, stream).await?))
}
