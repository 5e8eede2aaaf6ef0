//! Forgetting history that nobody reads: etcd keeps every version of every key until it is told not to.

use std::time::Duration;

use etcd_client::Client;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::reads::Reads;

/// Nothing here reads history. A minute is for people who look what happened.
const INTERVAL: Duration = Duration::from_secs(60);

/// Compacts, once in a while, up to where the leader was one interval before.
pub(super) struct Compactor {
    ticks: Interval,
    /// The revision at the last tick.
    next: Option<i64>,
    _running: Option<AbortOnDropHandle<()>>,
}

impl Compactor {
    pub(super) fn new() -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, next: None, _running: None }
    }

    /// Waits until it is time. Loses nothing when dropped.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// `revision`: of the leader's last write; `None` while this process does not lead.
    pub(super) fn tick(&mut self, revision: Option<i64>, reads: &Reads) {
        let due = std::mem::replace(&mut self.next, revision);
        let (Some(due), Some(_)) = (due, revision) else { return };
        self._running = Some(AbortOnDropHandle::new(tokio::spawn(compact(reads.clone(), due))));
    }
}

async fn compact(reads: Reads, revision: i64) {
    let compact = async |mut client: Client| client.compact(revision, None).await;
    // Usually it is compacted already: nothing was written since, or another user of etcd did it.
    if let Err(error) = reads.connection.call(compact).await {
        tracing::debug!(%error, revision, "etcd's history was not compacted, it is tried again later");
    }
}
