//! The state store of one simulation: records in memory, and leadership that a coordinator loses when it is silent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use warifu_coordinator::state_store::memory::InjectedOutcome;
use warifu_coordinator::state_store::{
    Campaign, CommitError, KeyRange, Leader, Member, MemoryStore, Row, StateStore, StoreError, Write,
};
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use crate::network::endpoint;
use crate::scene::elapsed;

/// How long leadership outlives its holder. Coordinators are told two thirds of it.
pub(crate) const LEADER_TTL: Duration = Duration::from_secs(6);
/// How often the holder renews it.
const RENEW_INTERVAL: Duration = Duration::from_millis(1_500);
/// How long half of an operation takes.
const HALF: Duration = Duration::from_millis(2);
/// How long a coordinator waits for a store that it cannot reach.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

/// What all coordinators share.
#[derive(Debug)]
pub(crate) struct Records {
    memory: MemoryStore,
    coordinators: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who leads, in which term, and until when unless it says more.
    held: Option<(usize, LeaderTerm, Duration)>,
    terms: u64,
    /// Until then a coordinator does not reach the store.
    cut_until: std::collections::BTreeMap<usize, Duration>,
}

impl Records {
    pub(crate) fn new(coordinators: usize) -> Self {
        Self { memory: MemoryStore::new(), coordinators, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a coordinator from the store until then.
    pub(crate) fn cut(&self, coordinator: usize, until: Duration) {
        self.state().cut_until.insert(coordinator, until);
    }

    /// Loses the answers of the next transactions, or refuses them.
    pub(crate) fn lose_answers(&self) {
        self.memory.inject([
            InjectedOutcome::UnknownWritten,
            InjectedOutcome::Refused,
            InjectedOutcome::UnknownNotWritten,
            InjectedOutcome::UnknownTwice,
        ]);
    }

    /// Terms that have begun.
    pub(crate) fn terms(&self) -> u64 {
        self.state().terms
    }
}

/// The store as one coordinator reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) records: Arc<Records>,
    pub(crate) coordinator: usize,
}

impl Seat {
    fn is_cut(&self) -> bool {
        self.records.state().cut_until.get(&self.coordinator).is_some_and(|until| elapsed() < *until)
    }

    async fn reach(&self, action: &'static str) -> Result<(), StoreError> {
        if self.is_cut() {
            tokio::time::sleep(UNREACHABLE_AFTER).await;
            return Err(StoreError::Unavailable { action, source: "the store is out of reach".into() });
        }
        tokio::time::sleep(HALF).await;
        Ok(())
    }

    /// Who leads, if it is not this coordinator.
    fn other_leader(&self) -> Option<Leader> {
        let (holder, term, until) = self.records.state().held?;
        let leads = holder != self.coordinator && elapsed() < until;
        leads.then(|| Leader { term, endpoint: endpoint(holder) })
    }

    /// Keeps the lead until another has it, or this process ends.
    async fn renew(self, term: LeaderTerm) {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            if self.is_cut() {
                continue;
            }
            match &mut self.records.state().held {
                Some((holder, held, until)) if (*holder, *held) == (self.coordinator, term) => {
                    *until = elapsed() + LEADER_TTL;
                }
                Some(_) | None => return,
            }
        }
    }
}

#[async_trait]
impl StateStore for Seat {
    async fn campaign(&self) -> Result<Campaign, StoreError> {
        self.reach("stand for the lead in").await?;
        if let Some(leader) = self.other_leader() {
            return Ok(Campaign::Lost(leader));
        }
        let campaign = self.records.memory.campaign().await?;
        if let Campaign::Won { term, .. } = &campaign {
            let mut state = self.records.state();
            state.held = Some((self.coordinator, *term, elapsed() + LEADER_TTL));
            state.terms += 1;
            tokio::spawn(self.clone().renew(*term));
        }
        Ok(campaign)
    }

    async fn resign(&self, term: LeaderTerm) -> Result<(), StoreError> {
        self.reach("resign in").await?;
        self.records.memory.resign(term).await?;
        let mut state = self.records.state();
        if state.held.is_some_and(|(_, held, _)| held == term) {
            state.held = None;
        }
        Ok(())
    }

    async fn withdraw(&self, term: LeaderTerm) -> Result<(), StoreError> {
        self.reach("withdraw from the lead in").await?;
        let mut state = self.records.state();
        if state.held.is_some_and(|(_, held, _)| held == term) {
            state.held = None;
        }
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        let member = |index| Member { endpoint: endpoint(index), version: version.to_owned() };
        Ok((0..self.records.coordinators).map(member).collect())
    }

    async fn write(&self, term: LeaderTerm, commit: CommitId, writes: Vec<Write>) -> Result<(), CommitError> {
        self.reach("write to").await.map_err(|source| CommitError::Unknown { source })?;
        let written = self.records.memory.write(term, commit, writes).await;
        // Whoever dies or is cut off half-way does not know whether it was written.
        self.reach("write to").await.map_err(|source| CommitError::Unknown { source })?;
        written
    }

    async fn read_back(&self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        self.reach("read back from").await?;
        self.records.memory.read_back(term, commit).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.reach("read from").await?;
        self.records.memory.scan(range, limit).await
    }

    async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.reach("read from").await?;
        self.records.memory.last(range).await
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.records.memory.size_bytes().await
    }

    fn kind(&self) -> &'static str {
        "simulated"
    }
}
