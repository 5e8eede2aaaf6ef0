//! Which principal a worker belongs to: nobody else may speak in its name, or of what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warifu_common::status::ApiError;
use warifu_model::protocol::{Hello, WorkerMessage};
use warifu_model::{Incarnation, LeaseId, WorkerId};

use super::{Authority, Principal, audit};
use crate::driver::DriverHandle;

/// The method of the audit log's lines.
const METHOD: &str = "/warifu.v1.WorkerService/Connect";

/// Workers whose principals are remembered before those that are gone are forgotten.
const MAX_WORKERS: usize = 10_000;

/// How long a name is its principal's although the scheduler does not know the worker: longer than a Hello takes there.
const CLAIM_HOLDS: Duration = Duration::from_secs(10);

/// Whose each worker is, from its first Hello until the scheduler does not know it any more; cheap to clone.
#[derive(Clone)]
pub(crate) struct WorkerGuard {
    /// Absent: everybody may be any worker.
    authority: Option<Arc<Authority>>,
    driver: DriverHandle,
    /// Locked for a look only.
    owners: Arc<Mutex<BTreeMap<WorkerId, Claim>>>,
}

/// Whose a worker is.
struct Claim {
    principal: Arc<str>,
    /// When it said Hello last. The scheduler may not have heard of it yet.
    at: Instant,
}

impl Claim {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < CLAIM_HOLDS
    }
}

impl WorkerGuard {
    pub(crate) fn new(authority: Option<Arc<Authority>>, driver: DriverHandle) -> Self {
        Self { authority, driver, owners: Arc::default() }
    }

    /// Checks that the worker of a Hello is the principal's.
    pub(crate) async fn admit(&self, principal: &Principal, hello: &Hello) -> Result<(), ApiError> {
        if self.authority.is_none() {
            return Ok(());
        }
        let (worker, incarnation) = (hello.worker.clone(), hello.incarnation);
        let (is_known, of_incarnation) = self
            .driver
            .query(move |scheduler| (scheduler.worker(&worker).is_some(), scheduler.worker_of(incarnation)))
            .await?;
        self.make_room().await?;
        let owned = of_incarnation.is_none_or(|worker| worker == hello.worker)
            && self.claim(&hello.worker, &principal.name, is_known);
        self.decided(owned, principal, &hello.worker)
    }

    /// Checks that a message speaks of nothing that another process holds, and that its sender may still speak.
    pub(crate) async fn allow(
        &self,
        principal: &Principal,
        (worker, incarnation): (&WorkerId, Incarnation),
        message: &WorkerMessage,
    ) -> Result<(), ApiError> {
        let Some(authority) = &self.authority else { return Ok(()) };
        if !authority.still_accepts(principal) {
            audit::record(principal, METHOD, worker.as_str(), tonic::Code::Unauthenticated);
            return Err(ApiError::Unauthenticated);
        }
        if let WorkerMessage::Hello(hello) = message
            && (hello.worker != *worker || hello.incarnation != incarnation)
        {
            return self.decided(false, principal, &hello.worker);
        }
        let Some(lease) = lease_of(message) else { return Ok(()) };
        let holder = self.driver.query(move |scheduler| scheduler.process_with(lease)).await?;
        match holder {
            Some(holder) if holder != incarnation => self.decided(false, principal, worker),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the name for the principal, unless a worker of it lives that is another's.
    fn claim(&self, worker: &WorkerId, principal: &Arc<str>, is_known: bool) -> bool {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.get(worker) {
            Some(claim) if claim.principal != *principal && (is_known || claim.is_fresh()) => false,
            Some(_) | None => {
                owners.insert(worker.clone(), Claim { principal: principal.clone(), at: Instant::now() });
                true
            }
        }
    }

    async fn make_room(&self) -> Result<(), ApiError> {
        let len = self.owners.lock().unwrap_or_else(PoisonError::into_inner).len();
        if len < MAX_WORKERS {
            return Ok(());
        }
        let workers = self.driver.query(|scheduler| scheduler.workers()).await?;
        let known: BTreeSet<WorkerId> = workers.into_iter().map(|worker| worker.id).collect();
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, claim| claim.is_fresh() || known.contains(id));
        Ok(())
    }

    fn decided(&self, owned: bool, principal: &Principal, worker: &WorkerId) -> Result<(), ApiError> {
        let code = if owned { tonic::Code::Ok } else { tonic::Code::PermissionDenied };
        audit::record(principal, METHOD, worker.as_str(), code);
        if owned { Ok(()) } else { Err(ApiError::WorkerOfAnother(worker.clone())) }
    }
}

/// The lease that a message speaks of. Those of a Hello are its process's own.
fn lease_of(message: &WorkerMessage) -> Option<LeaseId> {
    match message {
        WorkerMessage::Begun { lease, .. } | WorkerMessage::Returned { lease, .. } => Some(*lease),
        WorkerMessage::Report(report) => Some(report.lease),
        WorkerMessage::Hello(_)
        | WorkerMessage::Heartbeat { .. }
        | WorkerMessage::Shrink { .. }
        | WorkerMessage::Probed { .. }
        | WorkerMessage::Scanned { .. }
        | WorkerMessage::Staged { .. }
        | WorkerMessage::Fault { .. }
        | WorkerMessage::Draining
        | WorkerMessage::Goodbye => None,
    }
}
