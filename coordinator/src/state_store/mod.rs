//! What must survive a crash of the coordinator: the records of `warifu_scheduler::record`, under guarded writes.
//!
//! Owns keys, the form of records, and the four ways in which a transaction can end. Deliberately knows nothing of what
//! records mean: it never decides, merges or repairs.
//!
//! **Invariant:** nothing is written but under a guard on the term, in the same transaction as the id of the commit: a deposed
//! leader cannot write, and whether a commit was written can be read back.
//!
//! Start at [`StateStore`]; [`etcd`] keeps a cluster's records, [`sqlite`] one process's, [`memory`] those of a test.

use async_trait::async_trait;
use warifu_common::error_chain::Chain;
use warifu_model::{ItemFailure, LeaderTerm, MapRunId, ShardNumber};
use warifu_scheduler::record::{
    PartsRecord, PlanRecord, RosterRecord, ShardRecord, Snapshot, SpecRecord, StatusRecord, StoredMapRun,
};
use warifu_scheduler::{Commit, CommitId};

mod codec;
#[cfg(test)]
mod contract_tests;
pub mod etcd;
mod keys;
pub mod memory;
#[cfg(test)]
pub(crate) mod samples;
pub mod sqlite;
mod write;

pub use etcd::EtcdStore;
pub use keys::KeyRange;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use warifu_model::protocol::LeaderAddress as Leader;
pub use write::Write;

/// Records read at once. A shard's record is at most 64 KiB and usually half of one.
const PAGE_RECORDS: usize = 4_096;

/// What failed before a decision could be made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or cannot do it now. The same call may succeed later.
    #[error("cannot {action} the state store")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record is not what this process can read. A person must look; starting again does not help.
    #[error("the {kind} record {key} cannot be read")]
    Corrupt {
        /// Its key.
        key: String,
        /// What it should be.
        kind: &'static str,
        /// Why it is not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store belongs to another process.
    #[error("the state store {} is in use by another process; stop that one, or choose another data directory", path.display())]
    InUse {
        /// Its file.
        path: std::path::PathBuf,
    },
    /// The store's file or its directory cannot be used.
    #[error("cannot use the state store {}", path.display())]
    File {
        /// Its file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Why a transaction did not return "committed".
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: another process leads. Stop leasing at once.
    #[error("leadership of term {term} was lost")]
    Deposed {
        /// The term that wanted to write.
        term: LeaderTerm,
    },
    /// Nothing was written. The same transaction may be sent again.
    #[error("the state store refused the transaction")]
    Refused {
        /// Why.
        source: StoreError,
    },
    /// It may have been written. Read back before deciding; a blind retry could count twice.
    #[error("the outcome of the transaction is unknown")]
    Unknown {
        /// Why.
        source: StoreError,
    },
}

/// How standing for the lead ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Campaign {
    /// This process leads from now on: no older term can write any more.
    Won {
        /// The new term.
        term: LeaderTerm,
        /// The term before it ended by [`StateStore::resign`]: its leader has certainly stopped deciding.
        handed_over: bool,
    },
    /// Another process leads.
    Lost(Leader),
}

/// A process that may lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// How others reach it.
    pub endpoint: String,
    /// Its version.
    pub version: String,
}

/// How taking the lead ended.
#[derive(Debug)]
pub enum Lead {
    /// This process leads, and goes on from here.
    Taken(LeaderTerm, Box<Snapshot>),
    /// Another process leads.
    Follow(Leader),
}

impl Lead {
    /// The term and its beginning, if this process leads.
    pub fn taken(self) -> Option<(LeaderTerm, Snapshot)> {
        match self {
            Lead::Taken(term, snapshot) => Some((term, *snapshot)),
            Lead::Follow(_) => None,
        }
    }
}

/// A key and its value.
pub type Row = (String, Vec<u8>);

