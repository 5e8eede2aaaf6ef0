//! Calls to etcd: made with a deadline, their failures sorted by what they say about the call's effect.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::sync::OnceCell;
use tonic::Code;

use super::super::StoreError;
use super::EtcdSettings;

/// A call that took longer is given up: two elections of etcd's own leader fit in, a step-down of ours does not wait for it.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// etcd answers `GOAWAY too_many_pings` to more than one in five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A member that does not answer a ping so long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Less than [`CALL_TIMEOUT`], so that the error names the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What an operator has to do. A leader lives on without space, but cannot commit.
const NO_SPACE: &str = "etcd is out of space; compact its history, defragment each member, one at a time, and disarm the alarm: \
                        `etcdctl compact REVISION`, `etcdctl defrag`, `etcdctl alarm disarm`";

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("etcd did not answer within {CALL_TIMEOUT:?}")]
    TimedOut,
    /// The call was answered with it, or would be. A transaction may have been applied nevertheless: etcd applies the one
    /// that reaches the quota, and then answers so.
    #[error("{NO_SPACE}")]
    NoSpace {
        #[source]
        source: Option<Error>,
    },
    #[error(transparent)]
    Etcd(#[from] Error),
}

impl Failure {
    /// Whether a transaction that ended so was certainly not applied and never will be.
    pub(super) fn is_certain(&self) -> bool {
        let Failure::Etcd(Error::GRpcStatus(status)) = self else { return false };
        // etcd's own answers, given before a request is proposed, or in place of applying it. Connections fail otherwise.
        let is_etcds = status.message().starts_with("etcdserver: ");
        match status.code() {
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => is_etcds,
            Code::ResourceExhausted => status.message() == "etcdserver: too many requests",
            _ => false,
        }
    }
}

/// Awaits a call, at most [`CALL_TIMEOUT`].
pub(super) async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::GRpcStatus(status))) if status.message().contains("database space exceeded") => {
            Err(Failure::NoSpace { source: Some(Error::GRpcStatus(status)) })
        }
        Ok(Err(error)) => Err(Failure::Etcd(error)),
        Err(_) => Err(Failure::TimedOut),
    }
}

/// A failed call as the caller of a store sees it.
pub(super) fn unavailable(action: &'static str) -> impl Fn(Failure) -> StoreError {
    move |failure| StoreError::Unavailable { action, source: Box::new(failure) }
}

/// A client of a cluster, made when it is first needed: signing in needs an etcd that answers.
pub(super) struct Connection {
    endpoints: Vec<String>,
    options: ConnectOptions,
    client: OnceCell<Client>,
}

impl Connection {
    pub(super) fn new(settings: &EtcdSettings) -> Result<Self, StoreError> {
        let mut options = ConnectOptions::new()
            .with_keep_alive(PING_INTERVAL, PING_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_require_leader(true)
            .with_auto_token_refresh(settings.user.is_some());
        if settings.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            options = options.with_tls(tls(settings)?);
        }
        if let Some((user, password)) = &settings.user {
            options = options.with_user(user, password.expose());
        }
        Ok(Self { endpoints: settings.endpoints.clone(), options, client: OnceCell::new() })
    }

    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let connect = || within(Client::connect(&self.endpoints, Some(self.options.clone())));
        self.client.get_or_try_init(connect).await.cloned()
    }
}

fn tls(settings: &EtcdSettings) -> Result<TlsOptions, StoreError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|source| StoreError::File { path: path.to_owned(), source })
    };
    let tls = TlsOptions::new();
    let mut tls = match &settings.tls.ca_file {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => tls.with_native_roots(),
    };
    if let Some((cert, key)) = &settings.tls.identity {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn only_answers_of_etcd_itself_are_certain() {
        for (code, message, certain) in [
            (Code::InvalidArgument, "etcdserver: too many operations in txn request", true),
            (Code::InvalidArgument, "etcdserver: request is too large", true),
            (Code::PermissionDenied, "etcdserver: permission denied", true),
            (Code::ResourceExhausted, "etcdserver: too many requests", true),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", false),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (Code::Unavailable, "tcp connect error", false),
            (Code::InvalidArgument, "from a proxy", false),
            (Code::Unknown, "etcdserver: no leader", false),
        ] {
            let failure = Failure::Etcd(Error::GRpcStatus(Status::new(code, message)));
            assert_eq!(failure.is_certain(), certain, "{message}");
        }
        assert!(!Failure::TimedOut.is_certain());
    }

    #[tokio::test]
    async fn lack_of_space_says_what_to_do() {
        let status = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        let failure = within(async { Err::<(), _>(Error::GRpcStatus(status)) }).await.unwrap_err();
        assert!(matches!(failure, Failure::NoSpace { .. }));
        assert!(failure.to_string().contains("etcdctl alarm disarm"), "{failure}");
    }
}
