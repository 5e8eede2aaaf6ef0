//! Who may call: certificates and tokens of those who connect, roles, limits, and the record of what they did.
//!
//! A layer before everything else asks [`Authority`] who calls and `role.rs` what that one may; the services behind it know
//! a [`Principal`] at most. **Invariant:** with `[auth]`, a method that no row of `role.rs` names is refused, and every call
//! that is refused leaves a line in the audit log.

mod accept;
mod accepted;
mod audit;
mod authority;
mod guard;
mod jwks;
mod jwt;
mod rate;
mod role;
mod tokens;
mod workers;

use warifu_common::config::{AuthConfig, CallLimits, ServerTlsConfig};

pub(crate) use accept::{Connections, Peer};
pub(crate) use audit::{name_resource, record};
pub(crate) use authority::{Authority, Principal};
pub(crate) use guard::Guard;
pub(crate) use role::{METRICS, Role};
pub(crate) use workers::WorkerGuard;

/// What a coordinator is told of security at its start.
#[derive(Debug, Clone, Default)]
pub struct SecuritySettings {
    /// Absent: connections are not encrypted.
    pub tls: Option<ServerTlsConfig>,
    /// Absent: everybody may call everything.
    pub auth: Option<AuthConfig>,
    /// What callers may do at once.
    pub limits: CallLimits,
}

impl SecuritySettings {
    /// True if clients are to show a certificate.
    pub(crate) fn wants_client_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some())
    }
}
