//! Records in memory, for tests: the same contract, and the outcomes of transactions on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use super::{Campaign, CommitError, KeyRange, Leader, Member, Row, StateStore, StoreError, Write};

/// What shall become of the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedOutcome {
    /// It is written and said to be.
    Done,
    /// Another process takes the lead before it.
    Deposed,
    /// It is not written and said not to be.
    Refused,
    /// It is written, and the answer is lost.
    UnknownWritten,
    /// It is not written, and the answer is lost.
    UnknownNotWritten,
    /// The answer is lost, and so is that of the next question whether it was written.
    UnknownTwice,
}

/// Records in memory. What is in it lives as long as it does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    term: u64,
    resigned: bool,
    led_by: Option<Leader>,
    commit: Option<CommitId>,
    rows: BTreeMap<String, Vec<u8>>,
    injected: VecDeque<InjectedOutcome>,
    unanswered_read_backs: u32,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next transactions end so, in order; later ones are done.
    pub fn inject(&self, outcomes: impl IntoIterator<Item = InjectedOutcome>) {
        self.state().injected.extend(outcomes);
    }

    /// Another process leads from now on, or nobody does.
    pub fn set_leader(&self, leader: Option<Leader>) {
        self.state().led_by = leader;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_term(&self, term: LeaderTerm) -> Result<(), CommitError> {
        if self.term == term.0 { Ok(()) } else { Err(CommitError::Deposed { term }) }
    }

    fn apply(&mut self, commit: CommitId, writes: Vec<Write>) {
        self.commit = Some(commit);
        for write in writes {
            match write {
                Write::Put { key, value } => {
                    self.rows.insert(key, value);
                }
                Write::Remove(range) => self.rows.retain(|key, _| !range.contains(key)),
            }
        }
    }
}

fn injected_error() -> StoreError {
    StoreError::Unavailable { action: "write to", source: "injected by a test".into() }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn campaign(&self) -> Result<Campaign, StoreError> {
        let mut state = self.state();
        if let Some(leader) = &state.led_by {
            return Ok(Campaign::Lost(leader.clone()));
        }
        state.term += 1;
        state.commit = None;
        let handed_over = std::mem::take(&mut state.resigned) || state.term == 1;
        Ok(Campaign::Won { term: LeaderTerm(state.term), handed_over })
    }

    async fn resign(&self, term: LeaderTerm) -> Result<(), StoreError> {
        let mut state = self.state();
        state.resigned = state.term == term.0;
        Ok(())
    }

    async fn withdraw(&self, _term: LeaderTerm) -> Result<(), StoreError> {
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    async fn write(&self, term: LeaderTerm, commit: CommitId, writes: Vec<Write>) -> Result<(), CommitError> {
        let mut state = self.state();
        let outcome = state.injected.pop_front().unwrap_or(InjectedOutcome::Done);
        if outcome == InjectedOutcome::Deposed {
            state.term += 1;
        }
        state.check_term(term)?;
        match outcome {
            InjectedOutcome::Done | InjectedOutcome::Deposed => {
                state.apply(commit, writes);
                Ok(())
            }
            InjectedOutcome::Refused => Err(CommitError::Refused { source: injected_error() }),
            InjectedOutcome::UnknownWritten => {
                state.apply(commit, writes);
                Err(CommitError::Unknown { source: injected_error() })
            }
            InjectedOutcome::UnknownNotWritten => Err(CommitError::Unknown { source: injected_error() }),
            InjectedOutcome::UnknownTwice => {
                state.unanswered_read_backs = 1;
                Err(CommitError::Unknown { source: injected_error() })
            }
        }
    }

    async fn read_back(&self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.unanswered_read_backs > 0 {
            state.unanswered_read_backs -= 1;
            return Err(injected_error());
        }
        if state.term != term.0 {
            return Err(StoreError::Unavailable {
                action: "read back from",
                source: "another term leads".into(),
            });
        }
        Ok(state.commit == Some(commit))
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        let state = self.state();
        let rows = state.rows.range(range.start.clone()..range.end.clone());
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        let state = self.state();
        let mut rows = state.rows.range(range.start.clone()..range.end.clone());
        Ok(rows.next_back().map(|(key, value)| (key.clone(), value.clone())))
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        let state = self.state();
        Ok(state.rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}
