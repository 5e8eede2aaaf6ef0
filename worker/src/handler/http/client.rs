//! Connections to the service: HTTP/1.1, or HTTP/2 where TLS agrees on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use warifu_common::config::handlers::HttpConfig;

/// How long a connection without a request is kept. Servers close theirs after 2 s (Gunicorn) and more; a request that
/// meets a closing connection is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Finds peers that are gone while a request waits for its answer.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Sends requests over connections that it keeps. No proxies, no cookies, no redirects.
pub(super) type Client = legacy::Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// A client for the service. An error says what is wrong with its certificates.
pub(super) fn client(config: &HttpConfig) -> Result<Client, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    // Addresses of a name share it; below, it bounds all of them, the name's resolution and TLS together.
    tcp.set_connect_timeout(Some(config.connect_timeout));
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(config)?);
    let secured = tls.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
    let mut connector = TimeoutConnector::new(secured);
    connector.set_connect_timeout(Some(config.connect_timeout));
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    Ok(builder.build(connector))
}

fn tls(config: &HttpConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let trusting = match &config.ca_file {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None if config.url.is_https() => builder.with_native_roots().map_err(|error| {
            format!("the system's certificate authorities cannot be read ({error}); name a ca_file")
        })?,
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(trusting.with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let problem = |reason: &dyn std::fmt::Display| format!("the ca_file {}: {reason}", path.display());
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| problem(&error))? {
        let certificate = certificate.map_err(|error| problem(&error))?;
        authorities.add(certificate).map_err(|error| problem(&error))?;
    }
    if authorities.is_empty() {
        return Err(problem(&"holds no certificate; it must be PEM"));
    }
    Ok(authorities)
}
