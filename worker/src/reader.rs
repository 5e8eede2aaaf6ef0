//! Reads the batches of one lease, in order, a little ahead of the slots.
//!
//! Bytes come from the cache where it has them, else in pieces: the next one is fetched while the current one is cut. What a
//! lease holds in memory is a kept shard or two pieces, the shelf, and the record that goes on beyond its piece.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use warifu_common::dataset::{Batch, SpanReader, SpanShard, SpanStep};
use warifu_common::model::RangeSet;
use warifu_common::model::protocol::{Grant, RunFault};

use crate::fault;
use crate::run::OpenRun;
use crate::shelf::Shelf;
use crate::source::Sources;

/// Bytes that are fetched at once: few enough that many leases fit into memory, enough to keep requests rare.
const PIECE_BYTES: u64 = 1 << 20;

/// What is read beyond a shard together with its end: a crossing record usually ends there.
pub(crate) const BEYOND_BYTES: u64 = 64 << 10;

/// The ordinals of a grant's batches.
pub(crate) fn granted_batches(grant: &Grant) -> RangeSet {
    grant.batches.iter().map(|granted| granted.batch.0).collect()
}

/// Reads every batch that the shelf wants, then returns.
pub(crate) async fn read_lease(
    sources: Sources,
    run: Arc<OpenRun>,
    grant: Arc<Grant>,
    shelf: Arc<Shelf>,
) -> Result<(), RunFault> {
    let mut reading = Reading::new(sources, run, &grant)?;
    while let Some(wanted) = shelf.next_wanted().await {
        match reading.next_batch(wanted).await? {
            Some(batch) => shelf.put(Arc::new(batch)),
            None => return Err(reading.ends_early(wanted)),
        }
    }
    Ok(())
}

struct Reading {
    pieces: Pieces,
    reader: SpanReader,
    /// The object's bytes from the reader's position on, as far as they are fetched.
    input: Bytes,
}

impl Reading {
    fn new(sources: Sources, run: Arc<OpenRun>, grant: &Grant) -> Result<Self, RunFault> {
        let span = &grant.shard;
        let Some(rules) = run.rules.clone() else {
            return Err(fault::unreadable_here(
                "batches were leased before the header was known; report this as a bug",
            ));
        };
        // The last record of the shard goes on beyond it.
        let beyond = if span.read_until < span.range.end { 0 } else { BEYOND_BYTES };
        let span_end = run.object.size.min(span.read_until + beyond);
        let shard = SpanShard { range: span.range, ends_object: span.ends_object, items: span.items };
        Ok(Self {
            reader: SpanReader::new(rules, shard, span.start),
            pieces: Pieces { sources, span_end, run, ahead: None },
            input: Bytes::new(),
        })
    }

    /// Cuts on to the batch `wanted` or the first one after it. `None`: the shard ends before.
    async fn next_batch(&mut self, wanted: u32) -> Result<Option<Batch>, RunFault> {
        self.reader.skip_to(wanted);
        loop {
            let begin = self.reader.position();
            let end = begin + self.input.len() as u64;
            let step = self.reader.next_batch(&self.input, end == self.pieces.object_size());
            let used = usize::try_from(self.reader.position() - begin).unwrap_or(usize::MAX);
            self.input = self.input.split_off(used.min(self.input.len()));
            match step.map_err(|problem| fault::data_unreadable(&self.place(), &problem))? {
                SpanStep::Batch(batch) => return Ok(Some(batch)),
                SpanStep::End => return Ok(None),
                SpanStep::NeedMore => self.fetch_more().await?,
            }
        }
    }

    async fn fetch_more(&mut self) -> Result<(), RunFault> {
        let end = self.reader.position() + self.input.len() as u64;
        if end >= self.pieces.object_size() {
            return Err(self.ends_early(0));
        }
        let piece = self.pieces.next(end, self.input.len() as u64).await?;
        if self.input.is_empty() {
            self.input = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + piece.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&piece);
            self.input = joined.freeze();
        }
        Ok(())
    }

    fn place(&self) -> String {
        self.pieces.run.place_of(&self.pieces.run.object)
    }

    /// The shard holds less than was composed from its scan.
    fn ends_early(&self, wanted: u32) -> RunFault {
        let place = self.place();
        let offset = self.reader.position();
        fault::unreadable_here(format!(
            "{place} ends its shard at byte {offset}, before batch {wanted} of the shard that a scan found; run the job again"
        ))
    }
}

/// Fetches the span piece by piece, one piece ahead.
struct Pieces {
    sources: Sources,
    run: Arc<OpenRun>,
    /// No byte beyond it is needed, but for a record that goes on for long.
    span_end: u64,
    ahead: Option<Ahead>,
}

