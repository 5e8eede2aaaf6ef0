//! The task that owns the lead: it alone campaigns, resigns and writes, one transaction after the other.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::sync::mpsc;
use warifu_model::LeaderTerm;

use super::super::{Campaign, Leader, StoreError};
use super::compaction::Compactor;
use super::connection::{Failure, unavailable};
use super::layout::{Marker, Process};
use super::lease::Lease;
use super::reads::{Reads, process};
use super::{Compaction, EtcdSettings, Request};

/// The task's state.
pub(super) struct Owner {
    pub(super) reads: Reads,
    me: Process,
    leader_ttl: Duration,
    lease: Option<Lease>,
    /// Absent: this process does not lead, or nobody knows.
    pub(super) led: Option<Led>,
    /// Fences that were sent.
    pub(super) fences: u64,
    compactor: Option<Compactor>,
    #[cfg(test)]
    pub(super) faults: super::commits::Faults,
}

/// The term that this process leads, and the guard of its next transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Led {
    pub(super) term: LeaderTerm,
    /// What `commit` holds.
    pub(super) marker: Marker,
    /// Where that was written.
    pub(super) revision: i64,
}

impl Owner {
    pub(super) fn new(settings: EtcdSettings, reads: Reads) -> Self {
        let instance = ulid::Ulid::new().to_string();
        let me = Process { endpoint: settings.member.endpoint, version: settings.member.version, instance };
        let compactor = match settings.compaction {
            Compaction::Own => Some(Compactor::new()),
            Compaction::Server => None,
        };
        Self {
            reads,
            me,
            leader_ttl: settings.leader_ttl,
            lease: None,
            led: None,
            fences: 0,
            compactor,
            #[cfg(test)]
            faults: Default::default(),
        }
    }

