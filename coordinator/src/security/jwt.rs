//! Signed tokens (JWT): checked against a key set, an issuer and an audience.

use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use warifu_common::config::JwtConfig;
use warifu_common::security::FileProblem;

use super::Role;
use super::jwks::KeySet;

/// Nothing else is accepted: no `none`, and nothing that a public key could be taken for the secret of.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 30;
/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest subject: it stands in logs.
const MAX_SUBJECT_BYTES: usize = 128;

/// Checks signed tokens.
#[derive(Debug)]
pub(crate) struct Jwt {
    keys: KeySet,
    issuer: String,
    audience: String,
    role_claim: String,
}

/// What a signed token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) subject: Arc<str>,
    /// Absent: it names no role of ours.
    pub(crate) role: Option<Role>,
    /// Seconds since 1970.
    pub(crate) expires_at: u64,
}

impl Jwt {
    pub(crate) fn new(config: &JwtConfig) -> Result<Self, FileProblem> {
        Ok(Self {
            keys: KeySet::open(&config.keys)?,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            role_claim: config.role_claim.clone(),
        })
    }

    /// What the token says, if it is one of the issuer's for us. Why it is not stays untold: it would help forgers.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = decode_header(token).ok().filter(|header| ALGORITHMS.contains(&header.alg))?;
        let keys = self.keys.current();
        let Some(key) = key_of(&keys, &header) else {
            self.keys.refresh();
            return None;
        };
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let key = DecodingKey::from_jwk(key).ok()?;
        let claims = decode::<Map<String, Value>>(token, &key, &validation).ok()?.claims;
        let subject = claims.get("sub")?.as_str().filter(|subject| is_name(subject))?;
        Some(Claims {
            // Apart from the names of the tokens file.
            subject: format!("jwt:{subject}").into(),
            role: claims.get(&self.role_claim).and_then(role_of),
            expires_at: claims.get("exp")?.as_f64()? as u64 + LEEWAY_SECONDS,
        })
    }
}

/// The key that the header names; without a name, the only one there is.
fn key_of<'k>(keys: &'k JwkSet, header: &Header) -> Option<&'k Jwk> {
    let key = match (&header.kid, &keys.keys[..]) {
        (Some(id), _) => keys.find(id)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    let stated = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
    let fits = stated.is_none_or(|stated| stated == format!("{:?}", header.alg));
    fits.then_some(key)
}

fn is_name(subject: &str) -> bool {
    !subject.is_empty()
        && subject.len() <= MAX_SUBJECT_BYTES
        && subject.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The highest role of those that the claim names; a worker's only if it is the only one of ours.
fn role_of(claim: &Value) -> Option<Role> {
    let names = match claim {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let roles: Vec<Role> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
    let highest = roles.iter().copied().filter(|role| *role != Role::Worker).max();
    highest.or(roles.first().copied())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, encode};
    use serde_json::json;
    use warifu_common::config::JwtKeys;

    use super::*;

    struct Issuer {
        key: EncodingKey,
        jwt: Jwt,
        _directory: tempfile::TempDir,
    }

    fn issuer() -> Issuer {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("k1".to_owned());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, serde_json::to_string(&JwkSet { keys: vec![jwk] }).unwrap()).unwrap();
        let config = JwtConfig {
            keys: JwtKeys::JwksFile(file),
            issuer: "https://id.example".to_owned(),
            audience: "warifu".to_owned(),
            role_claim: "role".to_owned(),
        };
        Issuer { key, jwt: Jwt::new(&config).unwrap(), _directory: directory }
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example", "aud": "warifu", "sub": "ann", "exp": now() + 600, "role": "submitter"})
    }

    impl Issuer {
        fn sign(&self, claims: &Value, kid: &str) -> String {
            let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
            encode(&header, claims, &self.key).unwrap()
        }
    }

    #[test]
    fn a_token_of_the_issuer_for_us_says_who_and_which_role() {
        let issuer = issuer();
        let said = issuer.jwt.verify(&issuer.sign(&claims(), "k1")).unwrap();
        assert_eq!((&*said.subject, said.role), ("jwt:ann", Some(Role::Submitter)));
    }

    #[test]
    fn whatever_is_wrong_with_a_token_refuses_it() {
        let issuer = issuer();
        for (claim, value) in [
            ("iss", json!("https://other.example")),
            ("aud", json!("other")),
            ("exp", json!(now() - 3600)),
            ("nbf", json!(now() + 3600)),
            ("sub", json!("")),
            ("exp", Value::Null),
        ] {
            let mut wrong = claims();
            wrong[claim] = value;
            assert_eq!(issuer.jwt.verify(&issuer.sign(&wrong, "k1")), None, "{wrong}");
        }
        assert_eq!(issuer.jwt.verify(&issuer.sign(&claims(), "k2")), None);
        let other = self::issuer();
        assert_eq!(issuer.jwt.verify(&other.sign(&claims(), "k1")), None);
        let secret = EncodingKey::from_secret(b"public key as a secret");
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
        assert_eq!(issuer.jwt.verify(&encode(&header, &claims(), &secret).unwrap()), None);
        // {"alg":"none","kid":"k1"}
        assert_eq!(issuer.jwt.verify("eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.e30."), None);
        assert_eq!(issuer.jwt.verify("no token"), None);
    }

    #[test]
    fn the_highest_role_counts_and_a_worker_is_nothing_else() {
        for (claim, role) in [
            (json!("operator"), Some(Role::Operator)),
            (json!(["x", "viewer", "submitter"]), Some(Role::Submitter)),
            (json!(["worker"]), Some(Role::Worker)),
            (json!(["worker", "viewer"]), Some(Role::Viewer)),
            (json!("root"), None),
            (json!(7), None),
        ] {
            assert_eq!(role_of(&claim), role, "{claim}");
        }
    }
}
