//! What takes time: transactions, reads of the store, manifests. Each ends as something that the term can go on with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use warifu_common::error_chain::Chain;
use warifu_common::object_store::{ObjectError, ObjectLocation, ObjectStore};
use warifu_model::MapRunId;
use warifu_scheduler::{Commit, CommitOutcome, Event, ManifestOrder};

use crate::manifest::Parts;
use crate::metrics::Metrics;
use crate::state_store::{CommitError, StateStore, StoreError};

/// Questions whether an unknown commit was written; then the term ends.
const READ_BACK_ATTEMPTS: u32 = 5;
/// Attempts to read records; then the term ends.
const LOAD_ATTEMPTS: u32 = 8;
/// Staged objects of a run that are deleted at once: each attempt leaves one.
const MAX_STAGED_OBJECTS: usize = 1_000;
/// Waits between them: the first, and the longest.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How a task ended.
pub(super) enum Finished {
    /// Tell the scheduler.
    Event(Box<Event>),
    /// The store does not give what the scheduler needs: begin again.
    GiveUp(&'static str),
}

/// Writes a transaction. `refusals` in a row before this one make it wait first: the scheduler sends again at once.
pub(super) async fn commit(
    store: Arc<dyn StateStore>,
    metrics: Arc<Metrics>,
    commit: Commit,
    refusals: u32,
) -> Finished {
    if refusals > 0 {
        tokio::time::sleep(delay_after(refusals)).await;
    }
    let started = Instant::now();
    let outcome = match store.commit(&commit).await {
        Ok(()) => CommitOutcome::Done,
        Err(error) => outcome_of(&*store, &commit, error).await,
    };
    metrics.note_commit(outcome, started.elapsed());
    Finished::Event(Box::new(Event::CommitFinished { commit: commit.id, outcome }))
}

/// Sorts an error by what it obliges to, reading back what is unknown.
async fn outcome_of(store: &dyn StateStore, commit: &Commit, error: CommitError) -> CommitOutcome {
    let commit_id = commit.id.0;
    let text = Chain(&error).to_string();
    match error {
        CommitError::Deposed { .. } => {
            tracing::warn!(commit_id, error = text, "deposed, nothing was written");
            CommitOutcome::Deposed
        }
        CommitError::Refused { .. } => {
            tracing::warn!(
                commit_id,
                error = text,
                "the state store refused a transaction, it is sent again"
            );
            CommitOutcome::Refused
        }
        CommitError::Unknown { .. } => {
            tracing::warn!(commit_id, error = text, "the outcome of a transaction is unknown, reading back");
            read_back(store, commit).await
        }
    }
}

async fn read_back(store: &dyn StateStore, commit: &Commit) -> CommitOutcome {
    for attempt in 1..=READ_BACK_ATTEMPTS {
        match store.read_back(commit.term, commit.id).await {
            Ok(true) => return CommitOutcome::Done,
            Ok(false) => return CommitOutcome::Refused,
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::warn!(commit_id = commit.id.0, attempt, error, "reading back failed");
            }
        }
        tokio::time::sleep(delay_after(attempt)).await;
    }
    CommitOutcome::Unknown
}

/// Reads all shard records of a run.
pub(super) async fn load_shards(store: Arc<dyn StateStore>, map_run: MapRunId) -> Finished {
    match read(&map_run, "shards", || store.load_shards(&map_run)).await {
        Some(shards) => Finished::Event(Box::new(Event::ShardsLoaded { map_run, shards })),
        None => Finished::GiveUp("the state store does not give the shards of a map run"),
    }
}

/// Writes a run's manifest and what belongs to it.
pub(super) async fn write_manifest(
    store: Arc<dyn StateStore>,
    objects: Arc<dyn ObjectStore>,
    order: ManifestOrder,
) -> Finished {
    let Some(parts) = read(&order.map_run, "parts", || Parts::read(&*store, &order)).await else {
        return Finished::GiveUp("the state store does not give the parts of a map run");
    };
    let result = crate::manifest::write(&*objects, &order, parts).await;
    crate::manifest::sweep(&*objects, &order).await;
    if let Err(fault) = &result {
        let map_run = &order.map_run;
        tracing::error!(%map_run, error = fault.error, cause = fault.cause, "the results cannot be written");
    }
    Finished::Event(Box::new(Event::ManifestWritten {
        map_run: order.map_run,
        redrive: order.redrive,
        result,
    }))
}

