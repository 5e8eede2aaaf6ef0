//! Deletes runs that ended long ago, as a user would.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warifu_model::{MapRunId, WallTime};
use warifu_scheduler::{Event, Scheduler};

use crate::clock::Clock;
use crate::driver::DriverHandle;

/// How often it looks. Nobody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Runs that are deleted at one look: the store and its other users have work to do.
const MAX_DELETIONS: usize = 100;

/// Deletes runs whose end is longer ago than `kept`, until it is told to stop.
pub(crate) async fn enforce(
    driver: DriverHandle,
    kept: Duration,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    while let Some(()) = shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await {
        let ended_before = ended_before(clock.now().wall, kept);
        let expired = driver.query(move |scheduler| expired(scheduler, ended_before)).await;
        for map_run in expired.unwrap_or_default() {
            delete(&driver, map_run).await;
        }
    }
}

fn ended_before(now: WallTime, kept: Duration) -> WallTime {
    WallTime(now.0.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)))
}

/// The oldest runs that ended before then.
fn expired(scheduler: &Scheduler, ended_before: WallTime) -> Vec<MapRunId> {
    let is_expired = |id: &MapRunId| {
        scheduler.map_run(id).is_some_and(|view| {
            view.state.is_terminal() && view.stop_time.is_some_and(|stop_time| stop_time < ended_before)
        })
    };
    scheduler.map_run_ids().into_iter().rev().filter(is_expired).take(MAX_DELETIONS).collect()
}

async fn delete(driver: &DriverHandle, map_run: MapRunId) {
    let wanted = map_run.clone();
    match driver.change(|request| Event::DeleteRequested { request, map_run: wanted }).await {
        Ok(_) => tracing::info!(map_run_id = %map_run, "deleted a map run whose retention is over"),
        // It is looked at again.
        Err(error) => tracing::debug!(map_run_id = %map_run, %error, "could not delete a map run"),
    }
}