/// Keeps records under guarded transactions.
///
/// An implementation provides the methods on leadership, keys and values; those on records come with the trait.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// Stands for the lead once, without waiting for another leader to go. If it wins, a next term has begun in a guarded
    /// write, and no older one can write any more. Where this process led already, its old term is over, too.
    async fn campaign(&self) -> Result<Campaign, StoreError>;

    /// Ends `term` and says that its leader has stopped deciding, so that the next one need not wait for that.
    ///
    /// Nothing is lost if it fails: the next leader waits then.
    async fn resign(&self, term: LeaderTerm) -> Result<(), StoreError>;

    /// Ends `term`, whose leader has decided nothing, and says nothing of the one before, who may still be deciding.
    ///
    /// Nothing is lost if it fails: others wait then until the lead runs out.
    async fn withdraw(&self, term: LeaderTerm) -> Result<(), StoreError>;

    /// Processes that may lead, this one among them; empty if there is none but this.
    async fn members(&self) -> Result<Vec<Member>, StoreError>;

    /// Does all of `writes` in order, and notes `commit`, if and only if `term` leads.
    async fn write(&self, term: LeaderTerm, commit: CommitId, writes: Vec<Write>) -> Result<(), CommitError>;

    /// Whether a commit whose outcome was unknown was written. `false` promises that it never will be.
    ///
    /// Only the latest commit of the current term can be asked for.
    async fn read_back(&self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError>;

    /// Rows of `range` in the order of their keys, at most `limit`.
    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// The last row of `range`.
    async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError>;

    /// Bytes that the store takes.
    async fn size_bytes(&self) -> Result<u64, StoreError>;

    /// What it is called: `sqlite`, `etcd`, `memory`.
    fn kind(&self) -> &'static str;

    /// Takes the lead, and reads everything that the scheduler goes on from.
    ///
    /// No other term can write any more, and the caller does not before it has the answer: what is read is of one moment.
    /// If a record cannot be read the lead is given up again: another process may be able to, such as one of a newer version.
    async fn lead(&self) -> Result<Lead, StoreError> {
        let (term, handed_over) = match self.campaign().await? {
            Campaign::Won { term, handed_over } => (term, handed_over),
            Campaign::Lost(leader) => return Ok(Lead::Follow(leader)),
        };
        match self.snapshot(handed_over).await {
            Ok(snapshot) => Ok(Lead::Taken(term, Box::new(snapshot))),
            Err(unreadable @ StoreError::Corrupt { .. }) => {
                if let Err(error) = self.withdraw(term).await {
                    let error = Chain(&error).to_string();
                    tracing::debug!(%term, error, "others lead only when this process's lead runs out");
                }
                Err(unreadable)
            }
            Err(error) => Err(error),
        }
    }

    /// Everything that the scheduler goes on from.
    async fn snapshot(&self, handed_over: bool) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot { handed_over, ..Snapshot::default() };
        for (key, _) in scan_all(self, keys::used_ids()).await? {
            let id = keys::id_of(&key).ok_or_else(|| misplaced(&key, "id"))?;
            match self.map_run(&id).await? {
                Some(map_run) => snapshot.map_runs.push(map_run),
                None => snapshot.used_ids.push(id),
            }
        }
        for (key, value) in scan_all(self, keys::roster()).await? {
            let worker = keys::worker_of(&key).ok_or_else(|| misplaced(&key, "roster"))?;
            snapshot.roster.push((worker, codec::decode::<RosterRecord>(&key, &value)?));
        }
        snapshot.map_runs.sort_by_key(|map_run| map_run.spec.sequence);
        Ok(snapshot)
    }

    /// One guarded transaction of the scheduler.
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let writes = write::writes_of(&commit.records).map_err(|source| CommitError::Refused { source })?;
        self.write(commit.term, commit.id, writes).await
    }

    /// One stored run, or `None` if its id is free or it was deleted.
    async fn map_run(&self, id: &MapRunId) -> Result<Option<StoredMapRun>, StoreError> {
        let status_key = keys::status(id);
        let Some(status) = get::<StatusRecord, _>(self, &status_key).await? else {
            return Ok(None);
        };
        let spec = self.spec(id).await?.ok_or_else(|| misplaced(&status_key, "spec"))?;
        let plan = self.plan(id).await?;
        let outputs = if status.output_chunks == 0 { Vec::new() } else { outputs(self, id).await? };
        let shards = if status.state.is_terminal() { Vec::new() } else { self.load_shards(id).await? };
        Ok(Some(StoredMapRun { id: id.clone(), spec, status, plan, shards, outputs }))
    }

    /// What a run does.
    async fn spec(&self, id: &MapRunId) -> Result<Option<SpecRecord>, StoreError> {
        get(self, &keys::spec(id)).await
    }

    /// How a run stands, as it was written last.
    async fn status(&self, id: &MapRunId) -> Result<Option<StatusRecord>, StoreError> {
        get(self, &keys::status(id)).await
    }

    /// The header and the plan of a run, once it is probed.
    async fn plan(&self, id: &MapRunId) -> Result<Option<PlanRecord>, StoreError> {
        get(self, &keys::plan(id)).await
    }

    /// Shard records of a run from number `from` on, in order, at most `limit`.
    async fn shards_from(
        &self,
        id: &MapRunId,
        from: ShardNumber,
        limit: usize,
    ) -> Result<Vec<(ShardNumber, ShardRecord)>, StoreError> {
        let range = KeyRange { start: keys::shard(id, from), ..keys::shards(id) };
        shard_records(&self.scan(&range, limit).await?)
    }

    /// All shard records of a run, in order.
    async fn load_shards(&self, id: &MapRunId) -> Result<Vec<(ShardNumber, ShardRecord)>, StoreError> {
        shard_records(&scan_all(self, keys::shards(id)).await?)
    }

    /// Failed items of a run in the order in which they were counted: the `from`-th and on, at most `limit`.
    async fn failures(&self, id: &MapRunId, from: u64, limit: usize) -> Result<Vec<ItemFailure>, StoreError> {
        let all = keys::failures(id);
        let up_to_from = KeyRange { end: keys::after(&keys::failures_from(id, from)), ..all.clone() };
        let start = self.last(&up_to_from).await?.map_or(all.start, |(key, _)| key);
        let mut range = KeyRange { start, end: all.end };
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = self.scan(&range, FAILURE_PAGE_RECORDS).await?;
            let Some((last, _)) = rows.last() else { break };
            range.start = keys::after(last);
            for (key, value) in &rows {
                let first = keys::number_of(key).ok_or_else(|| misplaced(key, "failures"))?;
                let failures: Vec<ItemFailure> = codec::decode(key, value)?;
                let passed_over = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
                found.extend(failures.into_iter().skip(passed_over));
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Entries of a run's log of parts: the `from`-th and on, before the `end`-th, and no more than a page of them.
    ///
    /// All of them must be there: an empty answer means that `from` is `end`.
    async fn parts(&self, id: &MapRunId, from: u64, end: u64) -> Result<Vec<PartsRecord>, StoreError> {
        let range =
            KeyRange { start: keys::parts_entry(id, from), end: keys::parts_entry(id, end.max(from)) };
        let rows = self.scan(&range, PARTS_PAGE_RECORDS).await?;
        if rows.is_empty() && from < end {
            return Err(misplaced(&range.start, "parts"));
        }
        let entry = |(number, (key, value)): (u64, &Row)| match keys::number_of(key) {
            Some(found) if found == number => codec::decode(key, value),
            Some(_) | None => Err(misplaced(key, "parts")),
        };
        (from..).zip(&rows).map(entry).collect()
    }
}

/// Records of failures read at once: each may hold hundreds of failures.
const FAILURE_PAGE_RECORDS: usize = 16;

/// Entries of the log of parts read at once: each may hold a thousand files.
const PARTS_PAGE_RECORDS: usize = 32;

/// Every row of a range, read in pages.
async fn scan_all<S: StateStore + ?Sized>(store: &S, mut range: KeyRange) -> Result<Vec<Row>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = store.scan(&range, PAGE_RECORDS).await?;
        let is_last = page.len() < PAGE_RECORDS;
        all.extend(page);
        match all.last() {
            Some((key, _)) if !is_last => range.start = keys::after(key),
            _ => return Ok(all),
        }
    }
}

fn shard_records(rows: &[Row]) -> Result<Vec<(ShardNumber, ShardRecord)>, StoreError> {
    let record = |(key, value): &Row| {
        let shard = keys::shard_of(key).ok_or_else(|| misplaced(key, "shard"))?;
        Ok((shard, codec::decode(key, value)?))
    };
    rows.iter().map(record).collect()
}

async fn get<T: codec::Stored, S: StateStore + ?Sized>(
    store: &S,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let rows = store.scan(&KeyRange::one(key.to_owned()), 1).await?;
    rows.first().map(|(key, value)| codec::decode(key, value)).transpose()
}

async fn outputs<S: StateStore + ?Sized>(store: &S, id: &MapRunId) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    for (key, value) in scan_all(store, keys::outputs(id)).await? {
        lines.extend(codec::decode::<Vec<String>>(&key, &value)?);
    }
    Ok(lines)
}

fn misplaced(key: &str, kind: &'static str) -> StoreError {
    let source = "its key, or what belongs to it, is not of the form that this process writes".into();
    StoreError::Corrupt { key: key.to_owned(), kind, source }
}
