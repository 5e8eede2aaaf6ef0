//! Who calls: a bearer token becomes a principal with a role.

use std::sync::Arc;

use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::header::AUTHORIZATION;
use warifu_common::config::AuthConfig;
use warifu_common::security::{FileProblem, Watched, sha256};
use warifu_common::status::ApiError;

use super::Role;
use super::jwt::Jwt;
use super::role::{self, Access};
use super::tokens::{Digest, Tokens};

/// Stands for whoever calls a coordinator without `[auth]`, or a method that needs nothing.
const NOBODY: &str = "-";

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// As the tokens file has it, or `jwt:` and the subject; `-` if nobody asked.
    pub(crate) name: Arc<str>,
    /// Absent: nobody asked, or a signed token that names none.
    pub(crate) role: Option<Role>,
    credential: Credential,
}

/// What the principal showed.
#[derive(Debug, Clone)]
enum Credential {
    Nothing,
    Token(Digest),
    SignedUntil(u64),
}

/// A call that is not let through, and whose it was as far as that is known.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) principal: Principal,
    pub(crate) error: ApiError,
}

/// Knows principals.
#[derive(Debug)]
pub(crate) struct Authority {
    tokens: Option<Watched<Tokens>>,
    jwt: Option<Jwt>,
}

impl Principal {
    pub(crate) fn nobody() -> Self {
        Self { name: NOBODY.into(), role: None, credential: Credential::Nothing }
    }

    /// True if somebody asked who calls, and knows.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.credential, Credential::Nothing)
    }
}

impl Authority {
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, FileProblem> {
        Ok(Self {
            tokens: config.tokens_file.clone().map(Tokens::watch).transpose()?,
            jwt: config.jwt.as_ref().map(Jwt::new).transpose()?,
        })
    }

    /// Lets a call through to `method`, or says why not.
    pub(crate) fn admit(&self, method: &str, headers: &HeaderMap) -> Result<Principal, Box<Denied>> {
        let access = role::access(method);
        if access == Access::Open {
            return Ok(Principal::nobody());
        }
        let Some(principal) = bearer(headers).and_then(|token| self.authenticate(token)) else {
            let (principal, error) = (Principal::nobody(), ApiError::Unauthenticated);
            return Err(Box::new(Denied { principal, error }));
        };
        let suffices = match access {
            Access::Open => true,
            Access::Needs(needed) => principal.role.is_some_and(|role| role.suffices_for(needed)),
            Access::Denied => false,
        };
        if suffices {
            return Ok(principal);
        }
        let role = principal.role.map_or("none", Role::name).to_owned();
        let error = ApiError::RoleNotAllowed { role, method: method.to_owned() };
        Err(Box::new(Denied { principal, error }))
    }

    fn authenticate(&self, token: &str) -> Option<Principal> {
        let digest = sha256(token.as_bytes());
        if let Some(tokens) = &self.tokens
            && let Some(owner) = tokens.current().owner(&digest)
        {
            let (name, role) = (owner.name.clone(), Some(owner.role));
            return Some(Principal { name, role, credential: Credential::Token(digest) });
        }
        let claims = self.jwt.as_ref()?.verify(token)?;
        let credential = Credential::SignedUntil(claims.expires_at);
        Some(Principal { name: claims.subject, role: claims.role, credential })
    }

    /// True while what a principal showed would still be accepted: its token has not been taken away, or run out.
    pub(crate) fn still_accepts(&self, principal: &Principal) -> bool {
        match &principal.credential {
            Credential::Nothing => true,
            Credential::Token(digest) => self.tokens.as_ref().is_some_and(|tokens| {
                let tokens = tokens.current();
                let owner = tokens.owner(digest);
                owner.is_some_and(|owner| owner.name == principal.name && Some(owner.role) == principal.role)
            }),
            Credential::SignedUntil(time) => jsonwebtoken::get_current_timestamp() < *time,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
