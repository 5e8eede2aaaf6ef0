//! Byte ranges of one object.

use serde::{Deserialize, Serialize};

/// The bytes `[start, end)` of an object; offsets are absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset just past the last byte; not below `start`.
    pub end: u64,
}

impl ByteRange {
    /// The bytes `[start, end)`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// How many bytes it holds.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the byte at `offset` is one of its bytes.
    pub const fn contains(&self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }
}

/// Bytes of an object together with where they lie in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// Offset of the first of `bytes`.
    pub(crate) base: u64,
    /// The object's bytes from `base` on.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Window<'a> {
    /// The bytes of `range`, which must lie in the window.
    pub(crate) fn slice(&self, range: ByteRange) -> &'a [u8] {
        &self.bytes[self.index(range.start)..self.index(range.end)]
    }

    /// The bytes from `offset` on.
    pub(crate) fn bytes_from(&self, offset: u64) -> &'a [u8] {
        &self.bytes[self.index(offset)..]
    }

    /// Offset just past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.offset(self.bytes.len())
    }

    /// Absolute offset of the byte at `index`.
    pub(crate) fn offset(&self, index: usize) -> u64 {
        self.base + index as u64
    }

    /// How many line feeds lie in `range`.
    pub(crate) fn newlines(&self, range: ByteRange) -> u64 {
        count_newlines(self.slice(range))
    }

    /// Line feeds before each of `records`, which are in order, when `newlines_before` lie before the first.
    pub(crate) fn newlines_before_each(&self, records: &[ByteRange], newlines_before: u64) -> Vec<u64> {
        let mut newlines = newlines_before;
        let mut counted_to = records.first().map_or(self.base, |first| first.start);
        let before = |record: &ByteRange| {
            newlines += self.newlines(ByteRange::new(counted_to, record.start));
            counted_to = record.start;
            newlines
        };
        records.iter().map(before).collect()
    }

    /// Index of the byte at the absolute `offset`.
    pub(crate) fn index(&self, offset: u64) -> usize {
        usize::try_from(offset - self.base).expect("the window lies in memory")
    }
}

/// How many line feeds `bytes` holds.
pub(crate) fn count_newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
