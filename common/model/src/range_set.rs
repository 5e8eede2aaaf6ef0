//! A set of numbers kept as disjoint ranges: a million finished batches in a few bytes.

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of `u32` as sorted, disjoint, non-adjacent half-open ranges.
///
/// Sets shrink from their front, or grow at their end, or nearly so: there a change costs nothing worth counting. Elsewhere it
/// moves the ranges between it and the nearer end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct RangeSet {
    ranges: VecDeque<(u32, u32)>,
    len: u64,
}

impl RangeSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// All numbers of one range.
    pub fn from_range(range: Range<u32>) -> Self {
        let mut set = Self::new();
        set.insert_range(range);
        set
    }

    /// How many numbers it holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges it takes to write the set down.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// The smallest number in it.
    pub fn first(&self) -> Option<u32> {
        self.ranges.front().map(|(start, _)| *start)
    }

    /// The largest number in it.
    pub fn last(&self) -> Option<u32> {
        self.ranges.back().map(|(_, end)| end - 1)
    }

    /// The ranges in ascending order.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = Range<u32>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    /// The numbers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges().flatten()
    }

    /// True if `value` is in it.
    pub fn contains(&self, value: u32) -> bool {
        let at = self.ranges.partition_point(|(_, end)| *end <= value);
        self.ranges.get(at).is_some_and(|(start, _)| *start <= value)
    }

    /// Adds `value`; false if it was there.
    pub fn insert(&mut self, value: u32) -> bool {
        let before = self.len;
        self.insert_range(value..value + 1);
        self.len != before
    }

    /// Removes `value`; false if it was not there.
    pub fn remove(&mut self, value: u32) -> bool {
        let before = self.len;
        self.remove_range(value..value + 1);
        self.len != before
    }

    /// Adds all of `range`.
    pub fn insert_range(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        // Whatever touches the new range melts into it, adjacent ranges included.
        let from = self.first_where(|(_, end)| end >= range.start);
        let to = self.first_where(|(start, _)| start > range.end);
        if from == to {
            self.ranges.insert(from, (range.start, range.end));
            self.len += u64::from(range.end - range.start);
            return;
        }
        let (start, end) = (self.ranges[from].0.min(range.start), self.ranges[to - 1].1.max(range.end));
        self.len += u64::from(end - start) - self.numbers_in(from..to);
        self.ranges[from] = (start, end);
        self.drop_ranges(from + 1..to);
    }

    /// Removes all of `range`.
    pub fn remove_range(&mut self, range: Range<u32>) {
        let from = self.first_where(|(_, end)| end > range.start);
        let to = self.first_where(|(start, _)| start >= range.end);
        if range.is_empty() || from == to {
            return;
        }
        let (before, after) = ((self.ranges[from].0, range.start), (range.end, self.ranges[to - 1].1));
        let rest = [before, after].into_iter().filter(|(start, end)| start < end);
        self.len -= self.numbers_in(from..to);
        let mut kept = from;
        for (start, end) in rest {
            self.len += u64::from(end - start);
            if kept < to {
                self.ranges[kept] = (start, end);
            } else {
                self.ranges.insert(kept, (start, end));
            }
            kept += 1;
        }
        self.drop_ranges(kept..to);
    }

    /// Index of the first range for which `holds`, which holds for all after it, too.
    fn first_where(&self, holds: impl Fn((u32, u32)) -> bool) -> usize {
        match self.ranges.back() {
            Some(last) if holds(*last) => self.ranges.partition_point(|range| !holds(*range)),
            _ => self.ranges.len(),
        }
    }

    /// How many numbers the ranges of these indexes hold.
    fn numbers_in(&self, indexes: Range<usize>) -> u64 {
        self.ranges.range(indexes).map(|(start, end)| u64::from(end - start)).sum()
    }

    fn drop_ranges(&mut self, indexes: Range<usize>) {
        if !indexes.is_empty() {
            self.ranges.drain(indexes);
        }
    }

    /// Adds every number of `other`.
    pub fn union_with(&mut self, other: &RangeSet) {
        for range in other.ranges() {
            self.insert_range(range);
        }
    }

    /// Removes every number of `other`.
    pub fn subtract(&mut self, other: &RangeSet) {
        for range in other.ranges() {
            self.remove_range(range);
        }
    }

    /// The numbers that are in both.
    pub fn intersection(&self, other: &RangeSet) -> RangeSet {
        let mut both = RangeSet::new();
        let (mut left, mut right) = (self.ranges().peekable(), other.ranges().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            both.insert_range(a.start.max(b.start)..a.end.min(b.end));
            if a.end < b.end {
                left.next();
            } else {
                right.next();
            }
        }
        both
    }

    /// Takes up to `count` numbers from the front, all from the first range.
    pub fn take_front(&mut self, count: u32) -> Option<Range<u32>> {
        let (start, end) = self.ranges.front().copied()?;
        let taken = start..end.min(start.saturating_add(count));
        self.remove_range(taken.clone());
        Some(taken)
    }
}

impl From<Vec<(u32, u32)>> for RangeSet {
    fn from(ranges: Vec<(u32, u32)>) -> Self {
        ranges.into_iter().map(|(start, end)| start..end).collect()
    }
}

impl From<RangeSet> for Vec<(u32, u32)> {
    fn from(set: RangeSet) -> Self {
        set.ranges.into_iter().collect()
    }
}

impl FromIterator<Range<u32>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u32>>>(ranges: I) -> Self {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert_range(range);
        }
        set
    }
}

impl FromIterator<u32> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u32>>(values: I) -> Self {
        let mut set = RangeSet::new();
        let mut values = values.into_iter().peekable();
        while let Some(start) = values.next() {
            let mut end = start + 1;
            while values.next_if_eq(&end).is_some() {
                end += 1;
            }
            set.insert_range(start..end);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A tiny linear congruential generator: enough to walk many cases, the same ones every time.
    fn numbers(seed: u64) -> impl FnMut(u32) -> u32 {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32 % bound
        }
    }

    #[test]
    fn behaves_as_a_plain_set_under_any_insertions_and_removals() {
        for seed in 0..200 {
            let mut next = numbers(seed);
            let (mut set, mut plain) = (RangeSet::new(), BTreeSet::new());
            for _ in 0..60 {
                let start = next(40);
                let range = start..start + next(8);
                if next(2) == 0 {
                    set.insert_range(range.clone());
                    plain.extend(range);
                } else {
                    set.remove_range(range.clone());
                    plain.retain(|value| !range.contains(value));
                }
                assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
                assert_eq!(set.len(), plain.len() as u64);
                let ends: Vec<_> = set.ranges().collect();
                assert!(ends.windows(2).all(|pair| pair[0].end < pair[1].start), "{ends:?}");
            }
        }
    }

    #[test]
    fn intersection_holds_what_both_hold() {
        let a: RangeSet = [0..10, 20..30].into_iter().collect();
        let b: RangeSet = [5..25, 29..40].into_iter().collect();
        assert_eq!(a.intersection(&b).ranges().collect::<Vec<_>>(), vec![5..10, 20..25, 29..30]);
    }
}
