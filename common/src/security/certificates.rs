//! From PEM files to what rustls wants, for both sides of a connection.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

use super::{FileProblem, Watched};
use crate::config::{ClientTlsConfig, ServerTlsConfig};

/// What a server proves itself with, and whom it lets in.
#[derive(Debug)]
pub struct ServerCertificates {
    watched: Watched<ServerConfig>,
}

impl ServerCertificates {
    /// For the API: HTTP/2 for gRPC, HTTP/1.1 for JSON alone, and a certificate from every client if there is a
    /// `client_ca_file`.
    pub fn for_api(config: &ServerTlsConfig) -> Result<Self, FileProblem> {
        Self::open(config, "the API server's certificates", &[b"h2", b"http/1.1"], false)
    }

    /// For HTTP: a client need not have a certificate (probes have none), but one that is shown must be right.
    pub fn for_http(config: &ServerTlsConfig) -> Result<Self, FileProblem> {
        Self::open(config, "the HTTP server's certificates", &[b"http/1.1"], true)
    }

    fn open(
        config: &ServerTlsConfig,
        what: &'static str,
        protocols: &'static [&'static [u8]],
        anonymous: bool,
    ) -> Result<Self, FileProblem> {
        let (cert_file, key_file) = (config.cert_file.clone(), config.key_file.clone());
        let ca_file = config.client_ca_file.clone();
        let files = [&cert_file, &key_file].into_iter().chain(&ca_file).cloned().collect();
        let build = move |contents: &[Vec<u8>]| {
            let (certificates, key) = identity((&cert_file, &contents[0]), (&key_file, &contents[1]))?;
            let builder = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(|error| FileProblem::new(&cert_file, error))?;
            let builder = match &ca_file {
                None => builder.with_no_client_auth(),
                Some(file) => {
                    let roots = Arc::new(authorities(file, &contents[2])?);
                    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                    let verifier = if anonymous { verifier.allow_unauthenticated() } else { verifier };
                    builder.with_client_cert_verifier(
                        verifier.build().map_err(|error| FileProblem::new(file, error))?,
                    )
                }
            };
            let mut server = builder.with_single_cert(certificates, key).map_err(|error| {
                FileProblem::new(&cert_file, format!("cannot be used with its key: {error}"))
            })?;
            // A session that goes on is not checked again: its certificate may have expired since.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Ok(server)
        };
        Ok(Self { watched: Watched::open(what, files, build)? })
    }

    /// What new connections are made with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.watched.current()
    }
}

/// Whether the client showed a certificate, which was checked during the handshake then.
pub fn is_client_verified(connection: &ServerConnection) -> bool {
    connection.peer_certificates().is_some_and(|certificates| !certificates.is_empty())
}

/// What a client proves itself with, and whom it trusts.
pub(super) fn client(config: &ClientTlsConfig) -> Result<Watched<ClientConfig>, FileProblem> {
    let ca_file = config.ca_file.clone();
    let identity_files = config.cert_file.clone().zip(config.key_file.clone());
    let pair = identity_files.iter().flat_map(|(cert_file, key_file)| [cert_file, key_file]);
    let files = ca_file.iter().chain(pair).cloned().collect();
    let build = move |contents: &[Vec<u8>]| {
        let (roots, rest) = match (&ca_file, contents.split_first()) {
            (Some(file), Some((content, rest))) => (authorities(file, content)?, rest),
            _ => (authorities_of_the_system()?, contents),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| FileProblem::new("TLS", error))?
            .with_root_certificates(roots);
        let mut client = match (&identity_files, rest) {
            (Some((cert_file, key_file)), [certificates, key]) => {
                let (certificates, key) = identity((cert_file, certificates), (key_file, key))?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| {
                    FileProblem::new(cert_file, format!("cannot be used with its key: {error}"))
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(client)
    };
    Watched::open("this client's certificates", files, build)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn identity(
    (cert_file, certificates): (&PathBuf, &[u8]),
    (key_file, key): (&PathBuf, &[u8]),
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileProblem> {
    let certificates = parsed(cert_file, certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key);
    // The error of a parser may quote what it read.
    let key = key.map_err(|_| FileProblem::new(key_file, "holds no private key in PEM"))?;
    Ok((certificates, key))
}

fn authorities(file: &PathBuf, content: &[u8]) -> Result<RootCertStore, FileProblem> {
    let mut authorities = RootCertStore::empty();
    for certificate in parsed(file, content)? {
        authorities.add(certificate).map_err(|error| FileProblem::new(file, error))?;
    }
    Ok(authorities)
}

/// At least one certificate.
fn parsed(file: &PathBuf, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let certificates = certificates.map_err(|_| FileProblem::new(file, "is no valid PEM"))?;
    if certificates.is_empty() {
        return Err(FileProblem::new(file, "holds no certificate; it must be PEM"));
    }
    Ok(certificates)
}

fn authorities_of_the_system() -> Result<RootCertStore, FileProblem> {
    let mut authorities = RootCertStore::empty();
    let (usable, _) = authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(FileProblem::new("TLS", "this system has no certificate authorities; name a ca_file"));
    }
    Ok(authorities)
}
