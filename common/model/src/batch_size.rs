//! `autoSize`: how many items a batch has, chosen once per run from what its first shard shows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Batches of a run that is neither small nor large.
const BASE_ITEMS: u64 = 25;
/// Rounds of batches that a large run should take at its `maxConcurrency`.
const ROUNDS: u64 = 10;
/// The most items of a batch, where the job does not say.
pub const DEFAULT_MOST_ITEMS: u32 = 100;

/// Bounds within which the size is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoSize {
    /// At least so many; not above `max_items`.
    pub min_items: u32,
    /// At most so many.
    pub max_items: u32,
}

/// What a run's first shard with items says about all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstItems {
    /// Items up to the shard's end.
    pub items: u64,
    /// Bytes of the data up to there.
    pub bytes: u64,
    /// Bytes of the data in all; the same if there is no other shard.
    pub total_bytes: u64,
    /// No more items than these are read.
    pub max_items: Option<u64>,
}

/// A size that was chosen, and from what. Part of a run's plan: it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSize {
    /// Items of a batch.
    pub items: u32,
    /// Items of the run.
    pub total_items: u64,
    /// They are not counted, but estimated from the first shard.
    pub is_estimate: bool,
    /// The limit at that time; absent: none.
    pub max_concurrency: Option<u32>,
}

impl FirstItems {
    fn is_all(&self) -> bool {
        self.bytes >= self.total_bytes || self.max_items.is_some_and(|max_items| self.items >= max_items)
    }

    fn total(&self) -> u64 {
        let estimate = u128::from(self.items) * u128::from(self.total_bytes) / u128::from(self.bytes.max(1));
        let total = if self.is_all() { self.items } else { u64::try_from(estimate).unwrap_or(u64::MAX) };
        total.min(self.max_items.unwrap_or(u64::MAX))
    }
}

impl AutoSize {
    /// Chooses the size: small runs get small batches, so that several workers have some; large ones as many items as let the
    /// run take about ten rounds of `max_concurrency` batches. Without that limit there is nothing to divide by.
    pub fn choose(&self, first: &FirstItems, max_concurrency: Option<u32>) -> BatchSize {
        let total_items = first.total();
        let items = match total_items {
            0..100 => total_items.min(10),
            100..500 => 20,
            500..1000 => BASE_ITEMS,
            1000.. => {
                let at_once = max_concurrency.map_or(u64::MAX, |limit| u64::from(limit) * ROUNDS);
                BASE_ITEMS.max((total_items / at_once.max(1)).min(self.max_items.into()))
            }
        };
        let items =
            u32::try_from(items).unwrap_or(u32::MAX).clamp(self.min_items.max(1), self.max_items.max(1));
        BatchSize { items, total_items, is_estimate: !first.is_all(), max_concurrency }
    }
}

/// Why the size is what it is.
impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.is_estimate { "about " } else { "" };
        write!(f, "{about}{} items", self.total_items)?;
        match self.max_concurrency {
            Some(limit) => write!(f, ", maxConcurrency {limit}"),
            None => write!(f, ", no maxConcurrency"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(auto: AutoSize, total: u64, max_concurrency: Option<u32>) -> u32 {
        let first = FirstItems { items: total, bytes: 9, total_bytes: 9, max_items: None };
        auto.choose(&first, max_concurrency).items
    }

    #[test]
    fn the_size_follows_the_number_of_items_and_for_large_runs_the_concurrency() {
        let auto = AutoSize { min_items: 1, max_items: 100 };
        for (total, max_concurrency, items) in [
            (0, Some(5), 1),
            (7, Some(5), 7),
            (99, Some(5), 10),
            (100, Some(5), 20),
            (499, Some(5), 20),
            (500, Some(5), 25),
            (999, Some(5), 25),
            (1000, Some(5), 25),
            (3000, Some(5), 60),
            (1_000_000, Some(5), 100),
            (1_000_000, Some(2000), 50),
            (1_000_000, None, 25),
            (u64::MAX, Some(1), 100),
        ] {
            assert_eq!(chosen(auto, total, max_concurrency), items, "{total} {max_concurrency:?}");
        }
        assert_eq!(chosen(AutoSize { min_items: 30, max_items: 40 }, 7, None), 30);
        assert_eq!(chosen(AutoSize { min_items: 1, max_items: 12 }, 5000, Some(1)), 12);
        assert_eq!(chosen(AutoSize { min_items: 1, max_items: 500 }, 50_000, Some(5)), 500);
    }

    #[test]
    fn the_total_is_counted_where_it_can_be_and_else_estimated_by_bytes() {
        let auto = AutoSize { min_items: 1, max_items: 100 };
        let first = FirstItems { items: 100, bytes: 1000, total_bytes: 50_000, max_items: None };
        let size = auto.choose(&first, Some(10));
        assert_eq!((size.items, size.total_items, size.is_estimate), (50, 5000, true));
        assert_eq!(size.to_string(), "about 5000 items, maxConcurrency 10");
        let limited = auto.choose(&FirstItems { max_items: Some(100), ..first }, None);
        assert_eq!((limited.total_items, limited.is_estimate), (100, false));
        assert_eq!(limited.to_string(), "100 items, no maxConcurrency");
        let limited = auto.choose(&FirstItems { max_items: Some(700), ..first }, None);
        assert_eq!((limited.total_items, limited.is_estimate), (700, true));
    }
}
