//! The bytes of objects as streams, decompressed where their keys say so.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use warifu_common::model::ObjectCompression;
use warifu_common::model::protocol::RunFault;
use warifu_common::object_store::{ObjectError, ObjectLocation, ObjectStore, PinnedObject};

use crate::fault;
use crate::source::with_patience;

/// Bytes that are fetched at once; the next piece is on its way meanwhile.
const PIECE_BYTES: u64 = 8 << 20;

/// Bytes that are converted at once.
const STEP_BYTES: usize = 256 << 10;

/// Before a page that failed is asked for again.
const PAGE_PAUSE: Duration = Duration::from_secs(1);

/// In what sizes bytes move, and how long nothing does: what comes of them is the same whatever they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) piece_bytes: u64,
    pub(super) step_bytes: usize,
    /// Before a page that failed is asked for again; each pause after it is twice as long.
    pub(super) page_pause: Duration,
}

impl Default for Steps {
    fn default() -> Self {
        Self { piece_bytes: PIECE_BYTES, step_bytes: STEP_BYTES, page_pause: PAGE_PAUSE }
    }
}

/// What the thread of a staging works with.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
    pub(super) cancel: CancellationToken,
    pub(super) steps: Steps,
    /// Most bytes that all compressed objects of the source may hold.
    pub(super) max_decompressed_bytes: u64,
    /// What they have held so far.
    pub(super) decompressed_bytes: Arc<AtomicU64>,
}

impl Shop {
    /// Waits for an operation on the store, repeated while it is worth it.
    pub(super) fn wait<T, F>(&self, operation: impl FnMut() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        self.runtime.block_on(with_patience(operation))
    }

    pub(super) fn pin(
        &self,
        location: &ObjectLocation,
        owner: Option<&str>,
    ) -> Result<PinnedObject, RunFault> {
        self.wait(|| self.store.pin(location, None, owner)).map_err(|error| fault::source_unreadable(&error))
    }

    /// Gives `take` the bytes of an object, decompressed if its key says that it is compressed.
    pub(super) fn read_object(
        &self,
        object: &PinnedObject,
        mut take: impl FnMut(&[u8]) -> Result<(), RunFault>,
    ) -> Result<(), RunFault> {
        let bytes = ObjectBytes::new(self.clone(), object.clone());
        let compression = ObjectCompression::of_key(&object.location.key);
        let mut reader: Box<dyn Read> = match compression {
            None => Box::new(bytes),
            Some(ObjectCompression::Gzip) => Box::new(MultiGzDecoder::new(bytes)),
            Some(ObjectCompression::Zstd) => Box::new(
                zstd::Decoder::new(bytes).map_err(|error| unreadable(object, compression, 0, error))?,
            ),
        };
        let (mut step, mut taken) = (vec![0; self.steps.step_bytes], 0);
        loop {
            match reader.read(&mut step) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    taken += count as u64;
                    if compression.is_some() {
                        self.count_decompressed(object, count as u64)?;
                    }
                    take(&step[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(object, compression, taken, error)),
            }
        }
    }

    /// Bounds what is decompressed, even where nothing of it becomes items, such as white space around an array's elements.
    fn count_decompressed(&self, object: &PinnedObject, count: u64) -> Result<(), RunFault> {
        let (limit, all) = (self.max_decompressed_bytes, &self.decompressed_bytes);
        if all.fetch_add(count, Ordering::Relaxed) + count <= limit {
            return Ok(());
        }
        Err(fault::unreadable_here(format!(
            "{}, of {} bytes, brings what is decompressed of the source to more than {limit} bytes; if it is no decompression \
             bomb, raise [limits] max_staged_bytes of the coordinator",
            object.location, object.size
        )))
    }
}

/// Why a stream broke: the store's fault where it is one, else the decompressor's.
fn unreadable(
    object: &PinnedObject,
    compression: Option<ObjectCompression>,
    taken: u64,
    error: io::Error,
) -> RunFault {
    if let Some(broken) = error.get_ref().and_then(|inner| inner.downcast_ref::<Broken>()) {
        return broken.0.clone();
    }
    let name = match compression {
        None => return fault::unreadable_here(format!("{}: {error}", object.location)),
        Some(ObjectCompression::Gzip) => "gzip",
        Some(ObjectCompression::Zstd) => "Zstandard",
    };
    let what = if error.kind() == io::ErrorKind::UnexpectedEof {
        "it ends early, as if it were cut off".to_owned()
    } else {
        error.to_string()
    };
    let place = &object.location;
    // A key says how its object is read; nothing that came out of it yet may mean that the key is wrong.
    let advice = match taken {
        0 => "upload it again, under a key without the ending of compressed objects if it is not compressed",
        _ => "upload it again",
    };
    fault::unreadable_here(format!(
        "{place} is no valid {name}, after {taken} bytes of what it holds: {what}; {advice}"
    ))
}

/// A fault on its way through a reader.
#[derive(Debug)]
struct Broken(RunFault);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.cause)
    }
}

impl std::error::Error for Broken {}

/// An object's bytes in order, a piece ahead.
struct ObjectBytes {
    shop: Shop,
    object: PinnedObject,
    piece: Bytes,
    /// Where the next piece begins.
    next: u64,
    ahead: Option<JoinHandle<Result<Bytes, ObjectError>>>,
}

impl ObjectBytes {
    fn new(shop: Shop, object: PinnedObject) -> Self {
        let mut bytes = Self { shop, object, piece: Bytes::new(), next: 0, ahead: None };
        bytes.fetch();
        bytes
    }

    /// Begins to fetch the next piece, if there is one.
    fn fetch(&mut self) {
        let range = self.next..self.object.size.min(self.next + self.shop.steps.piece_bytes);
        if range.is_empty() {
            return;
        }
        self.next = range.end;
        let (store, object) = (Arc::clone(&self.shop.store), self.object.clone());
        let fetch = async move { with_patience(|| store.read(&object, range.clone())).await };
        self.ahead = Some(self.shop.runtime.spawn(fetch));
    }

    fn next_piece(&mut self) -> Result<(), RunFault> {
        let Some(ahead) = self.ahead.take() else { return Ok(()) };
        let fetched = self.shop.runtime.block_on(ahead);
        let fetched = fetched.map_err(|_| fault::unreadable_here("reading the source was interrupted"))?;
        self.piece = fetched.map_err(|error| fault::source_unreadable(&error))?;
        self.fetch();
        Ok(())
    }
}

impl Read for ObjectBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.shop.cancel.is_cancelled() {
            return Err(io::Error::other(Broken(fault::unreadable_here("the run is over"))));
        }
        if self.piece.is_empty() {
            self.next_piece().map_err(|fault| io::Error::other(Broken(fault)))?;
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for ObjectBytes {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}
