//! Guarded transactions, and whether one whose answer was lost was written.

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp, TxnResponse};
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use super::super::{CommitError, StoreError, Write};
use super::connection::{Failure, unavailable};
use super::layout::Marker;
use super::normalise::normalised;
use super::owner::{Led, Owner, found_in, revision_of};

/// What etcd takes in one transaction unless it is configured otherwise (`--max-txn-ops`).
const MAX_OPERATIONS: usize = 128;
/// The same for the whole request (`--max-request-bytes`), and what an operation takes beside its key and value.
const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024 / 2;
const OPERATION_BYTES: usize = 32;

/// Why nothing is sent to etcd.
#[derive(Debug, thiserror::Error)]
#[error(
    "a transaction of {operations} operations and {bytes} bytes is more than etcd takes ({MAX_OPERATIONS} and {MAX_REQUEST_BYTES})"
)]
struct TooLarge {
    operations: usize,
    bytes: usize,
}

/// What a transaction whose guard failed found.
enum Found {
    /// Another process leads, or none.
    Deposed,
    /// We lead, and `commit` holds this, written at that revision.
    Leading(Option<Marker>, i64),
}

impl Owner {
    pub(super) async fn write(
        &mut self,
        term: LeaderTerm,
        commit: CommitId,
        writes: Vec<Write>,
    ) -> Result<(), CommitError> {
        let Some(led) = self.led.filter(|led| led.term == term) else {
            return Err(CommitError::Deposed { term });
        };
        let writes = normalised(writes);
        check_size(&writes).map_err(|too_large| CommitError::Refused {
            source: StoreError::Unavailable { action: "write to", source: Box::new(too_large) },
        })?;
        let marker = Marker::Commit(term, commit);
        let operations = writes.into_iter().map(|write| self.operation(write)).collect();
        match self.send(self.guarded(led, marker, operations)).await {
            Ok(answer) if answer.succeeded() => {
                self.advance(led, marker, revision_of(&answer));
                Ok(())
            }
            Ok(answer) => self.guard_failed(led, marker, &answer),
            Err(failure) => self.failed(led, marker, failure).await,
        }
    }

    /// Whether the latest commit was written; if not, a fence sees to it that it never will be.
    pub(super) async fn read_back(&mut self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        let action = "read back from";
        let led = self.led.filter(|led| led.term == term).ok_or_else(|| not_leading(action, term))?;
        let marker = Marker::Commit(term, commit);
        if led.marker == marker {
            return Ok(true);
        }
        self.fences += 1;
        let fence = Marker::Fence(term, self.fences);
        let answer = self.send(self.guarded(led, fence, Vec::new())).await.map_err(unavailable(action))?;
        if answer.succeeded() {
            self.advance(led, fence, revision_of(&answer));
            return Ok(false);
        }
        match self.found(led, &answer) {
            Found::Leading(Some(found), revision) if found == marker => {
                self.advance(led, found, revision);
                Ok(true)
            }
            // An earlier one, whose answer was lost.
            Found::Leading(Some(found @ Marker::Fence(by, _)), revision) if by == term => {
                self.advance(led, found, revision);
                Ok(false)
            }
            Found::Leading(_, _) | Found::Deposed => {
                self.led = None;
                Err(not_leading(action, term))
            }
        }
    }

    /// The transaction that does `operations` and puts `marker`, if what is known of `led` still holds.
    fn guarded(&self, led: Led, marker: Marker, mut operations: Vec<TxnOp>) -> Txn {
        let layout = &self.reads.layout;
        operations.push(TxnOp::put(layout.commit(), marker.encode(), None));
        let unchanged = Compare::mod_revision(layout.commit(), CompareOp::Equal, led.revision);
        Txn::new()
            .when([layout.leads(led.term.0 as i64), unchanged])
            .and_then(operations)
            .or_else([TxnOp::get(layout.leader(), None), TxnOp::get(layout.commit(), None)])
    }

    fn operation(&self, write: Write) -> TxnOp {
        let layout = &self.reads.layout;
        match write {
            Write::Put { key, value } => TxnOp::put(layout.key(&key), value, None),
            Write::Remove(range) => {
                let (start, end) = layout.range(&range);
                TxnOp::delete(start, Some(DeleteOptions::new().with_range(end)))
            }
        }
    }

    fn advance(&mut self, led: Led, marker: Marker, revision: i64) {
        self.led = Some(Led { marker, revision, ..led });
    }

