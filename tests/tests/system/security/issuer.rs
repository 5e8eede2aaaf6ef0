//! An identity provider: it signs tokens, and its public keys lie in a file.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

const NAME: &str = "https://id.example";
const AUDIENCE: &str = "warifu";
const KEY_ID: &str = "k1";

/// Seconds that a token counts, or has not counted for: more than clocks may differ.
const LIFE: i64 = 600;

pub(super) struct Issuer {
    key: EncodingKey,
}

impl Issuer {
    /// Makes one whose keys lie in `file`.
    pub(super) fn create(file: &Path) -> Self {
        let issuer = Self::stranger();
        let mut key = Jwk::from_encoding_key(&issuer.key, Algorithm::ES256).unwrap();
        key.common.key_id = Some(KEY_ID.to_owned());
        std::fs::write(file, json!(JwkSet { keys: vec![key] }).to_string()).unwrap();
        issuer
    }

    /// One whose keys nobody knows.
    pub(super) fn stranger() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { key: EncodingKey::from_ec_der(&pair.serialize_der()) }
    }

    /// What the coordinator is told of it.
    pub(super) fn section(file: &str) -> String {
        format!("jwks_file = '{file}'\nissuer = '{NAME}'\naudience = '{AUDIENCE}'\n")
    }

    pub(super) fn token(&self, subject: &str, role: &str) -> String {
        self.sign(subject, role, LIFE)
    }

    pub(super) fn expired_token(&self, subject: &str, role: &str) -> String {
        self.sign(subject, role, -LIFE)
    }

    fn sign(&self, subject: &str, role: &str, life: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": NAME, "aud": AUDIENCE, "sub": subject, "role": role,
            "exp": now.checked_add_signed(life).unwrap(),
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}
