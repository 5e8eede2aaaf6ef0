//! How gRPC connections are made: the one place that sets their limits.
//!
//! Every setting answers a known way for a connection to hang: a peer that vanished without a word, a message that does
//! not fit, headers beyond what HTTP/2 stacks take.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Server, Uri};

use crate::wire::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use crate::wire::v1::fleet_service_client::FleetServiceClient;
use crate::wire::v1::fleet_service_server::{FleetService, FleetServiceServer};
use crate::wire::v1::map_run_service_client::MapRunServiceClient;
use crate::wire::v1::map_run_service_server::{MapRunService, MapRunServiceServer};
use crate::wire::v1::worker_service_client::WorkerServiceClient;
use crate::wire::v1::worker_service_server::{WorkerService, WorkerServiceServer};

/// Largest message in either direction. tonic limits what it decodes, not what it encodes: set both, so that the sender
/// sees the error.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Flow control of a connection. It must hold several streams' windows, or one slow reader starves the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Flow control of a stream.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Most bytes of headers. Statuses stay far below it; beyond 16 KiB HTTP/2 stacks differ in how they break.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Streams that one connection may have open: watchers of many runs share a connection, and nothing else needs more.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 128;

/// A peer is asked for a sign of life so often. TCP alone takes a quarter of an hour to notice that it is gone.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// And is gone if it gives none for so long.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A coordinator that does not accept a connection for so long is not reachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why an address is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no endpoint: {reason}")]
pub struct InvalidEndpoint {
    /// What was given.
    pub address: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Opens the connections that [`endpoint`] describes: over TCP, or over another network that a test puts in its place.
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A connection that stands.
    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error>;

    /// A connection that its first call opens, and that is opened again when it breaks.
    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel;

    /// What calls over these connections carry as `authorization`.
    fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        None
    }
}

/// The network of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        if is_secured(endpoint) {
            return endpoint.connect_with_connector(tower::service_fn(refuse_secured)).await;
        }
        endpoint.connect().await
    }

    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel {
        if is_secured(endpoint) {
            return endpoint.connect_with_connector_lazy(tower::service_fn(refuse_secured));
        }
        endpoint.connect_lazy()
    }
}

/// What is meant to be encrypted is never sent as it is.
async fn refuse_secured(uri: Uri) -> std::io::Result<hyper_util::rt::TokioIo<tokio::net::TcpStream>> {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let problem =
        format!("https://{host} needs TLS, and no certificate authority is configured: name a ca_file");
    Err(std::io::Error::other(problem))
}

/// The scheme of an endpoint that is to be reached with TLS. tonic would refuse `https` over a connector of ours; what calls
/// carry as their scheme is `https`.
const SECURED_SCHEME: &str = "grpcs";

/// True if the address was `https://`.
pub(crate) fn is_secured(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some(SECURED_SCHEME)
}

/// A coordinator's address, `http://host:port` or `https://host:port`, with every setting of a client connection.
pub fn endpoint(address: &str) -> Result<Endpoint, InvalidEndpoint> {
    let invalid = |reason: String| InvalidEndpoint { address: address.to_owned(), reason };
    let form = || invalid("write http://host:port or https://host:port".to_owned());
    let uri: Uri = match address.split_once("://") {
        Some(("http", _)) => address.parse(),
        Some(("https", rest)) => format!("{SECURED_SCHEME}://{rest}").parse(),
        _ => return Err(form()),
    }
    .map_err(|error: tonic::codegen::http::uri::InvalidUri| invalid(error.to_string()))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(form());
    }
    let mut endpoint = Endpoint::from(uri);
    if is_secured(&endpoint) {
        let origin = address.parse().map_err(|_| form())?;
        endpoint = endpoint.origin(origin);
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// A server with every setting of its connections.
pub fn server() -> Server {
    Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
}

/// Serves map runs, within the message limit.
pub fn map_run_service<S: MapRunService>(service: S) -> MapRunServiceServer<S> {
    MapRunServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Serves the fleet, within the message limit.
pub fn fleet_service<S: FleetService>(service: S) -> FleetServiceServer<S> {
    FleetServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Serves workers, within the message limit.
pub fn worker_service<S: WorkerService>(service: S) -> WorkerServiceServer<S> {
    WorkerServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Serves KEDA, within the message limit.
pub fn external_scaler<S: ExternalScaler>(service: S) -> ExternalScalerServer<S> {
    ExternalScalerServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Calls the map run service, within the message limit.
pub fn map_run_client(channel: Channel) -> MapRunServiceClient<Channel> {
    MapRunServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Calls the fleet service, within the message limit.
pub fn fleet_client(channel: Channel) -> FleetServiceClient<Channel> {
    FleetServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Opens worker sessions, within the message limit.
///
/// A call does not resolve until the server's headers arrive: put the Hello into the request stream before awaiting it.
pub fn worker_client(channel: Channel) -> WorkerServiceClient<Channel> {
    WorkerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_connects() {
        assert!(!is_secured(&endpoint("http://127.0.0.1:7400").unwrap()));
        assert!(is_secured(&endpoint("https://warifu:7400").unwrap()));
        for (address, reason) in [
            ("127.0.0.1:7400", "write http://host:port"),
            ("ftp://a:1", "write http://host:port"),
            ("http://", "http://"),
            ("http://a b", "http://a b"),
            ("", "write http://host:port"),
        ] {
            let error = endpoint(address).unwrap_err().to_string();
            assert!(error.contains(reason), "{address}: {error}");
        }
    }
}
