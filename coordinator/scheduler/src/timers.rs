//! Deadlines by what they are for, and which comes first.

use std::collections::{BTreeMap, BTreeSet};

use warifu_model::{Incarnation, MapRunId, Timestamp};

/// What a deadline is for. Each has one time at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next transaction may be sent.
    Commit,
    /// The leader must have written something, or step down.
    Leadership,
    /// Grants are allowed after a take-over.
    WindowGrants,
    /// The adoption window ends.
    WindowEnd,
    /// A worker's session runs out.
    WorkerExpiry(Incarnation),
    /// A batch may be sent again.
    Retry(MapRunId),
    /// A run's rate allows its next batch.
    Pace(MapRunId),
    /// A run's time is over.
    RunTimeout(MapRunId),
    /// A compensation's next try, or the end of its time.
    Compensation(MapRunId),
    /// Begun batches are to be written down.
    Begun,
    /// Idle slots may be filled by what others have not begun.
    Rebalance,
    /// Placement was put off and may be done.
    Placement,
}

/// A set of deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_timer: BTreeMap<Timer, Timestamp>,
    ordered: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        if self.by_timer.get(&timer) == Some(&at) {
            return;
        }
        self.clear(&timer);
        self.by_timer.insert(timer.clone(), at);
        self.ordered.insert((at, timer));
    }

    /// Sets a deadline unless an earlier one stands.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Timestamp) {
        if self.by_timer.get(&timer).is_none_or(|standing| at < *standing) {
            self.set(timer, at);
        }
    }

    /// Takes a deadline away.
    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.by_timer.remove(timer) {
            self.ordered.remove(&(at, timer.clone()));
        }
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.ordered.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline if it has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, _) = self.ordered.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.ordered.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }
}
