//! The bytes of objects as streams, decompressed where their keys say so.

use std::io::{self, Read};
use std::sync::Arc;

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

/// What the thread of a staging works with.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
    pub(super) cancel: CancellationToken,
}

impl Shop {
    /// Waits for an operation on the store, repeated while it is worth it.
    pub(super) fn wait<T, F>(&self, operation: impl FnMut() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        self.runtime.block_on(with_patience(operation))
    }

    pub(super) fn pin(&self, location: &ObjectLocation) -> Result<PinnedObject, RunFault> {
        self.wait(|| self.store.pin(location, None, None)).map_err(|error| fault::source_unreadable(&error))
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
            Some(ObjectCompression::Zstd) => {
                Box::new(zstd::Decoder::new(bytes).map_err(|error| unreadable(object, compression, error))?)
            }
        };
        let mut step = vec![0; STEP_BYTES];
        loop {
            match reader.read(&mut step) {
                Ok(0) => return Ok(()),
                Ok(count) => take(&step[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(object, compression, error)),
            }
        }
    }
}

/// Why a stream broke: the store's fault where it is one, else the decompressor's.
fn unreadable(object: &PinnedObject, compression: Option<ObjectCompression>, error: io::Error) -> RunFault {
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
    fault::unreadable_here(format!("{} is no valid {name}: {what}; upload it again", object.location))
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
        let range = self.next..self.object.size.min(self.next + PIECE_BYTES);
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
