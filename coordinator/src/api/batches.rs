//! `ListBatches`: from the scheduler while the run goes on, from the store when it has ended.
//!
//! The failures that batches are shown with are those that the store keeps of their items.

use std::collections::{BTreeMap, BTreeSet};

use warifu_common::wire::batch_views::{batch_state, batch_view, with_failure};
use warifu_common::wire::v1;
use warifu_model::{BatchOrdinal, BatchPlace, ItemFailure, MapRunId, ShardNumber};
use warifu_scheduler::{BatchPage, BatchQuery, Batches};

use super::{ApiError, Context, map_run_id, page};

/// Shard records that are read from the store at once; each takes at most 64 KiB.
const STORE_SHARDS: usize = 64;

/// Shard records that a page reads before it ends, full or not.
const MAX_SHARDS: usize = 1_024;

/// Failures that are read from the store at once. It keeps at most 10,000 of a run, so a page's search for them ends.
const STORE_FAILURES: usize = 1_000;

pub(super) async fn list(
    context: &Context,
    request: v1::ListBatchesRequest,
) -> Result<v1::ListBatchesResponse, ApiError> {
    let map_run = map_run_id("parent", &request.parent)?;
    let limit = page::page_size(request.page_size, 50, 1_000)?;
    let states = request.states().filter_map(batch_state).collect();
    let arguments = format!("batches {map_run} {:?}", request.states);
    let from = page::cursor(&request.page_token, &arguments)?
        .map_or(Ok(BatchPlace::FIRST), |cursor| parse(&cursor))?;
    let page = context.batches(&map_run, BatchQuery { from, states, limit }).await?;
    let mut batches: Vec<v1::Batch> = page.batches.iter().map(|batch| batch_view(batch, &map_run)).collect();
    context.add_failures(&map_run, &mut batches).await?;
    let next_page_token = page.next.map(|next| page::issue(&spelled(next), &arguments));
    Ok(v1::ListBatchesResponse { batches, next_page_token: next_page_token.unwrap_or_default() })
}

fn spelled(place: BatchPlace) -> String {
    format!("{}.{}", place.shard.0, place.batch.0)
}

fn parse(cursor: &str) -> Result<BatchPlace, ApiError> {
    let place = cursor.split_once('.').and_then(|(shard, batch)| {
        Some(BatchPlace { shard: ShardNumber(shard.parse().ok()?), batch: BatchOrdinal(batch.parse().ok()?) })
    });
    place.ok_or(ApiError::InvalidPageToken)
}

impl Context {
    async fn batches(&self, map_run: &MapRunId, query: BatchQuery) -> Result<BatchPage, ApiError> {
        let (id, now, asked) = (map_run.clone(), self.clock.now(), query.clone());
        let found = self.driver.query(move |scheduler| scheduler.batches(now, &id, &asked)).await?;
        match found.ok_or_else(|| ApiError::NoSuchMapRun(map_run.clone()))? {
            Batches::Live(page) => Ok(page),
            Batches::Stored { redrive, max_items_per_batch } => {
                self.stored_batches(map_run, query, redrive, max_items_per_batch).await
            }
        }
    }

    async fn stored_batches(
        &self,
        map_run: &MapRunId,
        query: BatchQuery,
        redrive: u32,
        max_items_per_batch: u32,
    ) -> Result<BatchPage, ApiError> {
        let mut page = BatchPage::default();
        let mut from = query.from.shard;
        for _ in 0..MAX_SHARDS / STORE_SHARDS {
            let shards = self.store.shards_from(map_run, from, STORE_SHARDS).await?;
            let is_last = shards.len() < STORE_SHARDS;
            for (number, record) in shards {
                from = BatchPlace::next_shard(number).shard;
                if !page.add_stored(record, redrive, max_items_per_batch, &query) {
                    return Ok(page);
                }
            }
            if is_last {
                return Ok(page);
            }
        }
        page.next = Some(BatchPlace { shard: from, batch: BatchOrdinal(0) });
        Ok(page)
    }

    /// Puts to batches with failed items the first failure that was counted of each.
    async fn add_failures(&self, map_run: &MapRunId, batches: &mut [v1::Batch]) -> Result<(), ApiError> {
        let mut wanted: BTreeSet<u64> =
            batches.iter().filter(|batch| batch.failed_item_count > 0).map(|batch| batch.number).collect();
        let mut found: BTreeMap<u64, ItemFailure> = BTreeMap::new();
        let mut from = 0;
        while !wanted.is_empty() {
            let failures = self.store.failures(map_run, from, STORE_FAILURES).await?;
            let is_last = failures.len() < STORE_FAILURES;
            from += failures.len() as u64;
            let first = failures.into_iter().filter(|failure| wanted.remove(&failure.batch_number));
            found.extend(first.map(|failure| (failure.batch_number, failure)));
            if is_last {
                break;
            }
        }
        for batch in batches {
            if let Some(failure) = found.get(&batch.number) {
                with_failure(batch, failure);
            }
        }
        Ok(())
    }
}
