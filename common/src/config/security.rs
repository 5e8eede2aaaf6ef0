//! `[tls]` and `[auth]`: certificates, tokens, and the limits of those who connect.

use std::path::PathBuf;

use serde::Serialize;

use super::section::{Reader, Section};

/// The claim of a JWT that names the role, unless it is said.
const DEFAULT_ROLE_CLAIM: &str = "role";

/// `[tls]` of coordinator.toml: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerTlsConfig {
    /// The certificate, with those between it and an authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Who signs clients' certificates; absent: clients need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whom this process trusts when it calls the leader; absent: `client_ca_file`, else the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// `[tls]` of worker.toml, `[store.tls]`, and the flags of the command line: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ClientTlsConfig {
    /// Whom to trust; absent: the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// `[auth]`: who may call. At least one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthConfig {
    /// Lines of name, SHA-256 of a token, role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
    /// Signed tokens of an identity provider.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtConfig>,
}

/// The part of `[auth]` on signed tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JwtConfig {
    /// The keys that sign.
    #[serde(flatten)]
    pub keys: JwtKeys,
    /// `iss` of every token.
    pub issuer: String,
    /// One of `aud` of every token.
    pub audience: String,
    /// The claim that names the role, as a string or a list of strings.
    pub role_claim: String,
}

/// Where a JSON Web Key Set is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtKeys {
    /// In a file, which is read again when it changes.
    JwksFile(PathBuf),
    /// At an `https` address, which is asked every few minutes.
    JwksUrl(String),
}

impl ServerTlsConfig {
    pub(super) fn read(reader: &Reader) -> Option<Self> {
        let mut section = reader.section("tls");
        let (cert_file, key_file) = (section.path("cert_file"), section.path("key_file"));
        let (client_ca_file, ca_file) = (section.path("client_ca_file"), section.path("ca_file"));
        let wanted = section.is_present() || client_ca_file.is_some() || ca_file.is_some();
        if cert_file.is_some() != key_file.is_some() || (wanted && cert_file.is_none()) {
            section.problem("cert_file", "a certificate and its `key_file` are required");
        }
        section.finish();
        Some(Self { cert_file: cert_file?, key_file: key_file?, client_ca_file, ca_file })
    }

    /// How this process presents itself to the leader, and whom it trusts then.
    pub fn as_client(&self) -> ClientTlsConfig {
        ClientTlsConfig {
            ca_file: self.ca_file.clone().or_else(|| self.client_ca_file.clone()),
            cert_file: Some(self.cert_file.clone()),
            key_file: Some(self.key_file.clone()),
        }
    }
}

impl ClientTlsConfig {
    pub(super) fn read(reader: &Reader) -> Self {
        Self::of_section(reader.section("tls"))
    }

    pub(super) fn of_section(mut section: Section<'_>) -> Self {
        let tls = Self {
            ca_file: section.path("ca_file"),
            cert_file: section.path("cert_file"),
            key_file: section.path("key_file"),
        };
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            section.problem("cert_file", "a certificate and its `key_file` go together");
        }
        section.finish();
        tls
    }
}

/// The keys of `[auth]` that are about signed tokens.
const JWT_KEYS: [&str; 5] = ["jwks_file", "jwks_url", "issuer", "audience", "role_claim"];

impl AuthConfig {
    pub(super) fn read(reader: &Reader) -> Option<Self> {
        let mut section = reader.section("auth");
        let wants_signed = JWT_KEYS.iter().any(|key| section.has(key));
        let tokens_file = section.path("tokens_file");
        let jwt = JwtConfig::read(&mut section);
        if section.is_present() && tokens_file.is_none() && !wants_signed {
            section
                .problem("tokens_file", "is required, or jwks_file or jwks_url: nobody could call otherwise");
        }
        section.finish();
        (tokens_file.is_some() || jwt.is_some()).then_some(Self { tokens_file, jwt })
    }
}

impl JwtConfig {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let names_keys = section.has("jwks_file") || section.has("jwks_url");
        let (file, url) = (section.path("jwks_file"), section.parsed("jwks_url", jwks_url));
        let (issuer, audience) = (section.filled_text("issuer"), section.filled_text("audience"));
        let role_claim = section.filled_text("role_claim");
        let keys = match (file, url) {
            (Some(_), Some(_)) => {
                section.problem("jwks_url", "set either this or `jwks_file`");
                return None;
            }
            (Some(file), None) => JwtKeys::JwksFile(file),
            (None, Some(url)) => JwtKeys::JwksUrl(url),
            (None, None) => {
                if !names_keys && (issuer.is_some() || audience.is_some() || role_claim.is_some()) {
                    section.problem("jwks_file", "is required for signed tokens, or `jwks_url`");
                }
                return None;
            }
        };
        for (key, value) in [("issuer", &issuer), ("audience", &audience)] {
            if value.is_none() {
                section.problem(key, "is required with `jwks_file` or `jwks_url`: else any token would do");
            }
        }
        let role_claim = role_claim.unwrap_or_else(|| DEFAULT_ROLE_CLAIM.to_owned());
        Some(Self { keys, issuer: issuer?, audience: audience?, role_claim })
    }
}

/// Keys that came over an open network could be anyone's.
fn jwks_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let fine = url.scheme() == "https" || (url.scheme() == "http" && local);
    if fine { Ok(text.to_owned()) } else { Err("write https://host/path".to_owned()) }
}
