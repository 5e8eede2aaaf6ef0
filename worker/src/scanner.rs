//! Probes sources and scans shards: one at a time per worker, outside every run's `maxConcurrency`.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;
use warifu_common::dataset::{
    CUT_VERSION, CUT_VERSIONS, Probe, ProbeError, ScanRequest, ShardScan, probe, scan,
};
use warifu_common::model::protocol::{RunFault, ScanOrder};
use warifu_common::object_store::PinnedObject;
use warifu_session::SessionEvent;

use crate::events::{EventSender, ShellEvent};
use crate::fault;
use crate::reader::BEYOND_BYTES;
use crate::run::OpenRun;
use crate::source::Sources;

/// Orders that may wait. A coordinator keeps few under way per worker; more is a bug of its.
const MAX_WAITING_ORDERS: usize = 1024;

/// What a probe reads first: enough for nearly every header.
const FIRST_HEAD_BYTES: u64 = 64 << 10;

enum Order {
    Probe(Arc<OpenRun>),
    Scan(Arc<OpenRun>, ScanOrder),
}

/// The one scan slot of a worker.
pub(crate) struct Scanner {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Scanner {
    /// Starts its task, which answers with `Probed` and `Scanned`.
    pub(crate) fn start(sources: Sources, events: EventSender) -> Self {
        let (orders, queue) = mpsc::channel(MAX_WAITING_ORDERS);
        Self { orders, task: tokio::spawn(work_off(sources, events, queue)) }
    }

    /// Reads the head of a run's source.
    pub(crate) fn probe(&self, run: Arc<OpenRun>) {
        self.order(Order::Probe(run));
    }

    /// Scans a shard.
    pub(crate) fn scan(&self, run: Arc<OpenRun>, order: ScanOrder) {
        self.order(Order::Scan(run, order));
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            error!("too many scan orders wait, one was passed over");
        }
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn work_off(sources: Sources, events: EventSender, mut queue: mpsc::Receiver<Order>) {
    while let Some(order) = queue.recv().await {
        let event = match order {
            Order::Probe(run) => {
                let probe = probe_source(&sources, &run).await;
                SessionEvent::Probed { map_run: run.context.map_run.clone(), probe }
            }
            Order::Scan(run, order) => {
                let (map_run, shard) = (order.map_run.clone(), order.shard);
                SessionEvent::Scanned { map_run, shard, scan: scan_shard(&sources, run, order).await }
            }
        };
        if events.send(ShellEvent::Session(event)).await.is_err() {
            return;
        }
    }
}

/// Reads as much of the head as its header takes.
async fn probe_source(sources: &Sources, run: &OpenRun) -> Result<Probe, RunFault> {
    probe_object(sources, run, &run.object).await
}

/// The same of the object that a source was rewritten as.
pub(crate) async fn probe_object(
    sources: &Sources,
    run: &OpenRun,
    object: &PinnedObject,
) -> Result<Probe, RunFault> {
    let mut head = Bytes::new();
    let mut wanted = FIRST_HEAD_BYTES;
    loop {
        let end = wanted.min(object.size);
        let more = sources.read(object, head.len() as u64..end).await?;
        head = if head.is_empty() { more } else { [head, more].concat().into() };
        let location = &run.context.spec.item_reader.header_location;
        match probe(&head, end == object.size, run.format(), location, &run.limits()) {
            Ok(probe) => return Ok(probe),
            Err(ProbeError::NeedMore { bytes }) if bytes > wanted && end < object.size => wanted = bytes,
            Err(error) => return Err(fault::header_unusable(&run.place_of(object), &error)),
        }
    }
}

/// Reads a shard with the byte before it and those into which its last record usually goes on, scans it, and keeps its bytes
/// for the leases that follow.
async fn scan_shard(sources: &Sources, run: Arc<OpenRun>, order: ScanOrder) -> Result<ShardScan, RunFault> {
    if !CUT_VERSIONS.contains(&run.context.cut_version) {
        let (theirs, ours) = (run.context.cut_version, CUT_VERSION);
        return Err(fault::unreadable_here(format!(
            "the run cuts batches by version {theirs}, this worker by 1 to {ours}; run workers of the coordinator's version"
        )));
    }
    let range = order.range;
    let before = u64::from(!order.begins_data && range.start > 0);
    let end = run.object.size.min(range.end + BEYOND_BYTES);
    let bytes = sources.read(&run.object, range.start - before..end).await?;
    let shard = bytes.slice(usize::from(before == 1)..bytes.len() - (end - range.end) as usize);
    sources.keep(&run.object, range.start - before, bytes.clone());
    let previous = (before == 1).then(|| bytes[0]);
    let scanned = tokio::task::spawn_blocking(move || scan_bytes(&run, &order, previous, &shard)).await;
    scanned
        .unwrap_or_else(|_| Err(fault::unreadable_here("the scan of a shard failed; report this as a bug")))
}

fn scan_bytes(
    run: &OpenRun,
    order: &ScanOrder,
    previous: Option<u8>,
    bytes: &[u8],
) -> Result<ShardScan, RunFault> {
    let Some(rules) = &run.rules else {
        return Err(fault::unreadable_here(
            "a scan was ordered before the header was known; report this as a bug",
        ));
    };
    Ok(scan(&ScanRequest {
        bytes,
        range: order.range,
        previous,
        entry: order.entry,
        ends_object: order.ends_object,
        item_limit: order.item_limit,
        rules,
    }))
}

#[cfg(test)]
mod tests {
    use warifu_common::dataset::{ByteRange, CutRules};
    use warifu_common::model::{ShardNumber, error_name};

