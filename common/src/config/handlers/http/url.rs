//! The URL of a service: checked once, shown without what may be secret.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::config::parts::{REDACTED, Secret};

/// Longest host name, and longest part of one between dots (RFC 1035).
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// An http or https URL. Printed without its user, its password and the values of its query.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    uri: Uri,
    authorization: Option<Secret>,
    secrets: Vec<Secret>,
    shown: String,
}

impl HttpUrl {
    /// Checks a URL. An error never repeats it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let advice = "write http://HOST:PORT/PATH or https://HOST/PATH";
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("holds white space, a backslash or control characters".to_owned());
        }
        let rest = ["http://", "https://"].iter().find_map(|scheme| without_start(text, scheme));
        if rest.is_none_or(|rest| rest.starts_with('/')) {
            return Err(format!("is no http:// or https:// URL; {advice}"));
        }
        let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}; {advice}"))?;
        check_host(&url)?;
        if url.fragment().is_some() {
            return Err("has a fragment (#…), which is never sent; remove it".to_owned());
        }
        let (authorization, secrets) = (authorization_of(&url), secrets_of(&url));
        let no_user = "a URL with a host can be without a user";
        url.set_username("").and_then(|()| url.set_password(None)).expect(no_user);
        let shown = shown(&url, authorization.is_some());
        let uri = url.as_str().parse().map_err(|_| format!("cannot be asked for by HTTP; {advice}"))?;
        Ok(Self { uri, authorization, secrets, shown })
    }

    /// What is asked for, without user and password.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The value of `Authorization` that the URL's user and password stand for.
    pub fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }

    /// Parts that no message may hold.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().chain(&self.authorization)
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&http::uri::Scheme::HTTPS)
    }
}

fn without_start<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn check_host(url: &Url) -> Result<(), String> {
    if url.port() == Some(0) {
        return Err("has port 0, where nothing can be reached".to_owned());
    }
    let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
    let labels = name.strip_suffix('.').unwrap_or(name);
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.chars().all(fine);
    if labels.len() > MAX_HOST_BYTES || !labels.split('.').all(is_label) {
        return Err("has a host that is no name of a host".to_owned());
    }
    Ok(())
}

/// `url`, which has no user any more, as it may be printed.
fn shown(url: &Url, had_user: bool) -> String {
    let mut shown = url.clone();
    let values = url.query().into_iter().flat_map(|query| query.split('&'));
    let hidden = values.map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={REDACTED}"),
        None => REDACTED.to_owned(),
    });
    let hidden: Vec<String> = hidden.collect();
    shown.set_query(url.query().is_some().then(|| hidden.join("&")).as_deref());
    let user = if had_user { format!("://{REDACTED}@") } else { "://".to_owned() };
    shown.as_str().replacen("://", &user, 1)
}

/// Basic authentication (RFC 7617), as other clients make it of a URL's user.
fn authorization_of(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(credentials))))
}

/// User, password and the query's values, as they stand and decoded.
fn secrets_of(url: &Url) -> Vec<Secret> {
    let values = url.query().into_iter().flat_map(|query| query.split('&'));
    let values = values.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let texts = values.chain([url.username()]).chain(url.password());
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let both = texts.flat_map(|text| [text.to_owned(), decoded(text)]);
    both.filter(|text| !text.is_empty()).map(Secret::new).collect()
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for HttpUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_sent_and_not_shown() {
        let url = HttpUrl::parse("https://me:p%40ss%20word@Host.example:8443/a/b?key=hunter2&x").unwrap();
        assert_eq!(url.uri(), "https://host.example:8443/a/b?key=hunter2&x");
        assert_eq!(url.to_string(), "https://***@host.example:8443/a/b?key=***&***");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(url.authorization().unwrap().expose(), "Basic bWU6cEBzcyB3b3Jk");
        let secrets: Vec<&str> = url.secrets().map(Secret::expose).collect();
        for secret in ["hunter2", "me", "p%40ss%20word", "p@ss word"] {
            assert!(secrets.contains(&secret), "{secrets:?}");
        }
        let token = HttpUrl::parse("http://token@[::1]/").unwrap();
        assert_eq!((token.to_string().as_str(), token.is_https()), ("http://***@[::1]/", false));
        assert_eq!(token.authorization().unwrap().expose(), "Basic dG9rZW46");
    }

    #[test]
    fn hosts_are_checked_and_nothing_is_repeated() {
        let long = format!("http://{}.example/", "x".repeat(64));
        for text in [
            "",
            "hunter2",
            "ftp://hunter2/",
            "http:hunter2",
            "http://",
            "http:///path",
            "http://hunter2.1.2.999/",
            "http://a..hunter2/",
            "http://hunter2:0/",
            "http://hunter2:99999/",
            "http://[::hunter2]/",
            "http://hunter2:x@/",
            "http://host/ hunter2",
            "http://host/#hunter2",
            "http://hunter2%00/",
            "http://a,b/hunter2",
            &long,
        ] {
            let error = HttpUrl::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
        for text in
            ["http://localhost", "HTTP://127.0.0.1:9000/x", "http://a_b.c-d./", "https://例え.jp/ユーザー"]
        {
            assert!(HttpUrl::parse(text).is_ok(), "{text}");
        }
    }
}
