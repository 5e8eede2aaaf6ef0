//! `[store]`: where a coordinator's state is.

use std::path::PathBuf;

use serde::Serialize;

use super::parts::Secret;
use super::section::{Reader, Section};
use super::security::ClientTlsConfig;

/// Where keys lie in etcd unless it is said.
const DEFAULT_PREFIX: &str = "/warifu/v1";

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum StoreConfig {
    /// One file; one coordinator.
    Sqlite {
        /// The file. Created if it is not there.
        path: PathBuf,
    },
    /// A cluster; any number of coordinators, of which one leads.
    Etcd(EtcdConfig),
}

/// `[store]` of type `etcd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdConfig {
    /// `http://host:port` or `https://host:port` of its members, all of one kind.
    pub endpoints: Vec<String>,
    /// Every key lies below it.
    pub prefix: String,
    /// Who compacts etcd's history.
    pub compaction: CompactionConfig,
    /// The name to sign in with; absent: etcd has no authentication, or it is by certificate.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A file with its password.
    pub password_file: Option<PathBuf>,
    /// For `https`.
    pub tls: ClientTlsConfig,
}

/// Who compacts etcd's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CompactionConfig {
    /// The leading coordinator: etcd is used by nobody else.
    Own,
    /// etcd itself (`--auto-compaction-retention`), or another of its users.
    Server,
}

impl StoreConfig {
    pub(super) fn read(reader: &Reader) -> Option<Self> {
        let mut section = reader.section("store");
        let kind = section.text("type").unwrap_or_else(|| "sqlite".to_owned());
        let store = match kind.as_str() {
            "sqlite" => section.required_text("path").map(|path| Self::Sqlite { path: path.into() }),
            "etcd" => EtcdConfig::read(&mut section).map(Self::Etcd),
            other => {
                section.problem("type", format!("{other:?} is no store; write \"sqlite\" or \"etcd\""));
                return None;
            }
        };
        section.finish();
        store
    }
}

impl EtcdConfig {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let endpoints = section.texts("endpoints");
        let prefix = section.filled_text("prefix").unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
        let choices = [("own", CompactionConfig::Own), ("server", CompactionConfig::Server)];
        let compaction = section.choice("compaction", &choices).unwrap_or(CompactionConfig::Own);
        let (user, password) =
            (section.filled_text("user"), section.filled_text("password").map(Secret::new));
        let password_file = section.path("password_file");
        let tls = section.table("tls").map(ClientTlsConfig::of_section).unwrap_or_default();

        if user.is_some() != (password.is_some() || password_file.is_some()) {
            section.problem("user", "a user and a password (`password` or `password_file`) go together");
        }
        if password.is_some() && password_file.is_some() {
            section.problem("password_file", "set either this or `password`");
        }
        let endpoints = endpoints.filter(|endpoints| !endpoints.is_empty());
        if endpoints.is_none() {
            section
                .problem("endpoints", "is required: the URLs of etcd's members, [\"http://127.0.0.1:2379\"]");
        }
        let endpoints = endpoints?;
        if let Some(problem) = endpoints_problem(&endpoints, tls != ClientTlsConfig::default()) {
            section.problem("endpoints", problem);
        }
        Some(Self { endpoints, prefix, compaction, user, password, password_file, tls })
    }
}

fn endpoints_problem(endpoints: &[String], has_tls: bool) -> Option<String> {
    let with = |scheme: &str| {
        let has_scheme =
            |endpoint: &&String| endpoint.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
        endpoints.iter().filter(has_scheme).count()
    };
    let (encrypted, plain) = (with("https://"), with("http://"));
    if encrypted + plain < endpoints.len() {
        return Some("write http://host:port or https://host:port for each member".to_owned());
    }
    if encrypted > 0 && plain > 0 {
        return Some("all members must be https, or none".to_owned());
    }
    (has_tls && plain > 0).then(|| "must be https, because `tls` is set".to_owned())
}
