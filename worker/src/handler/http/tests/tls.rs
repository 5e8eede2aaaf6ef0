//! Certificates of an authority of one's own.

use std::io::Write as _;
use std::net::SocketAddr;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A service at `localhost` that answers with the version of HTTP, and the authority of its certificate as PEM.
async fn start() -> (SocketAddr, String) {
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config =
        builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let body = format!("[\"{:?}\", 2]", request.version());
                    Ok::<_, std::convert::Infallible>(http::Response::new(body))
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, ca.pem())
}

fn file_of(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn a_service_of_the_named_authority_is_trusted_and_no_other() {
    let (address, pem) = start().await;
    let ca_file = file_of(&pem);
    let ca_file = format!("retries = 0\nca_file = '{}'", ca_file.path().display());
    let url = format!("https://localhost:{}/", address.port());
    let answer = handler(&url, &ca_file).call(call(), CancellationToken::new()).await;
    assert_eq!(outputs(answer), ["\"HTTP/2.0\"", "2"]);
    let (_, other_pem) = start().await;
    let other = file_of(&other_pem);
    let other = format!("retries = 0\nca_file = '{}'", other.path().display());
    let untrusted = handler(&url, &other).call(call(), CancellationToken::new()).await;
    let misnamed =
        handler(&format!("https://{address}/"), &ca_file).call(call(), CancellationToken::new()).await;
    for answer in [untrusted, misnamed] {
        let failure = failed(answer);
        assert_eq!(failure.error, "Http.ConnectFailed");
        assert!(failure.cause.contains("certificate"), "{}", failure.cause);
    }
}

#[tokio::test]
async fn a_file_without_a_certificate_keeps_the_handler_from_being_made() {
    for (text, reason) in [("", "holds no certificate"), ("-----BEGIN CERTIFICATE-----\n!\n", "the ca_file")]
    {
        let file = file_of(text);
        let toml = format!("ca_file = '{}'", file.path().display());
        let error = Http::new(config("https://localhost/", &toml)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let error = Http::new(config("https://localhost/", "ca_file = '/does/not/exist'")).unwrap_err();
    assert!(error.contains("/does/not/exist"), "{error}");
}

#[tokio::test]
async fn a_connection_that_does_not_get_ready_is_given_up() {
    // Takes the connection, and says nothing to the handshake.
    let server = Server::start(|_| Act::Hang(String::new())).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let (_, pem) = start().await;
    let ca_file = file_of(&pem);
    let toml = format!("retries = 0\nconnect_timeout = '100ms'\nca_file = '{}'", ca_file.path().display());
    let failure = failed(handler(&url, &toml).call(call(), CancellationToken::new()).await);
    assert_eq!(failure.error, "Http.ConnectFailed");
}
