//! `ItemBatcher`.

use serde_json::Value as Json;

use super::fields::{Fields, Job, Losses};
use super::template;

/// No item takes fewer bytes of a batch: a digit and a comma.
const LEAST_BYTES_OF_AN_ITEM: u64 = 2;

/// Puts the batcher into the job.
pub(super) fn read(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    let Some(mut batcher) = state.object("ItemBatcher", losses) else { return };
    let mut carried = Job::new();
    batcher.copy("MaxBatchSize", &mut carried, "maxItemsPerBatch");
    batcher.copy_or_resolve("MaxItemsPerBatch", &mut carried, "maxItemsPerBatch", losses);
    batcher.copy_or_resolve("MaxInputBytesPerBatch", &mut carried, "maxInputBytesPerBatch", losses);
    if let Some(input) = batcher.take("BatchInput") {
        let at = batcher.path_of("BatchInput");
        let input = template::carried(input, &at, template::Kind::BatchInput, losses);
        carried.insert("batchInput".to_owned(), input);
    }
    bytes_alone(&mut carried);
    batcher.finish(losses);
    job.insert("itemBatcher".to_owned(), Json::Object(carried));
}

/// With a limit of bytes alone AWS puts as many items into a batch as fit; a job would put 25.
fn bytes_alone(carried: &mut Job) {
    if carried.contains_key("maxItemsPerBatch") {
        return;
    }
    if let Some(bytes) = carried.get("maxInputBytesPerBatch").and_then(Json::as_u64) {
        let as_many_as_fit = (bytes / LEAST_BYTES_OF_AN_ITEM).max(1);
        carried.insert("maxItemsPerBatch".to_owned(), as_many_as_fit.into());
    }
}
