//! The certificate authorities that vouch for a store, beside those of the machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{ConnectorBuilder, proxy::ProxyConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// The most that a file of certificates holds: the bundle of a whole system has a fifth of it.
const MAX_CA_FILE_BYTES: u64 = 1 << 20;

/// Certificates in PEM that were read and are valid.
#[derive(Clone)]
pub struct CaCertificates {
    pem: Arc<Vec<u8>>,
}

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificates in {} cannot be used: {reason}; name a PEM file with the authority's certificate", .path.display())]
pub struct InvalidCaFile {
    path: PathBuf,
    reason: String,
}

impl CaCertificates {
    /// Reads a PEM file and proves that each certificate in it can be used.
    pub fn read(path: &Path) -> Result<Self, InvalidCaFile> {
        let invalid = |reason: String| InvalidCaFile { path: path.to_owned(), reason };
        let pem = read_bounded(path).map_err(|error| invalid(error.to_string()))?;
        check(&pem).map_err(invalid)?;
        Ok(Self { pem: Arc::new(pem) })
    }

    /// An HTTP client like the SDK's own, that trusts these authorities too.
    pub(super) fn http_client(&self) -> SharedHttpClient {
        let trusted = TrustStore::default().with_pem_certificate(self.pem.to_vec());
        let context = TlsContext::builder().with_trust_store(trusted).build();
        let context = context.expect("the certificates were checked when they were read");
        aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = ConnectorBuilder::default()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        })
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_CA_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_CA_FILE_BYTES} bytes")));
    }
    std::fs::read(path)
}

/// The SDK panics on certificates that it cannot take.
fn check(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error: pem::Error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn reason(content: &[u8]) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        CaCertificates::read(file.path()).err().unwrap().reason
    }

    #[test]
    fn a_file_without_usable_certificates_is_refused_when_it_is_read() {
        assert_eq!(reason(b"no PEM"), "there is no certificate in it");
        let half = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(reason(half).contains("section end"), "{}", reason(half));
        let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(!reason(nonsense).is_empty());
        let missing = CaCertificates::read(Path::new("/nowhere/ca.pem")).err().unwrap().to_string();
        assert!(missing.starts_with("the certificates in /nowhere/ca.pem cannot be used: "), "{missing}");
    }
}
