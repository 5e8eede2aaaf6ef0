//! How many failures a run may have and still succeed.

use serde::{Deserialize, Serialize};

/// A run's tolerance. Both limits absent: the first failed item ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tolerance {
    /// Failed and timed-out items that are tolerated.
    pub count: Option<u64>,
    /// Their tolerated share of all items, in percent, 0 to 100.
    pub percentage: Option<f64>,
}

/// What is known of a run's total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotalItems {
    /// Every shard is composed.
    Known(u64),
    /// So many are counted, and at most so many bytes remain to be scanned. A record takes two bytes at least.
    AtMost {
        /// Items composed so far.
        counted: u64,
        /// Bytes that are not composed yet.
        unscanned_bytes: u64,
    },
}

/// Percentages are compared in millionths of a percent: exact integers, no rounding at the limit.
const SCALE: u128 = 1_000_000;

impl Tolerance {
    /// True if `unsuccessful` items are more than the run tolerates, whatever is still to come.
    pub fn is_exceeded(&self, unsuccessful: u64, total: TotalItems) -> bool {
        match (self.count, self.percentage) {
            (None, None) => unsuccessful > 0,
            (count, percentage) => {
                count.is_some_and(|limit| unsuccessful > limit)
                    || percentage.is_some_and(|limit| exceeds_percentage(unsuccessful, limit, total))
            }
        }
    }
}

fn exceeds_percentage(unsuccessful: u64, limit: f64, total: TotalItems) -> bool {
    let most = match total {
        TotalItems::Known(total) => u128::from(total),
        TotalItems::AtMost { counted, unscanned_bytes } => {
            u128::from(counted) + u128::from(unscanned_bytes.div_ceil(2))
        }
    };
    let millionths = (limit.clamp(0.0, 100.0) * SCALE as f64).round() as u128;
    u128::from(unsuccessful) * 100 * SCALE > millionths * most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fails_when_failures_exceed_a_limit() {
        let known = TotalItems::Known;
        let table = [
            // count, percentage, failed, total, exceeded
            (None, None, 0, known(100), false),
            (None, None, 1, known(100), true),
            (Some(0), None, 1, known(100), true),
            (Some(4), None, 4, known(100), false),
            (Some(4), None, 5, known(100), true),
            (None, Some(5.0), 4, known(100), false),
            (None, Some(5.0), 5, known(100), false),
            (None, Some(5.0), 6, known(100), true),
            (None, Some(0.0), 1, known(100), true),
            (None, Some(100.0), 100, known(100), false),
            (Some(50), Some(5.0), 6, known(100), true),
            (Some(3), Some(50.0), 4, known(100), true),
            (None, Some(33.333333), 1, known(3), true),
            (None, Some(33.333334), 1, known(3), false),
            (None, Some(5.0), u64::MAX, known(u64::MAX), true),
        ];
        for (count, percentage, failed, total, exceeded) in table {
            let tolerance = Tolerance { count, percentage };
            assert_eq!(tolerance.is_exceeded(failed, total), exceeded, "{tolerance:?} {failed} of {total:?}");
        }
    }

    #[test]
    fn a_percentage_acts_early_only_when_no_total_could_save_the_run() {
        let tolerance = Tolerance { count: None, percentage: Some(5.0) };
        let remaining = |bytes| TotalItems::AtMost { counted: 100, unscanned_bytes: bytes };
        assert!(!tolerance.is_exceeded(6, remaining(40)));
        assert!(tolerance.is_exceeded(6, remaining(38)));
        assert!(tolerance.is_exceeded(7, remaining(40)));
    }
}
