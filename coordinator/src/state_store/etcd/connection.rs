//! Calls to etcd: made with a deadline, their failures sorted by what they say about the call's effect.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::Code;
use warifu_common::error_chain::Chain;

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
    /// Whether the same call may succeed at another member, or a little later.
    fn may_pass(&self) -> bool {
        match self {
            Failure::TimedOut => true,
            Failure::NoSpace { .. } => false,
            Failure::Etcd(Error::GRpcStatus(status)) => match status.code() {
                Code::Unavailable
                | Code::Unknown
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Internal => true,
                Code::ResourceExhausted => self.is_certain(),
                _ => false,
            },
            Failure::Etcd(Error::TransportError(_) | Error::IoError(_)) => true,
            Failure::Etcd(_) => false,
        }
    }

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

/// Reads that fail for a reason that passes are made again for so long: an election of etcd's own leader, and a member that
/// does not answer, fit in.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Between two of them.
const READ_RETRY: Duration = Duration::from_millis(50);

/// Clients of the members of a cluster, of which the last one that answered is used: balancing over all of them would send
/// every n-th call to one that is gone.
pub(super) struct Connection {
    members: Vec<ClusterMember>,
    options: ConnectOptions,
    current: AtomicUsize,
}

struct ClusterMember {
    endpoint: String,
    /// Made when it is first needed: signing in needs an etcd that answers.
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
        let member =
            |endpoint: &String| ClusterMember { endpoint: endpoint.clone(), client: OnceCell::new() };
        let members = settings.endpoints.iter().map(member).collect();
        Ok(Self { members, options, current: AtomicUsize::new(0) })
    }

    /// Makes one call, with a deadline, on the member that answered last.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let current = self.current.load(Ordering::Relaxed);
        // A client takes kilobytes, and everything that awaits a call would.
        let called = within(Box::pin(async { call(self.client(current).await?).await })).await;
        if called.as_ref().is_err_and(Failure::may_pass) {
            let next = (current + 1) % self.members.len();
            // Unless another call has moved on already.
            _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        called
    }

    /// Makes a call that changes nothing, again if it fails for a reason that passes.
    pub(super) async fn read<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let give_up_at = Instant::now() + READ_PATIENCE;
        loop {
            match self.call(&call).await {
                Err(failure) if failure.may_pass() && Instant::now() < give_up_at => {
                    tracing::debug!(error = %Chain(&failure), "a read of etcd failed, it is made again");
                    tokio::time::sleep(READ_RETRY).await;
                }
                answered => return answered,
            }
        }
    }

    async fn client(&self, index: usize) -> Result<Client, Error> {
        let member = &self.members[index];
        let connect = || Client::connect([&member.endpoint], Some(self.options.clone()));
        member.client.get_or_try_init(connect).await.cloned()
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
