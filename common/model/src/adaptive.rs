//! `adaptiveConcurrency`: a limit of batches in progress that follows what stands behind the handler, and why it is what it is.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// That the concurrency is chosen while the run goes on, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AdaptiveConcurrency {
    /// The run should take so long: no more batches are in progress than that needs. Absent: as many as go without strain.
    pub target_duration: Option<Duration>,
}

/// The limit of a run, lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptedLimit {
    /// Batches that may be in progress, at least 1, at most `max_concurrency`.
    pub limit: u32,
    /// Why so many.
    pub reason: LimitReason,
}

/// Why a run's limit is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitReason {
    /// Too few calls have ended to tell.
    Starting,
    /// Calls take no longer than with few of them: it is being raised.
    Rising {
        /// Half of them took no longer.
        call_time: Duration,
    },
    /// Calls take longer the more of them there are.
    Latency {
        /// Half of them took no longer.
        call_time: Duration,
        /// What it was with few of them.
        least_call_time: Duration,
    },
    /// Calls failed, for a reason that is not their items', or timed out: it was halved.
    Failures {
        /// So many of them.
        failed: u32,
        /// Calls that were looked at.
        calls: u32,
    },
    /// Fewer batches than it allows were in progress: a higher one would change nothing.
    Unreached,
    /// More are not needed for `target_duration`.
    TargetDuration,
    /// More are not allowed by `max_concurrency`.
    MaxConcurrency,
}

/// Why, in a sentence.
impl fmt::Display for LimitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitReason::Starting => write!(f, "too few calls have ended to tell"),
            LimitReason::Rising { call_time } => {
                write!(f, "a call takes {}, no longer than with fewer: it is raised", Span(*call_time))
            }
            LimitReason::Latency { call_time, least_call_time } => {
                let (now, least) = (Span(*call_time), Span(*least_call_time));
                write!(f, "a call takes {now}, and {least} with fewer")
            }
            LimitReason::Failures { failed, calls } => {
                write!(f, "{failed} of {calls} calls failed or timed out: it was halved")
            }
            LimitReason::Unreached => write!(f, "fewer batches are in progress than it allows"),
            LimitReason::TargetDuration => write!(f, "targetDuration needs no more"),
            LimitReason::MaxConcurrency => write!(f, "maxConcurrency allows no more"),
        }
    }
}

/// A time with a thousandth of its unit.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1e3;
        if millis >= 1e3 { write!(f, "{:.3} s", millis / 1e3) } else { write!(f, "{millis:.3} ms") }
    }
}
