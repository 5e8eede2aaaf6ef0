//! The one task that writes to a SQLite database: it has one writer at a time, and a queue is fairer than its lock.
//!
//! Calls that wait together share a transaction, each under its own savepoint, so that one `fsync` serves many. A call
//! whose caller is gone before its turn is passed over; one that was begun is finished.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use warifu_common::model::CallFailure;

use super::apply::{Tables, apply};
use super::failure::failure_of;
use super::job::{Job, Outcome, as_answer, gone};
use super::session::Session;
use crate::handler::HandlerAnswer;

/// Calls that may wait; the slots of a worker bound them too.
const MAX_WAITING_JOBS: usize = 256;

/// Calls that share a transaction at most: a failure to commit repeats that many one by one.
const MAX_JOBS_PER_TRANSACTION: usize = 32;

struct WaitingJob {
    job: Job,
    reply: oneshot::Sender<Outcome>,
}

/// Hands calls to the writing task.
pub(super) struct Writer {
    jobs: mpsc::Sender<WaitingJob>,
}

impl Writer {
    /// Starts the task.
    pub(super) fn start(session: Session, tables: Arc<Tables>) -> Self {
        let (jobs, queue) = mpsc::channel(MAX_WAITING_JOBS);
        // It ends by itself when the handler is gone and the queue is empty: a transaction is never cut off.
        tokio::spawn(work_off(session, tables, queue));
        Self { jobs }
    }

    /// Applies a job; after a cancellation nobody knows whether it was, but the ledger does.
    pub(super) async fn write(&self, job: Job, cancel: &CancellationToken) -> HandlerAnswer {
        let (reply, answer) = oneshot::channel();
        // Cancel-safe arms: a send that does not happen loses only a job that nobody waits for.
        tokio::select! {
            sent = self.jobs.send(WaitingJob { job, reply }) => if sent.is_err() { return gone() },
            () = cancel.cancelled() => return gone(),
        }
        tokio::select! {
            answer = answer => answer.map_or_else(|_| gone(), as_answer),
            () = cancel.cancelled() => gone(),
        }
    }
}

async fn work_off(mut session: Session, tables: Arc<Tables>, mut queue: mpsc::Receiver<WaitingJob>) {
    let mut group = Vec::with_capacity(MAX_JOBS_PER_TRANSACTION);
    while queue.recv_many(&mut group, MAX_JOBS_PER_TRANSACTION).await > 0 {
        group.retain(|waiting| !waiting.reply.is_closed());
        write_group(&mut session, &tables, std::mem::take(&mut group)).await;
    }
    if let Err(error) = session.close().await {
        warn!(%error, "the database was not closed cleanly");
    }
}

async fn write_group(session: &mut Session, tables: &Tables, group: Vec<WaitingJob>) {
    let outcomes = in_transaction(session, tables, &group).await;
    match outcomes {
        Ok(outcomes) => {
            for (waiting, outcome) in group.into_iter().zip(outcomes) {
                // The caller may have given up; the ledger remembers for it.
                let _ = waiting.reply.send(outcome);
            }
        }
        Err(_) if group.len() > 1 => {
            for waiting in group {
                Box::pin(write_group(session, tables, vec![waiting])).await;
            }
        }
        Err(failure) => {
            for waiting in group {
                let _ = waiting.reply.send(Err(failure.clone()));
            }
        }
    }
}

/// Applies jobs in one transaction; an error means that none of them was applied, as far as is known.
async fn in_transaction(
    session: &mut Session,
    tables: &Tables,
    group: &[WaitingJob],
) -> Result<Vec<Outcome>, CallFailure> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    run(session, "BEGIN IMMEDIATE").await?;
    let applied = apply_all(session, tables, group).await;
    let committed = match applied {
        Ok(outcomes) => run(session, "COMMIT").await.map(|()| outcomes),
        Err(failure) => Err(failure),
    };
    if committed.is_err() {
        // It fails if SQLite has rolled back by itself.
        let _ = run(session, "ROLLBACK").await;
    }
    committed
}

async fn apply_all(
    session: &mut Session,
    tables: &Tables,
    group: &[WaitingJob],
) -> Result<Vec<Outcome>, CallFailure> {
    let mut outcomes = Vec::with_capacity(group.len());
    for waiting in group {
        run(session, "SAVEPOINT job").await?;
        let outcome = apply(session, tables, &waiting.job).await;
        if outcome.is_err() {
            run(session, "ROLLBACK TO job").await?;
        }
        run(session, "RELEASE job").await?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

async fn run(session: &mut Session, sql: &str) -> Result<(), CallFailure> {
    session.run(sql).await.map_err(|error| failure_of(&error))
}