/// Deletes what was staged for a run, but for one object.
pub(super) async fn clean_staged(
    objects: Arc<dyn ObjectStore>,
    map_run: MapRunId,
    bucket: String,
    prefix: String,
    keep: Option<String>,
) -> Finished {
    if let Err(error) = delete_all(&*objects, &bucket, &prefix, keep.as_deref()).await {
        let error = Chain(&error).to_string();
        tracing::warn!(%map_run, bucket, prefix, error, "staged objects of a map run are left, delete them by hand");
    }
    Finished::Event(Box::new(Event::StagedCleaned { map_run }))
}

async fn delete_all(
    objects: &dyn ObjectStore,
    bucket: &str,
    prefix: &str,
    keep: Option<&str>,
) -> Result<(), ObjectError> {
    // Not every store can list them; what S3 does with uploads that are never completed, its lifecycle rules say.
    if let Err(error) = objects.abort_uploads(bucket, prefix).await {
        tracing::debug!(bucket, prefix, error = %Chain(&error), "unfinished uploads cannot be listed");
    }
    // A staging leaves one object, and there are few of them: one page is all.
    let listed = match objects.list(bucket, prefix, MAX_STAGED_OBJECTS).await {
        Err(ObjectError::NotFound { .. }) => return Ok(()),
        listed => listed?,
    };
    for object in listed.into_iter().filter(|object| Some(object.key.as_str()) != keep) {
        objects.delete(&ObjectLocation::new(bucket, object.key)).await?;
    }
    Ok(())
}

/// Reads records of a run, several times if need be; `None`: the store does not give them.
async fn read<T, F>(map_run: &MapRunId, what: &'static str, mut attempt_to: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for attempt in 1..=LOAD_ATTEMPTS {
        match attempt_to().await {
            Ok(records) => return Some(records),
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::warn!(%map_run, what, attempt, error, "reading records of a map run failed");
            }
        }
        tokio::time::sleep(delay_after(attempt)).await;
    }
    None
}

fn delay_after(failures: u32) -> Duration {
    RETRY_DELAY.0.saturating_mul(1 << (failures - 1).min(10)).min(RETRY_DELAY.1)
}

#[cfg(test)]
mod tests {
    use warifu_model::LeaderTerm;
    use warifu_scheduler::CommitId;

    use super::*;
    use crate::state_store::MemoryStore;
    use crate::state_store::memory::InjectedOutcome;

    async fn outcome_with(injected: InjectedOutcome) -> CommitOutcome {
        let store = Arc::new(MemoryStore::new());
        let (term, _) = store.lead().await.unwrap().taken().unwrap();
        store.inject([injected]);
        let transaction = Commit { id: CommitId(1), term, records: Vec::new() };
        let finished = commit(store, Arc::default(), transaction, 0).await;
        let Finished::Event(event) = finished else { panic!("the store answers") };
        let Event::CommitFinished { commit: CommitId(1), outcome } = *event else { panic!("{event:?}") };
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_in_which_a_transaction_can_end_is_told_for_what_it_is() {
        for (injected, expected) in [
            (InjectedOutcome::Done, CommitOutcome::Done),
            (InjectedOutcome::Deposed, CommitOutcome::Deposed),
            (InjectedOutcome::Refused, CommitOutcome::Refused),
            (InjectedOutcome::UnknownWritten, CommitOutcome::Done),
            (InjectedOutcome::UnknownNotWritten, CommitOutcome::Refused),
            (InjectedOutcome::UnknownTwice, CommitOutcome::Refused),
        ] {
            assert_eq!(outcome_with(injected).await, expected, "{injected:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_back_stays_unknown() {
        let store = MemoryStore::new();
        let (old, _) = store.lead().await.unwrap().taken().unwrap();
        assert_ne!(store.lead().await.unwrap().taken().unwrap().0, LeaderTerm(1));
        let transaction = Commit { id: CommitId(1), term: old, records: Vec::new() };
        assert_eq!(read_back(&store, &transaction).await, CommitOutcome::Unknown);
    }
}
