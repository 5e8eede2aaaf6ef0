//! Whether so many items of a run fail that somebody should look: told once for each level of a run, or of a redrive.
//!
//! The run's warning remembers what was told, and is written with the transaction that counts the failures: a new leader
//! does not tell it again.

use warifu_model::{FailureCounts, FailureKind, MapRunId, Warning};

use crate::record::StatusRecord;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertLevel {
    /// Over 5 % of the decided items failed or timed out.
    Medium,
    /// Over 10 %.
    High,
}

impl AlertLevel {
    /// Every level, the worst last.
    pub const ALL: [Self; 2] = [Self::Medium, Self::High];

    /// The level's name in logs, such as `MEDIUM`.
    pub fn name(self) -> &'static str {
        match self {
            AlertLevel::Medium => "MEDIUM",
            AlertLevel::High => "HIGH",
        }
    }

    /// What the run's warning is called.
    pub fn reason(self) -> &'static str {
        match self {
            AlertLevel::Medium => "ERROR_RATE_MEDIUM",
            AlertLevel::High => "ERROR_RATE_HIGH",
        }
    }

    /// The rate that is exceeded, in percent.
    fn percentage(self) -> u64 {
        match self {
            AlertLevel::Medium => 5,
            AlertLevel::High => 10,
        }
    }
}

/// A run's error rate has risen over a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRateAlert {
    /// The run.
    pub map_run: MapRunId,
    /// The run's current redrive; 0 at first.
    pub redrive: u32,
    /// The highest level that is exceeded.
    pub level: AlertLevel,
    /// Items that succeeded, failed or timed out so far.
    pub decided_items: u64,
    /// Of those, items that failed or timed out.
    pub failure_counts: FailureCounts,
    /// The most frequent failure: kind, name and items.
    pub top_error: (FailureKind, String, u64),
}

impl ErrorRateAlert {
    /// Failed and timed-out items' share of the decided ones, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        self.failure_counts.sum() as f64 / self.decided_items.max(1) as f64
    }

    fn warning(&self) -> Warning {
        let (kind, error, count) = &self.top_error;
        let (kind, advice) = match kind {
            FailureKind::Business => ("BUSINESS", "the items are at fault, their records want correcting"),
            FailureKind::System => {
                ("SYSTEM", "what is around the items is at fault, mend it and redrive the run")
            }
        };
        let message = format!(
            "{:.1} % of {} decided items failed or timed out, more than {} %, most often with {error} ({kind}, {count}): \
             {advice}",
            self.error_rate() * 100.0,
            self.decided_items,
            self.level.percentage(),
        );
        Warning { reason: self.level.reason().to_owned(), message }
    }
}

/// Warns in `status`, and returns what is to be told, if the error rate of at least `min_decided` items is over a level that
/// was not told yet.
pub(crate) fn raise(
    status: &mut StatusRecord,
    map_run: &MapRunId,
    min_decided: u64,
) -> Option<ErrorRateAlert> {
    let level = exceeded(status, min_decided).filter(|level| Some(*level) > told(&status.warnings))?;
    let ((kind, error), items) = status.errors.iter().max_by_key(|(_, items)| **items)?;
    let alert = ErrorRateAlert {
        map_run: map_run.clone(),
        redrive: status.redrive,
        level,
        decided_items: decided(status),
        failure_counts: status.failure_counts(),
        top_error: (*kind, error.clone(), *items),
    };
    status.warnings = without_alerts(&status.warnings);
    status.warnings.push(alert.warning());
    Some(alert)
}

/// What a redrive keeps: its failures are counted anew.
pub(crate) fn without_alerts(warnings: &[Warning]) -> Vec<Warning> {
    let is_other = |warning: &&Warning| level_of(warning).is_none();
    warnings.iter().filter(is_other).cloned().collect()
}

fn told(warnings: &[Warning]) -> Option<AlertLevel> {
    warnings.iter().filter_map(level_of).max()
}

fn level_of(warning: &Warning) -> Option<AlertLevel> {
    AlertLevel::ALL.into_iter().find(|level| level.reason() == warning.reason)
}

fn exceeded(status: &StatusRecord, min_decided: u64) -> Option<AlertLevel> {
    let (decided, failed) = (decided(status), status.item_counts.unsuccessful());
    if decided < min_decided {
        return None;
    }
    let is_exceeded =
        |level: &AlertLevel| u128::from(failed) * 100 > u128::from(decided) * u128::from(level.percentage());
    AlertLevel::ALL.into_iter().filter(is_exceeded).max()
}

fn decided(status: &StatusRecord) -> u64 {
    status.item_counts.succeeded + status.item_counts.unsuccessful()
}

#[cfg(test)]
mod tests;
