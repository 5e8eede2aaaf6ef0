//! Records in etcd: the state store of several coordinators, of which one leads.
//!
//! Owns the leader's key and lease, the guard of every transaction, and what tells a lost answer from a lost transaction.
//! Deliberately uses no watch: what others did is heard of by asking, or by a guard that fails.
//!
//! **Invariant:** every transaction of a leader compares the leader's key with its term, and the key `commit` with the revision
//! that it knows; every one that succeeds changes `commit`. So of several that were sent under one guard at most one is ever
//! applied, however late they arrive, and a fence, which is one of them, ends all the others. What keeps the lease alive
//! proves nothing.
//!
//! Start at [`EtcdStore`]; `owner.rs` takes the lead, `commits.rs` writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use warifu_common::config::Secret;
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use super::{Campaign, CommitError, KeyRange, Member, Row, StateStore, StoreError, Write};
#[cfg(test)]
pub(super) use commits::Fault;
use connection::Connection;
use layout::Layout;
use owner::Owner;
use reads::Reads;

mod commits;
mod compaction;
mod connection;
#[cfg(test)]
mod large_plan;
mod layout;
mod lease;
mod normalise;
mod owner;
mod reads;
#[cfg(test)]
pub(super) mod tests;

/// Calls that may wait for the owner: one transaction is in flight, and campaigns and resignations are rarer.
const QUEUED_REQUESTS: usize = 16;

/// How etcd is reached, and as whom.
#[derive(Debug, Clone)]
pub struct EtcdSettings {
    /// `http://host:port` or `https://host:port` of members; all of one kind.
    pub endpoints: Vec<String>,
    /// Every key lies below it.
    pub prefix: String,
    /// Name and password.
    pub user: Option<(String, Secret)>,
    /// For `https`.
    pub tls: EtcdTls,
    /// How long a leader that is gone keeps others from leading; whole seconds, and at least etcd's own minimum of about 2 s.
    pub leader_ttl: Duration,
    /// This process.
    pub member: Member,
    /// Who compacts etcd's history.
    pub compaction: Compaction,
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, Default)]
pub struct EtcdTls {
    /// Whom to trust; absent: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Who compacts etcd's history. History that nobody compacts fills etcd's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// The leader: etcd is ours alone.
    Own,
    /// The server, or another of its users.
    Server,
}

/// The state store of several coordinators. Dropping it gives the lease up, and with it the lead.
pub struct EtcdStore {
    requests: mpsc::Sender<Request>,
    reads: Reads,
    #[cfg(test)]
    faults: commits::Faults,
}

impl EtcdStore {
    /// Prepares for a cluster, which need not be up yet.
    ///
    /// Must be called within a Tokio runtime: the task that writes is spawned there.
    pub fn connect(settings: EtcdSettings) -> Result<Self, StoreError> {
        let reads = Reads {
            connection: Arc::new(Connection::new(&settings)?),
            layout: Layout::new(&settings.prefix),
            written: Arc::default(),
        };
        let (requests, queue) = mpsc::channel(QUEUED_REQUESTS);
        let owner = Owner::new(settings, reads.clone());
        #[cfg(test)]
        let faults = owner.faults.clone();
        tokio::spawn(owner.serve(queue));
        Ok(Self {
            requests,
            reads,
            #[cfg(test)]
            faults,
        })
    }

    /// Sends a request to the owner and awaits its answer. `lost` says what it means that the owner ended instead.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request, lost: impl Fn() -> T) -> T {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(request(answer)).await.is_err() {
            return lost();
        }
        answered.await.unwrap_or_else(|_| lost())
    }
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("layout", &self.reads.layout).finish_non_exhaustive()
    }
}

/// What is asked of the owner.
enum Request {
    Campaign(oneshot::Sender<Result<Campaign, StoreError>>),
    Resign(LeaderTerm, oneshot::Sender<Result<(), StoreError>>),
    Withdraw(LeaderTerm, oneshot::Sender<Result<(), StoreError>>),
    Write(LeaderTerm, CommitId, Vec<Write>, oneshot::Sender<Result<(), CommitError>>),
    ReadBack(LeaderTerm, CommitId, oneshot::Sender<Result<bool, StoreError>>),
}

#[async_trait]
impl StateStore for EtcdStore {
    async fn campaign(&self) -> Result<Campaign, StoreError> {
        self.ask(Request::Campaign, || Err(owner_ended())).await
    }

    async fn resign(&self, term: LeaderTerm) -> Result<(), StoreError> {
        self.ask(|answer| Request::Resign(term, answer), || Err(owner_ended())).await
    }

    async fn withdraw(&self, term: LeaderTerm) -> Result<(), StoreError> {
        self.ask(|answer| Request::Withdraw(term, answer), || Err(owner_ended())).await
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.reads.members().await
    }

    async fn write(&self, term: LeaderTerm, commit: CommitId, writes: Vec<Write>) -> Result<(), CommitError> {
        let lost = || Err(CommitError::Unknown { source: owner_ended() });
        self.ask(|answer| Request::Write(term, commit, writes, answer), lost).await
    }

    async fn read_back(&self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        self.ask(|answer| Request::ReadBack(term, commit, answer), || Err(owner_ended())).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.reads.scan(range, limit).await
    }

    async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.reads.last(range).await
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.reads.size_bytes().await
    }

    fn kind(&self) -> &'static str {
        "etcd"
    }
}

fn owner_ended() -> StoreError {
    StoreError::Unavailable { action: "reach", source: "its task has ended".into() }
}
