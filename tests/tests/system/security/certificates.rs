//! Certificates of authorities that exist for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority, and a directory that its certificates lie in.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// Makes one; its certificate is `NAME.pem`.
    pub(super) fn create(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate that names its holder as its issuer for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory: directory.to_owned() };
        authority.write(&format!("{name}.pem"), &authority.pem());
        authority
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes `NAME.pem` and `NAME.key` for 127.0.0.1, in place of older ones.
    pub(super) fn sign(&self, name: &str) {
        self.issue(name, CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap());
    }

    /// The same, for a time that is over.
    pub(super) fn sign_expired(&self, name: &str) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        self.issue(name, params);
    }

    fn issue(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.key"), &key.serialize_pem());
        self.write(&format!("{name}.pem"), &signed.pem());
    }

    /// Whole or not at all, as Kubernetes and certificate agents do.
    fn write(&self, name: &str, text: &str) {
        let next = self.directory.join(format!("{name}.next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.directory.join(name)).unwrap();
    }
}
