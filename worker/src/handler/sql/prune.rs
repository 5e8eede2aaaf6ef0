//! Deletes what the ledger need not remember any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use warifu_common::model::WallTime;

use super::datetime::rfc3339;
use super::session::Session;
use super::statement::prune_ledger;
use super::value::SqlValue;
use crate::clock::wall_now;

/// How often it is done. Nobody waits for it.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Rows of one statement: short transactions, beside those of the calls.
const ROWS: usize = 5_000;

/// Prunes now and then, until `stop`.
pub(super) async fn prune(url: String, retention: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = prune_once(&url, retention).await {
            // The next round does it; a user without the right to delete keeps the rows.
            warn!(%error, "the ledger was not pruned");
        }
        // Both arms only wait.
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn prune_once(url: &str, retention: Duration) -> Result<(), sqlx::Error> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = [SqlValue::Text(rfc3339(WallTime(wall_now().0.saturating_sub(retention))))];
    let mut session = Session::connect(url).await?;
    let sql = prune_ledger(session.dialect(), ROWS);
    loop {
        let deleted = session.execute(&sql, &before).await?;
        debug!(deleted, "pruned the ledger");
        if deleted < ROWS as u64 {
            return session.close().await;
        }
    }
}
