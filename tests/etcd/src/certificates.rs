//! Certificates of an authority that exists for one test.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// `ca.pem`; `server.pem` for 127.0.0.1 and `client.pem`, each with its `.key`.
#[derive(Debug)]
pub struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    /// Makes new ones.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn create() -> Self {
        let certificates = Self { directory: tempfile::tempdir().expect("a directory for certificates") };
        let mut authority = CertificateParams::new(Vec::new()).expect("no name is wrong");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority signs itself");
        certificates.write("ca.pem", &authority.pem());
        for name in ["server", "client"] {
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
            let key = key();
            let signed = params.signed_by(&key, &authority).expect("the authority signs");
            certificates.write(&format!("{name}.pem"), &signed.pem());
            certificates.write(&format!("{name}.key"), &key.serialize_pem());
        }
        certificates
    }

    /// Where one of them lies.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("test paths are UTF-8").to_owned()
    }

    /// Where all of them lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).expect("a file for a certificate");
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key is made")
}