    fn guard_failed(&mut self, led: Led, marker: Marker, answer: &TxnResponse) -> Result<(), CommitError> {
        match self.found(led, answer) {
            // An earlier sending of it was applied.
            Found::Leading(Some(found), revision) if found == marker => {
                self.advance(led, marker, revision);
                return Ok(());
            }
            Found::Leading(found, _) => {
                tracing::error!(?found, term = %led.term, "this process leads, and etcd holds what it did not write last");
            }
            Found::Deposed => {}
        }
        self.led = None;
        Err(CommitError::Deposed { term: led.term })
    }

    fn found(&self, led: Led, answer: &TxnResponse) -> Found {
        let leads = |leader: &etcd_client::KeyValue| leader.create_revision() == led.term.0 as i64;
        if !found_in(answer, 0).is_some_and(|leader| leads(&leader)) {
            return Found::Deposed;
        }
        let commit = found_in(answer, 1);
        let marker = commit.as_ref().and_then(|commit| Marker::decode(commit.value()));
        Found::Leading(marker, commit.map_or(0, |commit| commit.mod_revision()))
    }

    /// Sorts a failure of the transaction with `marker` by whether it was written.
    async fn failed(&mut self, led: Led, marker: Marker, failure: Failure) -> Result<(), CommitError> {
        if matches!(failure, Failure::NoSpace { .. }) {
            return self.without_space(led, marker, failure).await;
        }
        let is_certain = failure.is_certain();
        let source = unavailable("write to")(failure);
        Err(if is_certain { CommitError::Refused { source } } else { CommitError::Unknown { source } })
    }

    /// etcd has answered, so it is decided whether the transaction was applied, but the answer does not say: the one that
    /// reaches the quota is applied and answered so, all later ones are not applied.
    async fn without_space(&mut self, led: Led, marker: Marker, failure: Failure) -> Result<(), CommitError> {
        let source = unavailable("write to")(failure);
        let Ok(Some(commit)) = self.reads.one(&self.reads.layout.commit()).await else {
            return Err(CommitError::Unknown { source });
        };
        if Marker::decode(commit.value()) == Some(marker) {
            self.advance(led, marker, commit.mod_revision());
            return Ok(());
        }
        Err(CommitError::Refused { source })
    }

    #[cfg(not(test))]
    async fn send(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        self.txn(txn).await
    }

    #[cfg(test)]
    async fn send(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        match self.faults.next() {
            None => self.txn(txn).await,
            Some(Fault::Refused) => {
                let status = tonic::Status::resource_exhausted("etcdserver: too many requests");
                Err(Failure::Etcd(etcd_client::Error::GRpcStatus(status)))
            }
            Some(Fault::AnswerLost) => self.txn(txn).await.and(Err(Failure::TimedOut)),
            Some(Fault::Late) => {
                self.faults.hold(txn);
                Err(Failure::TimedOut)
            }
        }
    }
}

fn check_size(writes: &[Write]) -> Result<(), TooLarge> {
    let size = |write: &Write| match write {
        Write::Put { key, value } => key.len() + value.len(),
        Write::Remove(range) => range.start.len() + range.end.len(),
    };
    // One more for the key `commit`.
    let operations = writes.len() + 1;
    let bytes = writes.iter().map(size).sum::<usize>() + operations * OPERATION_BYTES;
    if operations > MAX_OPERATIONS || bytes > MAX_REQUEST_BYTES {
        return Err(TooLarge { operations, bytes });
    }
    Ok(())
}

fn not_leading(action: &'static str, term: LeaderTerm) -> StoreError {
    StoreError::Unavailable { action, source: format!("term {term} does not lead any more").into() }
}

/// What a test lets go wrong in the next transactions.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::state_store) enum Fault {
    /// etcd says that it does not take it.
    Refused,
    /// It is applied, and the answer is lost.
    AnswerLost,
    /// It is not applied before the caller gives up; see [`Faults::held`].
    Late,
}

#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Faults(std::sync::Arc<std::sync::Mutex<(std::collections::VecDeque<Fault>, Vec<Txn>)>>);

#[cfg(test)]
impl Faults {
    pub(super) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().0.extend(faults);
    }

    /// Transactions that have not arrived yet.
    pub(super) fn held(&self) -> Vec<Txn> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }

    fn next(&self) -> Option<Fault> {
        self.0.lock().unwrap().0.pop_front()
    }

    fn hold(&self, txn: Txn) {
        self.0.lock().unwrap().1.push(txn);
    }
}
