//! Bytes of scanned shards, kept so that most of a source is read once. What leases have read through goes at once: the bound
//! is for what is scanned ahead, not for what is done.
//!
//! **Invariant:** the kept bytes never exceed the bound. Slices that readers still hold are not counted: a lease takes all that
//! is kept of its span when it begins.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use warifu_common::model::RangeSet;
use warifu_common::object_store::PinnedObject;

/// What of a shard no lease reads, as where it begins within a record: one part in so many of it, and no more than so many bytes.
const UNREAD_PART: usize = 64;
const UNREAD_BYTES: usize = 64 << 10;

/// A bounded cache of object bytes; what was used longest ago goes first.
#[derive(Debug)]
pub(crate) struct ByteCache {
    max_bytes: u64,
    /// Locked for lookups only, never across an await.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Least recently used first. Entries are whole shards, so there are few: a list is searched as fast as a map.
    entries: VecDeque<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    object: PinnedObject,
    start: u64,
    bytes: Bytes,
    /// What was read of them.
    read: RangeSet,
}

impl Entry {
    /// Notes what is read now; `true`: nobody is likely to need the entry any more.
    fn is_read_through(&mut self, from: usize, to: usize) -> bool {
        let index = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.read.insert_range(index(from)..index(to));
        let length = self.bytes.len();
        let unread = UNREAD_BYTES.min(length / UNREAD_PART);
        self.read.len() >= (length - unread) as u64
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn holds(&self, object: &PinnedObject, offset: u64) -> bool {
        (self.start..self.end()).contains(&offset) && self.object == *object
    }
}

impl ByteCache {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    /// Keeps `bytes`, which begin at `start`; not at all if they alone exceed the bound.
    pub(crate) fn insert(&self, object: &PinnedObject, start: u64, bytes: Bytes) {
        let size = bytes.len() as u64;
        if size == 0 || size > self.max_bytes {
            return;
        }
        let mut kept = self.lock();
        kept.remove_where(|entry| entry.start == start && entry.object == *object);
        while kept.bytes + size > self.max_bytes {
            kept.remove_oldest();
        }
        kept.bytes += size;
        kept.entries.push_back(Entry { object: object.clone(), start, bytes, read: RangeSet::new() });
    }

    /// The bytes from `range.start` on that are kept together, at most to `range.end`; shares memory with the cache.
    pub(crate) fn get(&self, object: &PinnedObject, range: Range<u64>) -> Option<Bytes> {
        self.get_at_least(object, range, 1)
    }

    /// All bytes of `range`, if they are kept together.
    pub(crate) fn get_all(&self, object: &PinnedObject, range: Range<u64>) -> Option<Bytes> {
        let bytes = range.end.saturating_sub(range.start);
        self.get_at_least(object, range, bytes)
    }

    /// What is not given counts as not read.
    fn get_at_least(&self, object: &PinnedObject, range: Range<u64>, least: u64) -> Option<Bytes> {
        let mut kept = self.lock();
        let holds = |(_, entry): &(usize, &Entry)| entry.holds(object, range.start);
        // Shards overlap by what is read beyond each: the later one has more.
        let latest = kept.entries.iter().enumerate().filter(holds).max_by_key(|(_, entry)| entry.start);
        let (position, _) = latest.filter(|(_, entry)| entry.end() >= range.start.saturating_add(least))?;
        let mut entry = kept.entries.remove(position)?;
        let from = usize::try_from(range.start - entry.start).ok()?;
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let to = entry.bytes.len().min(from.saturating_add(wanted));
        let slice = entry.bytes.slice(from..to);
        if entry.is_read_through(from, to) {
            kept.bytes -= entry.bytes.len() as u64;
        } else {
            kept.entries.push_back(entry);
        }
        Some(slice)
    }

    /// Drops everything of one object.
    pub(crate) fn forget(&self, object: &PinnedObject) {
        self.lock().remove_where(|entry| entry.object == *object);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes.len() as u64;
        }
    }

    fn remove_where(&mut self, gone: impl Fn(&Entry) -> bool) {
        self.entries.retain(|entry| !gone(entry));
        self.bytes = self.entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    }
}

#[cfg(test)]
mod tests {
    use warifu_common::object_store::ObjectLocation;

    use super::*;

    fn object(key: &str) -> PinnedObject {
        PinnedObject {
            location: ObjectLocation::new("b", key),
            version_id: None,
            etag: "1".into(),
            size: 100,
        }
    }

    #[test]
    fn gives_what_is_kept_from_an_offset_on() {
        let cache = ByteCache::new(100);
        cache.insert(&object("a"), 10, Bytes::from_static(b"0123456789"));
        assert_eq!(cache.get(&object("a"), 12..15).as_deref(), Some(&b"234"[..]));
        assert_eq!(cache.get(&object("a"), 18..40).as_deref(), Some(&b"89"[..]));
        assert_eq!(cache.get(&object("a"), 9..15), None);
        assert_eq!(cache.get(&object("a"), 20..21), None);
        assert_eq!(cache.get(&object("b"), 12..15), None);
    }

    #[test]
    fn of_shards_that_overlap_the_later_one_gives_its_bytes() {
        let cache = ByteCache::new(100);
        cache.insert(&object("a"), 10, Bytes::from_static(b"0123456789beyond"));
        cache.insert(&object("a"), 19, Bytes::from_static(b"9beyond and more"));
        assert_eq!(cache.get(&object("a"), 20..35).as_deref(), Some(&b"beyond and more"[..]));
        assert_eq!(cache.get(&object("a"), 12..26).as_deref(), Some(&b"23456789beyond"[..]));
    }

    #[test]
    fn what_is_not_all_there_is_neither_given_nor_counted_as_read() {
        let cache = ByteCache::new(1_000);
        cache.insert(&object("a"), 0, Bytes::from(vec![0; 640]));
        assert_eq!(cache.get_all(&object("a"), 100..641), None);
        assert_eq!(cache.get(&object("a"), 0..100).map(|bytes| bytes.len()), Some(100));
        assert_eq!(cache.get_all(&object("a"), 100..640).map(|bytes| bytes.len()), Some(540));
        assert_eq!(cache.get(&object("a"), 0..1), None);
    }

    #[test]
    fn what_is_read_through_in_whatever_order_goes_at_once() {
        let cache = ByteCache::new(1_000);
        cache.insert(&object("a"), 100, Bytes::from(vec![0; 640]));
        for range in [400..740, 110..150, 400..500, 150..390] {
            assert!(cache.get(&object("a"), range).is_some());
        }
        assert_eq!(cache.lock().bytes, 640);
        // The record that begins in the shard before goes on to 110.
        assert!(cache.get(&object("a"), 390..400).is_some());
        let kept = cache.lock();
        assert_eq!((kept.bytes, kept.entries.len()), (0, 0));
        drop(kept);
        assert!(cache.get(&object("a"), 110..150).is_none());
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let cache = ByteCache::new(25);
        for key in ["a", "b"] {
            cache.insert(&object(key), 0, Bytes::from_static(b"0123456789"));
        }
        assert!(cache.get(&object("a"), 0..1).is_some());
        cache.insert(&object("c"), 0, Bytes::from_static(b"0123456789"));
        assert!(cache.get(&object("a"), 0..1).is_some());
        assert!(cache.get(&object("b"), 0..1).is_none());
        cache.insert(&object("d"), 0, Bytes::from(vec![0; 26]));
        assert!(cache.get(&object("d"), 0..1).is_none());
        assert_eq!(cache.lock().bytes, 20);
        cache.forget(&object("a"));
        assert_eq!(cache.lock().bytes, 10);
    }
}
