//! Uploads that writers which died have left unfinished below a run's results.
//!
//! They are looked for when the manifest is written: nothing that is uploaded later counts. A leader that takes over before
//! the end is recorded writes the manifest again, and looks again.

use std::time::Duration;

use warifu_common::error_chain::Chain;
use warifu_common::object_store::ObjectStore;
use warifu_scheduler::ManifestOrder;

/// A run's end does not wait longer for this: what is left then costs storage, and nothing else.
const SWEEP_WITHIN: Duration = Duration::from_secs(20);

/// Gives up what was begun below the run's prefix and never completed.
pub(crate) async fn sweep(objects: &dyn ObjectStore, order: &ManifestOrder) {
    let (bucket, prefix) = (&order.bucket, &order.prefix);
    let error = match tokio::time::timeout(SWEEP_WITHIN, objects.abort_uploads(bucket, prefix)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => Chain(&error).to_string(),
        Err(_) => format!("it took more than {} s", SWEEP_WITHIN.as_secs()),
    };
    // Not every store can list them, nor may every process: a lifecycle rule of the bucket does it then.
    tracing::debug!(map_run_id = %order.map_run, bucket, prefix, error, "unfinished uploads are not looked for");
}