    use super::*;
    use crate::reader::{granted_batches, read_lease};
    use crate::shelf::Shelf;
    use crate::testing::{MemoryStore, context, grant_of, open_run, scan_of};

    fn order(range: ByteRange, begins_data: bool, size: u64) -> ScanOrder {
        ScanOrder {
            map_run: context(b"a\n").map_run,
            shard: ShardNumber(0),
            range,
            begins_data,
            ends_object: range.end == size,
            entry: None,
            item_limit: None,
        }
    }

    #[tokio::test]
    async fn the_head_is_read_as_far_as_the_header_goes() {
        let names: Vec<String> = (0..20_000).map(|column| format!("column{column}")).collect();
        let csv = format!("{}\n1\n", names.join(",")).into_bytes();
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let run = open_run(context(&csv));
        let probe = probe_source(&Sources::new(store.clone(), 0), &run).await.unwrap();
        assert_eq!(probe.header.names, names);
        assert_eq!(probe.data_start, csv.len() as u64 - 2);
        assert!(store.reads.lock().unwrap().len() > 1);
    }

    #[tokio::test]
    async fn a_header_that_cannot_be_used_ends_the_run_in_awss_words() {
        let csv = b"a,b,a\n1,2,3\n";
        let (store, _) = MemoryStore::with("users.csv", &csv[..]);
        let fault = probe_source(&Sources::new(store, 0), &open_run(context(csv))).await.unwrap_err();
        assert_eq!(fault.error, error_name::ITEM_READER_FAILED);
        assert!(fault.cause.starts_with("CSV headers cannot contain duplicates."), "{}", fault.cause);
        assert!(fault.cause.contains("s3://input/users.csv"), "{}", fault.cause);
    }

    #[tokio::test]
    async fn a_scan_keeps_its_bytes_and_sees_the_byte_before_them() {
        let csv = b"a,b\n1,2\n3,4\n5,6\n";
        let (store, object) = MemoryStore::with("users.csv", &csv[..]);
        let sources = Sources::new(store.clone(), 1 << 20);
        let run = open_run(context(csv));
        let range = ByteRange::new(8, 16);
        let scanned = scan_shard(&sources, Arc::clone(&run), order(range, false, 16)).await.unwrap();
        let rules: &CutRules = run.rules.as_ref().unwrap();
        let direct = scan(&ScanRequest {
            bytes: &csv[8..],
            range,
            previous: Some(b'\n'),
            entry: None,
            ends_object: true,
            item_limit: None,
            rules,
        });
        assert_eq!(scanned, direct);
        assert_eq!(store.reads.lock().unwrap().as_slice(), std::slice::from_ref(&(7..16)));
        assert_eq!(sources.read(&object, 8..16).await.unwrap(), &csv[8..16]);
        assert_eq!(store.reads.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_a_shards_last_record_goes_on_with_is_read_with_the_shard() {
        let csv = [&b"a,b\n1,2\n3,\""[..], &b"x".repeat(40_000), b"\"\n5,6\n"].concat();
        let (store, _) = MemoryStore::with("users.csv", csv.clone());
        let sources = Sources::new(store.clone(), 1 << 20);
        let run = open_run(context(&csv));
        let range = ByteRange::new(4, 20);
        let scanned =
            scan_shard(&sources, Arc::clone(&run), order(range, true, csv.len() as u64)).await.unwrap();
        assert_eq!(scanned, scan_of(&csv, &run, range));
        let grant = Arc::new(grant_of(&csv, &scanned, &[0, 1]));
        let shelf = Arc::new(Shelf::new(granted_batches(&grant)));
        let crossing = (shelf.take(0), shelf.take(1)).1;
        read_lease(sources, run, grant, shelf).await.unwrap();
        assert_eq!(crossing.await.unwrap().items[0].get("b").unwrap().len(), 40_000);
        assert_eq!(store.reads.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_unknown_way_of_cutting_is_refused() {
        let csv = b"a\n1\n";
        let (store, _) = MemoryStore::with("users.csv", &csv[..]);
        let run = open_run(warifu_common::model::protocol::RunContext { cut_version: 99, ..context(csv) });
        let scanned = scan_shard(&Sources::new(store, 0), run, order(ByteRange::new(2, 4), true, 4)).await;
        assert!(scanned.unwrap_err().cause.contains("99"));
    }
}
