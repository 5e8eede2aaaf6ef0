//! A well-behaved S3 server in this process, over a directory. It ignores `If-Match` on GET, as some stores do.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use s3s::auth::{S3Auth, SecretKey, SimpleAuth};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{ACCESS_KEY, SECRET_KEY};

/// The running server; it stops, and its objects go away, when dropped.
pub(super) struct S3Server {
    pub(super) endpoint: String,
    directory: TempDir,
    task: JoinHandle<()>,
}

impl S3Server {
    pub(super) async fn start() -> Self {
        Self::start_with(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY), None).await
    }

    /// With keys that change.
    pub(super) async fn start_with_auth(keys: KnownKeys) -> Self {
        Self::start_with(keys, None).await
    }

    /// At an `https` endpoint.
    pub(super) async fn start_with_tls(certificate: &TestCertificate) -> Self {
        Self::start_with(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY), Some(certificate)).await
    }

    async fn start_with(auth: impl S3Auth, certificate: Option<&TestCertificate>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = FileSystem::new(directory.path()).expect("the directory exists");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(auth);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let tls = certificate.map(TestCertificate::acceptor);
        let task = tokio::spawn(serve(listener, service.build(), tls));
        Self { endpoint: format!("{scheme}://{address}"), directory, task }
    }

    /// The directory that holds the buckets.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, service: S3Service, tls: Option<TlsAcceptor>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        answer(socket, service).await;
                    }
                }
                None => answer(socket, service).await,
            }
        });
    }
}

async fn answer(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

/// The access keys that a server knows; all others it takes for expired.
#[derive(Clone)]
pub(super) struct KnownKeys {
    known: Arc<Mutex<BTreeSet<&'static str>>>,
    refused: Arc<AtomicUsize>,
}

impl KnownKeys {
    pub(super) fn new<const N: usize>(keys: [&'static str; N]) -> Self {
        Self { known: Arc::new(Mutex::new(keys.into())), refused: Arc::default() }
    }

    pub(super) fn replace<const N: usize>(&self, keys: [&'static str; N]) {
        *self.known.lock().expect("no panic before") = keys.into();
    }

    /// Requests that were refused so far.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl S3Auth for KnownKeys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if self.known.lock().expect("no panic before").contains(access_key) {
            return Ok(SECRET_KEY.into());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(s3_error!(ExpiredToken, "The provided token has expired."))
    }
}

/// A certificate for 127.0.0.1, and the authority that signed it.
pub(super) struct TestCertificate {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl TestCertificate {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key is made");
        Self { authority: CertifiedIssuer::self_signed(params, key).expect("an authority signs itself") }
    }

    pub(super) fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        let key = KeyPair::generate().expect("a key is made");
        let signed = params.signed_by(&key, &self.authority).expect("the authority signs");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the default versions").with_no_client_auth();
        let config = builder.with_single_cert(vec![signed.der().clone()], key).expect("they fit");
        TlsAcceptor::from(Arc::new(config))
    }
}
