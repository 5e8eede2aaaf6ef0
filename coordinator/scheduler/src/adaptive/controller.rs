//! The controller of a run's limit: from how calls of the handler end to how many may be in progress.
//!
//! Calls are looked at in windows. With few calls in progress a call takes its least time; a backend that is saturated makes
//! calls wait, so that they take the longer the more of them there are, and `in progress × (1 − least time / time)` of them are
//! waiting at any time. The limit rises while next to none wait, stays while a few do, and falls to what the
//! backend bears when many do. Failures that are not the items' halve it: overload shows so, too.
//!
//! It begins low, doubles up to what a run of five minutes would need, or one of its `targetDuration`, and adds a tenth at a
//! time beyond that, and after it had to fall.
//!
//! **Invariant:** the limit is at least 1. Only a window in which it was reached raises it. What a call shows that began
//! before the limit was last changed is not looked at.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use warifu_model::{AdaptedLimit, LimitReason, Timestamp};

/// The limit that a run begins with: only a call that is alone certainly does not wait for others.
const FIRST_LIMIT: u32 = 1;

/// Up to here the limit is doubled at first however short the run is.
const LEAST_DOUBLING: u32 = 8;

/// How long a run without `targetDuration` may take before its limit is doubled rather than raised by a tenth.
const USUAL_DURATION: Duration = Duration::from_secs(300);

/// A window holds so many calls for each slot: of two calls the quicker one is not the first of its process.
const CALLS_PER_SLOT: u32 = 2;
/// The most calls of a window: more would say little more. Bounds what is remembered.
const MOST_CALLS: u32 = 64;

/// A window in which so many calls leave too few times to compare says nothing, and another one begins.
const LONGEST_WINDOW: u32 = 512;

/// Workers gather outcomes for so long before they report them: a call may have ended as much earlier.
const REPORT_DELAY: Duration = Duration::from_secs(1);

/// One failed call in so many is overload. Less is what a large fleet has on any day.
const OVERLOAD_ONE_IN: u32 = 20;
/// A single failed call says nothing.
const LEAST_FAILURES: u32 = 2;

/// Calls that wait: up to a tenth of those in progress is noise, and a half is what rounding makes of one.
const FEW_WAIT: f64 = 0.1;
/// More than a fifth is too many.
const MANY_WAIT: f64 = 0.2;

/// Within so much more, calls take their least time.
const LEAST_TIME_NOISE: f64 = 1.1;
/// A lower median than ever is believed by so much of the difference: the lowest of many windows is luck.
const LOWER_BELIEVED: f64 = 0.25;
/// Calls that take so much more with no more of them in progress, or so much less, have become others…
const OTHERS: f64 = 1.3;
/// …if so many windows in a row say it.
const OTHERS_WINDOWS: u32 = 3;

/// A call of the handler that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// How long it took.
    pub(crate) time: Duration,
    /// How it ended.
    pub(crate) end: CallEnd,
    /// Slots that were held of the run.
    pub(crate) in_progress: u32,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// As it should, with all of its batch's items: its time counts.
    Answered,
    /// As it should, but its time cannot be compared with others'.
    AnsweredInPart,
    /// By a failure that is not its items' or by a timeout.
    Failed,
}

/// What a window's end is decided by, beside its calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// The ceiling.
    pub(crate) most: u32,
    /// Batches that are not decided.
    pub(crate) batches_left: u64,
    /// Time until `targetDuration` is over, if there is one.
    pub(crate) time_left: Option<Duration>,
}

/// What a new leader goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ControllerRecord {
    /// The limit and its reason.
    pub limit: AdaptedLimit,
    /// Up to this the limit is doubled; absent: it is not known yet.
    pub doubles_until: Option<u32>,
    /// What calls take at least; absent: no window has ended yet.
    pub least: Option<LeastTime>,
}

/// How long calls take with few of them in progress.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LeastTime {
    /// Seconds.
    pub seconds: f64,
    /// With so many in progress they took no longer.
    pub in_progress: f64,
}