/// A piece that is on its way.
struct Ahead {
    start: u64,
    fetch: JoinHandle<Result<Bytes, RunFault>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.fetch.abort();
    }
}

impl Pieces {
    fn object_size(&self) -> u64 {
        self.run.object.size
    }

    /// Bytes from `start` on; more of them the more the reader holds already, so that a long record is not copied often.
    async fn next(&mut self, start: u64, held_bytes: u64) -> Result<Bytes, RunFault> {
        let end = self.piece_end(start, held_bytes);
        // What is kept is in one piece already: no record lies across two.
        if let Some(bytes) = self.sources.cached(&self.run.object, start..self.span_end.max(end)) {
            return Ok(bytes);
        }
        let piece = match self.ahead.take() {
            Some(mut ahead) if ahead.start == start => match (&mut ahead.fetch).await {
                Ok(piece) => piece?,
                Err(_) => {
                    return Err(fault::unreadable_here("reading the source was interrupted in this worker"));
                }
            },
            _ => self.sources.read(&self.run.object, start..end).await?,
        };
        self.fetch_ahead(start + piece.len() as u64, held_bytes);
        Ok(piece)
    }

    fn piece_end(&self, start: u64, held_bytes: u64) -> u64 {
        let piece = PIECE_BYTES.max(held_bytes);
        let end = match self.span_end.saturating_sub(start) {
            0 => start + BEYOND_BYTES.max(held_bytes),
            // A last piece that is hardly longer needs no request more.
            left if left <= piece + BEYOND_BYTES => self.span_end,
            _ => start + piece,
        };
        end.min(self.object_size())
    }

    /// Begins to fetch the piece at `start` if the span surely needs it; `held_bytes` as in [`next`](Self::next).
    fn fetch_ahead(&mut self, start: u64, held_bytes: u64) {
        if start >= self.span_end {
            return;
        }
        let range = start..self.piece_end(start, held_bytes);
        let (sources, run) = (self.sources.clone(), Arc::clone(&self.run));
        let fetch = tokio::spawn(async move { sources.read(&run.object, range).await });
        self.ahead = Some(Ahead { start, fetch });
    }
}

#[cfg(test)]
mod tests {
    use warifu_common::dataset::ByteRange;
    use warifu_common::model::error_name;

    use super::*;
    use crate::testing::{MemoryStore, context, grant_of, open_run, scan_of};

    /// Items with line breaks in quotes, some of them longer than a piece beyond a shard.
    fn csv(records: usize) -> Vec<u8> {
        let mut csv = b"id,text\n".to_vec();
        for id in 0..records {
            let long = if id % 7 == 3 { 3000 } else { 5 };
            csv.extend(format!("{id},\"a\n{}\"\r\n", "x".repeat(long)).as_bytes());
        }
        csv
    }

    async fn read_all(
        store: Arc<MemoryStore>,
        csv: &[u8],
        range: ByteRange,
        batches: &[u32],
    ) -> Vec<Arc<Batch>> {
        let run = open_run(context(csv));
        let grant = Arc::new(grant_of(csv, &scan_of(csv, &run, range), batches));
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let waiting: Vec<_> = batches.iter().map(|batch| shelf.take(*batch)).collect();
        read_lease(Sources::new(store, 0), run, grant, shelf).await.unwrap();
        futures::future::join_all(waiting).await.into_iter().map(Result::unwrap).collect()
    }

    fn ids(batches: &[Arc<Batch>]) -> Vec<String> {
        batches
            .iter()
            .flat_map(|batch| &batch.items)
            .map(|item| item.get("id").unwrap().into_owned())
            .collect()
    }

    #[tokio::test]
    async fn gives_exactly_the_granted_batches() {
        let csv = csv(40);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let whole = ByteRange::new(8, csv.len() as u64);
        let batches = read_all(Arc::clone(&store), &csv, whole, &[0, 1, 7, 19]).await;
        assert_eq!(batches.iter().map(|batch| batch.ordinal).collect::<Vec<_>>(), [0, 1, 7, 19]);
        assert_eq!(ids(&batches), ["0", "1", "2", "3", "14", "15", "38", "39"]);
        assert_eq!(batches[1].items[1].get("text").unwrap().len(), 3002);
    }

    #[tokio::test]
    async fn a_record_that_crosses_the_shards_end_is_read_to_its_own_end() {
        let csv = csv(10);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        // The shard ends within the long record 3, which is a batch of its own.
        let range = ByteRange::new(8, 60);
        let batches = read_all(Arc::clone(&store), &csv, range, &[0, 1, 2]).await;
        assert_eq!(ids(&batches), ["0", "1", "2", "3"]);
        assert_eq!(batches[2].items[0].get("text").unwrap().len(), 3002);
    }

