//! Which bytes each shard holds.

use serde::{Deserialize, Serialize};

use crate::range::ByteRange;

/// Bounds each of the plan's two parts, so that a shard's number fits 32 bits; smaller shards are made larger to fit.
const MAX_SHARDS_PER_PART: u64 = 1 << 31;

/// Bounds a shard, so that what is counted within it fits 32 bits.
const MAX_SHARD_BYTES: u64 = u32::MAX as u64;

/// How the data of one object is cut into shards.
///
/// Shards are numbered from 0 and cover `[data_start, end)` without gaps. One cut lies exactly at `count_from`: the shards
/// before it are folded for their state only, the others hold the items. Without an item range to count
/// (`count_from >= end`) there are no shards at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlan {
    /// Offset of the first byte after the header.
    pub data_start: u64,
    /// Records that begin before it are no items (`itemReader.range`); not below `data_start`.
    pub count_from: u64,
    /// Records that begin in `[count_from, end)` are items; not above `object_size`.
    pub end: u64,
    /// The object's size in bytes.
    pub object_size: u64,
    /// Size of each shard; the last before a cut may be shorter.
    pub shard_size: u64,
}

impl ShardPlan {
    /// A plan in which every record is an item.
    pub fn whole(data_start: u64, object_size: u64, shard_size: u64) -> Self {
        Self { data_start, count_from: data_start, end: object_size, object_size, shard_size }
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u32 {
        let (before, counted) = self.parts();
        u32::try_from(self.shards_in(before) + self.shards_in(counted)).expect("both parts are bounded")
    }

    /// The bytes of `shard`, which must be below [`shard_count`](Self::shard_count).
    pub fn range(&self, shard: u32) -> ByteRange {
        let (before, counted) = self.parts();
        let shards_before = self.shards_in(before);
        match u64::from(shard).checked_sub(shards_before) {
            None => self.cut(before, u64::from(shard)),
            Some(ordinal) => self.cut(counted, ordinal),
        }
    }

    /// Whether nothing of the object follows `shard`.
    pub fn ends_object(&self, shard: u32) -> bool {
        self.range(shard).end == self.object_size
    }

    /// Whether records that begin in `shard` are items.
    pub fn counts_items(&self, shard: u32) -> bool {
        self.range(shard).start >= self.count_from
    }

    /// The bytes before `count_from`, and those whose records are items.
    fn parts(&self) -> (ByteRange, ByteRange) {
        let end = self.end.min(self.object_size);
        let count_from = self.count_from.max(self.data_start);
        if count_from >= end {
            return (ByteRange::new(end, end), ByteRange::new(end, end));
        }
        (ByteRange::new(self.data_start, count_from), ByteRange::new(count_from, end))
    }

    fn shards_in(&self, part: ByteRange) -> u64 {
        part.len().div_ceil(self.size_in(part))
    }

    fn cut(&self, part: ByteRange, ordinal: u64) -> ByteRange {
        let size = self.size_in(part);
        let start = part.start + ordinal * size;
        ByteRange::new(start, part.end.min(start + size))
    }

    fn size_in(&self, part: ByteRange) -> u64 {
        self.shard_size.clamp(1, MAX_SHARD_BYTES).max(part.len().div_ceil(MAX_SHARDS_PER_PART - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_data_and_one_cut_is_at_count_from() {
        for (data_start, count_from, end, object_size) in
            [(3, 3, 50, 50), (3, 20, 50, 50), (0, 20, 31, 50), (0, 0, 1, 1), (5, 1, 99, 9)]
        {
            for shard_size in 0..60 {
                let plan = ShardPlan { data_start, count_from, end, object_size, shard_size };
                let ranges: Vec<_> = (0..plan.shard_count()).map(|shard| plan.range(shard)).collect();
                assert_eq!(ranges[0].start, data_start);
                assert_eq!(ranges[ranges.len() - 1].end, end.min(object_size));
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                assert!(ranges.iter().all(|range| !range.is_empty() && range.len() <= shard_size.max(1)));
                assert!(ranges.iter().any(|range| range.start == count_from.max(data_start)));
                let last = plan.shard_count() - 1;
                assert_eq!(plan.ends_object(last), end >= object_size);
                assert!(plan.counts_items(last));
            }
        }
    }

    #[test]
    fn no_data_or_nothing_to_count_is_no_shard() {
        assert_eq!(ShardPlan::whole(7, 7, 8).shard_count(), 0);
        assert_eq!(ShardPlan { count_from: 9, ..ShardPlan::whole(0, 9, 8) }.shard_count(), 0);
    }

    #[test]
    fn shards_are_made_larger_where_there_would_be_too_many() {
        let plan = ShardPlan::whole(0, 50 << 40, 1);
        assert!(plan.shard_count() > 1 << 30);
        assert_eq!(plan.range(plan.shard_count() - 1).end, 50 << 40);
    }
}