/// The state of one run's limit.
#[derive(Debug)]
pub(crate) struct Controller {
    record: ControllerRecord,
    changed_at: Timestamp,
    /// Windows in a row in which calls seem to have become others.
    others_windows: u32,
    window: Window,
}

/// Calls since the last decision.
#[derive(Debug, Default)]
struct Window {
    /// Of those that were answered with all of their items.
    times: Vec<Duration>,
    calls: u32,
    failed: u32,
    /// Calls at whose end the limit was reached.
    at_limit: u32,
    in_progress: u64,
}

/// What a window says.
struct Finding {
    /// The median of what calls took, in seconds.
    seconds: f64,
    /// The mean of those in progress.
    in_progress: f64,
    /// The limit kept more from being in progress.
    limit_was_reached: bool,
}

impl Controller {
    /// Of a run that has handled nothing yet, or is gone on with.
    pub(crate) fn new(record: Option<ControllerRecord>, now: Timestamp) -> Self {
        let first = ControllerRecord {
            limit: AdaptedLimit { limit: FIRST_LIMIT, reason: LimitReason::Starting },
            doubles_until: None,
            least: None,
        };
        Self {
            record: record.unwrap_or(first),
            changed_at: now,
            others_windows: 0,
            window: Window::default(),
        }
    }

    /// What a new leader would go on from.
    pub(crate) fn record(&self) -> ControllerRecord {
        self.record
    }

    /// The limit under a ceiling that may be lower since the last decision.
    pub(crate) fn limit(&self, most: u32) -> AdaptedLimit {
        let most = most.max(1);
        if self.record.limit.limit <= most {
            self.record.limit
        } else {
            AdaptedLimit { limit: most, reason: LimitReason::MaxConcurrency }
        }
    }

    /// Takes a call that has ended; true if the limit is another one now.
    pub(crate) fn call_ended(&mut self, now: Timestamp, call: Call, work: &Work) -> bool {
        if now < self.changed_at + call.time.saturating_add(REPORT_DELAY) {
            return false;
        }
        let limit = self.limit(work.most).limit;
        self.window.take(call, limit);
        let enough = limit.saturating_mul(CALLS_PER_SLOT).min(MOST_CALLS);
        if self.window.shows_overload(enough) {
            return self.halve(now, limit);
        }
        if self.window.times.len() < enough as usize {
            if self.window.calls >= LONGEST_WINDOW {
                self.window = Window::default();
            }
            return false;
        }
        let window = std::mem::take(&mut self.window);
        self.decide(now, limit, &window.finding(), work)
    }

    fn halve(&mut self, now: Timestamp, limit: u32) -> bool {
        let window = std::mem::take(&mut self.window);
        let reason = LimitReason::Failures { failed: window.failed, calls: window.calls };
        let half = (rounded(window.mean_in_progress()).min(limit) / 2).max(1);
        self.record.doubles_until = Some(half);
        self.change(now, half, reason)
    }

    fn decide(&mut self, now: Timestamp, limit: u32, finding: &Finding, work: &Work) -> bool {
        let least = self.learn_least(finding);
        let needed = |time| needed(work.batches_left, finding.seconds, time);
        let doubles_until = *self
            .record
            .doubles_until
            .get_or_insert_with(|| needed(work.time_left.unwrap_or(USUAL_DURATION)).max(LEAST_DOUBLING));
        let free = finding.in_progress * (least / finding.seconds).min(1.0);
        let waiting = finding.in_progress - free;
        let few = 0.5 + FEW_WAIT * finding.in_progress;
        let many = 1.5 + MANY_WAIT * finding.in_progress;
        let latency = || LimitReason::Latency {
            call_time: Duration::from_secs_f64(finding.seconds),
            least_call_time: Duration::from_secs_f64(least),
        };
        let (next, reason) = if waiting > many {
            let lower = rounded(free + few).max(limit / 2).min(limit.saturating_sub(1)).max(1);
            self.record.doubles_until = Some(lower);
            (lower, latency())
        } else if waiting > few {
            (limit, latency())
        } else if self.others_windows > 0 {
            (limit, self.record.limit.reason)
        } else if !finding.limit_was_reached {
            (limit, LimitReason::Unreached)
        } else {
            let call_time = Duration::from_secs_f64(finding.seconds);
            (raised(limit, doubles_until), LimitReason::Rising { call_time })
        };
        let (next, reason) = match work.time_left.map(needed) {
            Some(enough) if enough <= next => (enough, LimitReason::TargetDuration),
            _ => (next, reason),
        };
        if next >= work.most {
            return self.change(now, work.most.max(1), LimitReason::MaxConcurrency);
        }
        self.change(now, next, reason)
    }