    #[tokio::test]
    async fn a_large_shard_is_read_in_pieces_each_once() {
        let csv = csv(8000);
        assert!(csv.len() as u64 > 3 * PIECE_BYTES);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let whole = ByteRange::new(8, csv.len() as u64);
        let all: Vec<u32> = (0..4000).collect();
        let batches = read_all(Arc::clone(&store), &csv, whole, &all).await;
        assert_eq!(ids(&batches), (0..8000).map(|id| id.to_string()).collect::<Vec<_>>());
        let reads = store.reads.lock().unwrap().clone();
        let largest = PIECE_BYTES + BEYOND_BYTES;
        assert!(reads.iter().all(|read| read.end - read.start <= largest), "{reads:?}");
        assert_eq!(reads.iter().map(|read| read.end - read.start).sum::<u64>(), csv.len() as u64 - 8);
    }

    #[tokio::test]
    async fn a_record_of_many_pieces_is_read_in_larger_ones_each_once() {
        let long = vec![b'x'; 7 << 20];
        let csv = [&b"id,text\n1,"[..], &long, b"\n2,b\n"].concat();
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let batches = read_all(Arc::clone(&store), &csv, ByteRange::new(8, csv.len() as u64), &[0]).await;
        assert_eq!(batches[0].items[0].get("text").unwrap().len(), long.len());
        let reads = store.reads.lock().unwrap().clone();
        assert!(reads.len() <= 5, "{reads:?}");
        assert_eq!(reads.iter().map(|read| read.end - read.start).sum::<u64>(), csv.len() as u64 - 8);
    }

    #[tokio::test]
    async fn what_goes_on_beyond_a_shard_is_read_with_its_last_piece() {
        let csv = csv(8000);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let shard = ByteRange::new(8, 8 + PIECE_BYTES);
        let run = open_run(context(&csv));
        let batches: Vec<u32> = (0..scan_of(&csv, &run, shard).positions.batches).collect();
        read_all(Arc::clone(&store), &csv, shard, &batches).await;
        let reads = store.reads.lock().unwrap().clone();
        assert_eq!(reads, std::slice::from_ref(&(8..shard.end + BEYOND_BYTES)));
    }

    #[tokio::test]
    async fn what_is_kept_of_a_shard_is_not_read_again() {
        let csv = csv(8000);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let run = open_run(context(&csv));
        let sources = Sources::new(store.clone(), csv.len() as u64);
        sources.keep(&run.object, 8, csv[8..].to_vec().into());
        let grant = grant_of(&csv, &scan_of(&csv, &run, ByteRange::new(8, csv.len() as u64)), &[0, 3999]);
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let (first, last) = (shelf.take(0), shelf.take(3999));
        read_lease(sources, run, Arc::new(grant), shelf).await.unwrap();
        assert_eq!(ids(&[first.await.unwrap(), last.await.unwrap()]), ["0", "1", "7998", "7999"]);
        assert!(store.reads.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn reading_ahead_is_bounded_and_goes_on_as_batches_are_taken() {
        let csv = csv(1000);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let run = open_run(context(&csv));
        let batches: Vec<u32> = (0..500).collect();
        let scan = scan_of(&csv, &run, ByteRange::new(8, csv.len() as u64));
        let grant = Arc::new(grant_of(&csv, &scan, &batches));
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let reading = read_lease(Sources::new(store, 0), run, grant, Arc::clone(&shelf));
        tokio::pin!(reading);
        // It stops by itself: nobody takes anything.
        while futures::poll!(&mut reading).is_pending() && shelf.ready_batches() < 64 {
            tokio::task::yield_now().await;
        }
        assert!(futures::poll!(&mut reading).is_pending());
        assert_eq!(shelf.ready_batches(), 64);
        // A batch far ahead is read for all the same.
        let far = shelf.take(300);
        let (read, far) = tokio::join!(
            async {
                let rest: RangeSet = (0..500).filter(|batch| *batch != 300).collect();
                while futures::poll!(&mut reading).is_pending() && shelf.ready_batches() < 300 {
                    tokio::task::yield_now().await;
                }
                shelf.drop_batches(&rest);
                reading.await
            },
            far
        );
        assert_eq!((read, far.unwrap().ordinal), (Ok(()), 300));
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_read_ends_the_run() {
        let csv = csv(10);
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        *store.failures_left.lock().unwrap() = 1;
        let run = open_run(context(&csv));
        let scan = scan_of(&csv, &run, ByteRange::new(8, csv.len() as u64));
        let grant = Arc::new(grant_of(&csv, &scan, &[0]));
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let fault = read_lease(Sources::new(store, 0), run, grant, shelf).await.unwrap_err();
        assert_eq!(fault.error, error_name::ITEM_READER_FAILED);
        assert!(fault.cause.contains("told to fail"), "{}", fault.cause);
    }
}