    /// Answers until every sender is gone, then gives the lease up.
    pub(super) async fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        loop {
            // Both arms only receive: dropping one loses nothing.
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => break,
                },
                () = compaction_due(self.compactor.as_mut()) => self.compact(),
            }
        }
        self.give_lease_up().await;
    }

    /// A caller that went away does not want the answer; what was asked is done nevertheless.
    async fn answer(&mut self, request: Request) {
        match request {
            Request::Campaign(answer) => drop(answer.send(self.campaign().await)),
            Request::Resign(term, answer) => drop(answer.send(self.resign(term).await)),
            Request::Withdraw(term, answer) => drop(answer.send(self.withdraw(term).await)),
            Request::Write(term, commit, writes, answer) => {
                drop(answer.send(self.write(term, commit, writes).await));
            }
            Request::ReadBack(term, commit, answer) => {
                drop(answer.send(self.read_back(term, commit).await));
            }
        }
    }

    fn compact(&mut self) {
        if let Some(compactor) = &mut self.compactor {
            compactor.tick(self.led.map(|led| led.revision), &self.reads);
        }
    }

    async fn campaign(&mut self) -> Result<Campaign, StoreError> {
        self.led = None;
        let found = self
            .reads
            .one(&self.reads.layout.leader())
            .await
            .map_err(unavailable("ask for the leader in"))?;
        if let Some(leader) = found {
            if let Some(other) = self.unless_us(&leader)? {
                self.register_if_possible().await;
                return Ok(Campaign::Lost(other));
            }
            self.end_own_term(leader.create_revision()).await.map_err(unavailable("end the last term in"))?;
        }
        let lease = self.live_lease().await.map_err(unavailable("get a lease of"))?;
        let stood = self.stand(lease).await.map_err(unavailable("stand for the lead in"))?;
        if !stood.succeeded() {
            let winner = found_in(&stood, 0).map(|leader| self.unless_us(&leader)).transpose()?.flatten();
            return winner.map(Campaign::Lost).ok_or_else(|| changed_meanwhile("stand for the lead in"));
        }
        let won = self.begin(revision_of(&stood)).await?;
        self.register_if_possible().await;
        Ok(won)
    }

    /// The leader in `leader`, if it is another process.
    fn unless_us(&self, leader: &KeyValue) -> Result<Option<Leader>, StoreError> {
        let found = process(&self.reads.layout.leader(), leader.value())?;
        if found.instance == self.me.instance {
            return Ok(None);
        }
        let term = LeaderTerm(leader.create_revision().unsigned_abs());
        Ok(Some(Leader { term, endpoint: found.endpoint }))
    }

    async fn end_own_term(&mut self, term: i64) -> Result<(), Failure> {
        let delete = TxnOp::delete(self.reads.layout.leader(), None);
        self.txn(Txn::new().when([self.reads.layout.leads(term)]).and_then([delete])).await?;
        Ok(())
    }

    /// Puts the leader's key if there is none.
    async fn stand(&mut self, lease: i64) -> Result<TxnResponse, Failure> {
        let key = self.reads.layout.leader();
        let put = TxnOp::put(key.clone(), self.me.encode(), Some(PutOptions::new().with_lease(lease)));
        let free = Compare::version(key.clone(), CompareOp::Equal, 0);
        self.txn(Txn::new().when([free]).and_then([put]).or_else([TxnOp::get(key, None)])).await
    }

    /// The first guarded write of a term: from here on no older one can write.
    async fn begin(&mut self, term: i64) -> Result<Campaign, StoreError> {
        let layout = &self.reads.layout;
        let leader_term = LeaderTerm(term.unsigned_abs());
        let marker = Marker::Begin(leader_term);
        let begin = [
            TxnOp::put(layout.epoch(), term.to_string(), Some(PutOptions::new().with_prev_key())),
            TxnOp::delete(layout.resigned(), Some(DeleteOptions::new().with_prev_key())),
            TxnOp::put(layout.commit(), marker.encode(), None),
        ];
        let action = "begin a term in";
        let begun = self.txn(Txn::new().when([layout.leads(term)]).and_then(begin)).await;
        let begun = begun.map_err(unavailable(action))?;
        if !begun.succeeded() {
            return Err(changed_meanwhile(action));
        }
        self.led = Some(Led { term: leader_term, marker, revision: revision_of(&begun) });
        Ok(Campaign::Won { term: leader_term, handed_over: was_handed_over(&begun) })
    }

    async fn resign(&mut self, term: LeaderTerm) -> Result<(), StoreError> {
        self.led = None;
        let layout = &self.reads.layout;
        let resign =
            [TxnOp::put(layout.resigned(), term.0.to_string(), None), TxnOp::delete(layout.leader(), None)];
        let resign = Txn::new().when([layout.leads(term.0 as i64)]).and_then(resign);
        self.txn(resign).await.map(drop).map_err(unavailable("resign in"))
    }

    /// Without a word that the term before it has ended: `begin` overwrote whether it had.
    async fn withdraw(&mut self, term: LeaderTerm) -> Result<(), StoreError> {
        self.led = None;
        self.end_own_term(term.0 as i64).await.map_err(unavailable("withdraw from the lead in"))
    }

    /// The id of a lease that nothing says is lost.
    async fn live_lease(&mut self) -> Result<i64, Failure> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.seems_alive()) {
            return Ok(lease.id());
        }
        let lease = Lease::grant(self.reads.connection.clone(), self.leader_ttl).await?;
        Ok(self.lease.insert(lease).id())
    }

    /// Says that this process may lead. Without it the process is missing from a list, nothing else.
    async fn register_if_possible(&mut self) {
        if let Err(error) = self.register().await {
            tracing::debug!(%error, "this process is not in etcd's list of coordinators, it is tried again");
        }
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let lease = self.live_lease().await?;
        let key = self.reads.layout.member(&self.me.endpoint);
        let put = TxnOp::put(key.clone(), self.me.encode(), Some(PutOptions::new().with_lease(lease)));
        // A former process at this endpoint may have left the key, which would go with its lease.
        let is_not_ours = Compare::lease(key, CompareOp::NotEqual, lease);
        self.txn(Txn::new().when([is_not_ours]).and_then([put])).await.map(drop)
    }

    async fn give_lease_up(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let id = lease.id();
        let revoke = async |mut client: Client| client.lease_revoke(id).await;
        if let Err(error) = self.reads.connection.call(revoke).await {
            tracing::debug!(%error, "etcd's lease was not given up, it runs out by itself");
        }
    }

    /// Sends a transaction, and notes what it wrote.
    pub(super) async fn txn(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        let answer = self.reads.connection.call(async |mut client: Client| client.txn(txn).await).await?;
        self.reads.wrote(revision_of(&answer));
        Ok(answer)
    }
}

/// Never, if the server compacts.
async fn compaction_due(compactor: Option<&mut Compactor>) {
    match compactor {
        Some(compactor) => compactor.due().await,
        None => std::future::pending().await,
    }
}

pub(super) fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, etcd_client::ResponseHeader::revision)
}

/// The key that the `index`-th operation, a get, found.
pub(super) fn found_in(answer: &TxnResponse, index: usize) -> Option<KeyValue> {
    match answer.op_responses().into_iter().nth(index) {
        Some(TxnOpResponse::Get(mut found)) => found.take_kvs().pop(),
        Some(TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_)) | None => None,
    }
}

/// Whether the leader of the term before, if there was one, said that it stopped: `resigned` holds what `epoch` held.
fn was_handed_over(begun: &TxnResponse) -> bool {
    let mut operations = begun.op_responses().into_iter();
    let last = match operations.next() {
        Some(TxnOpResponse::Put(put)) => put.prev_key().map(|epoch| epoch.value().to_vec()),
        _ => return false,
    };
    let resigned = match operations.next() {
        Some(TxnOpResponse::Delete(delete)) => delete.prev_kvs().first().map(|term| term.value().to_vec()),
        _ => return false,
    };
    last.is_none() || last == resigned
}

fn changed_meanwhile(action: &'static str) -> StoreError {
    StoreError::Unavailable { action, source: "the leader changed meanwhile".into() }
}