    /// What calls take at least, with what this window says of it.
    fn learn_least(&mut self, finding: &Finding) -> f64 {
        let Finding { seconds, in_progress, .. } = *finding;
        let Some(least) = &mut self.record.least else {
            self.record.least = Some(LeastTime { seconds, in_progress });
            return seconds;
        };
        let is_slower = seconds > least.seconds * OTHERS && in_progress <= least.in_progress.max(1.0);
        let is_faster = seconds * OTHERS < least.seconds;
        self.others_windows = if is_slower || is_faster { self.others_windows + 1 } else { 0 };
        if self.others_windows >= OTHERS_WINDOWS {
            *least = LeastTime { seconds, in_progress };
            self.others_windows = 0;
        } else if seconds < least.seconds && !is_faster {
            least.seconds += (seconds - least.seconds) * LOWER_BELIEVED;
        }
        if seconds <= least.seconds * LEAST_TIME_NOISE && !is_faster {
            least.in_progress = least.in_progress.max(in_progress);
        }
        least.seconds
    }

    fn change(&mut self, now: Timestamp, limit: u32, reason: LimitReason) -> bool {
        let is_another = limit != self.record.limit.limit;
        self.record.limit = AdaptedLimit { limit, reason };
        if is_another {
            self.changed_at = now;
        }
        is_another
    }
}

impl Window {
    fn take(&mut self, call: Call, limit: u32) {
        self.calls += 1;
        self.in_progress += u64::from(call.in_progress);
        self.at_limit += u32::from(call.in_progress >= limit);
        match call.end {
            CallEnd::Answered => self.times.push(call.time),
            CallEnd::AnsweredInPart => {}
            CallEnd::Failed => self.failed += 1,
        }
    }

    fn shows_overload(&self, enough: u32) -> bool {
        self.failed >= LEAST_FAILURES && self.failed.saturating_mul(OVERLOAD_ONE_IN) >= self.calls.max(enough)
    }

    fn mean_in_progress(&self) -> f64 {
        self.in_progress as f64 / f64::from(self.calls.max(1))
    }

    fn finding(mut self) -> Finding {
        self.times.sort_unstable();
        // Never zero: times are divided by each other.
        let median = self.times[(self.times.len() - 1) / 2].max(Duration::from_micros(1));
        Finding {
            seconds: median.as_secs_f64(),
            in_progress: self.mean_in_progress(),
            limit_was_reached: self.at_limit.saturating_mul(2) > self.calls,
        }
    }
}

fn raised(limit: u32, doubles_until: u32) -> u32 {
    if limit < doubles_until {
        limit.saturating_mul(2).min(doubles_until)
    } else {
        limit.saturating_add(limit.div_ceil(10))
    }
}

/// Batches in progress at once that get `batches` done in `time`, at least 1.
fn needed(batches: u64, seconds: f64, time: Duration) -> u32 {
    let exact = batches as f64 * seconds / time.as_secs_f64().max(1e-6);
    rounded(exact.ceil()).max(1)
}

/// The nearest whole number; the cast saturates.
fn rounded(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests;
