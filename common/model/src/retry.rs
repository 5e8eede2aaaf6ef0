//! The retry rule (ASL, "Retrying after error"), applied alike by worker and coordinator.
//!
//! The worker decides whether a failure is final, because final failures go into its result part;
//! the coordinator paces the next attempt. Both see the same policy and the same counters.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{CallFailure, FailureKind, error_name};

/// How a retry's delay is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum JitterStrategy {
    /// Between zero and the computed delay, evenly.
    Full,
    /// Exactly the computed delay.
    #[default]
    None,
}

/// One entry of a job's retry policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrier {
    /// Names that it matches: exact, `Prefix.*`, `States.TaskFailed`, `States.ALL`.
    pub error_equals: Vec<String>,
    /// Delay before the first retry.
    pub interval: Duration,
    /// Retries, not attempts; 0 never retries.
    pub max_attempts: u32,
    /// Factor from one delay to the next; at least 1.
    pub backoff_rate: f64,
    /// Upper bound of a delay before jitter.
    pub max_delay: Option<Duration>,
    /// How the delay is spread.
    pub jitter_strategy: JitterStrategy,
}

impl Retrier {
    /// True if this retrier rules over `failure`.
    ///
    /// A business failure that is not marked retryable is matched by its exact name only.
    fn matches(&self, failure: &CallFailure) -> bool {
        let exact = self.error_equals.contains(&failure.error);
        let widely = || self.error_equals.iter().any(|name| matches_widely(name, &failure.error));
        exact || ((failure.kind == FailureKind::System || failure.retryable) && widely())
    }
}

fn matches_widely(pattern: &str, error: &str) -> bool {
    match pattern {
        error_name::ALL => true,
        error_name::TASK_FAILED => error != error_name::TIMEOUT,
        _ => {
            pattern.strip_suffix('*').is_some_and(|prefix| prefix.ends_with('.') && error.starts_with(prefix))
        }
    }
}

/// What becomes of a failed item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// It is sent again; the retrier at this place of the policy rules.
    Again {
        /// Index into the policy.
        retrier: usize,
    },
    /// Its failure is final.
    Final,
}

/// Decides what becomes of `failure`. `retries_used[i]` counts retries that retrier `i` has ordered for the batch.
///
/// The first retrier that matches rules, even if it is used up.
pub fn decide_retry(policy: &[Retrier], retries_used: &[u32], failure: &CallFailure) -> RetryDecision {
    match policy.iter().position(|retrier| retrier.matches(failure)) {
        Some(i) if retries_used.get(i).copied().unwrap_or(0) < policy[i].max_attempts => {
            RetryDecision::Again { retrier: i }
        }
        Some(_) | None => RetryDecision::Final,
    }
}

/// The delay before retry number `retry` (from 1): `interval × backoff_rate^(retry − 1)`, capped at
/// `max_delay` before jitter. `random` is uniform in [0, 1) and only used under FULL jitter.
pub fn retry_delay(retrier: &Retrier, retry: u32, random: f64) -> Duration {
    /// A delay beyond a year is a year (ASL's own limit for MaxDelaySeconds).
    const LONGEST: Duration = Duration::from_secs(31_622_400);
    let factor = retrier.backoff_rate.powi(i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX));
    let seconds = retrier.interval.as_secs_f64() * factor;
    let cap = retrier.max_delay.unwrap_or(LONGEST).min(LONGEST);
    let delay = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(cap);
    match retrier.jitter_strategy {
        JitterStrategy::Full => delay.mul_f64(random),
        JitterStrategy::None => delay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier(names: &[&str], max_attempts: u32) -> Retrier {
        Retrier {
            error_equals: names.iter().map(|name| (*name).to_owned()).collect(),
            interval: Duration::from_secs(1),
            max_attempts,
            backoff_rate: 2.0,
            max_delay: Some(Duration::from_secs(5)),
            jitter_strategy: JitterStrategy::None,
        }
    }

    #[test]
    fn the_first_matching_retrier_rules() {
        let policy = [retrier(&["Sql.40001"], 1), retrier(&["Http.*"], 2), retrier(&["States.ALL"], 3)];
        let table = [
            ("Sql.40001", vec![0, 0, 0], RetryDecision::Again { retrier: 0 }),
            ("Sql.40001", vec![1, 0, 0], RetryDecision::Final),
            ("Http.503", vec![1, 1, 0], RetryDecision::Again { retrier: 1 }),
            ("Httpx", vec![0, 0, 2], RetryDecision::Again { retrier: 2 }),
            ("Httpx", vec![0, 0, 3], RetryDecision::Final),
        ];
        for (error, used, expected) in table {
            let failure = CallFailure::system(error, "");
            assert_eq!(decide_retry(&policy, &used, &failure), expected, "{error} {used:?}");
        }
    }

    #[test]
    fn business_failures_are_retried_only_by_exact_name_or_when_marked() {
        let all = [retrier(&["States.ALL"], 3)];
        let exact = [retrier(&["Bad"], 3)];
        let failure = CallFailure::business("Bad", "");
        assert_eq!(decide_retry(&all, &[0], &failure), RetryDecision::Final);
        assert_eq!(decide_retry(&exact, &[0], &failure), RetryDecision::Again { retrier: 0 });
        let marked = CallFailure { retryable: true, ..failure };
        assert_eq!(decide_retry(&all, &[0], &marked), RetryDecision::Again { retrier: 0 });
    }

    #[test]
    fn task_failed_matches_everything_but_a_timeout() {
        let policy = [retrier(&["States.TaskFailed"], 1)];
        assert_eq!(
            decide_retry(&policy, &[0], &CallFailure::system("States.Timeout", "")),
            RetryDecision::Final
        );
        assert_ne!(
            decide_retry(&policy, &[0], &CallFailure::system("Exec.Exit.1", "")),
            RetryDecision::Final
        );
    }

    #[test]
    fn delays_grow_and_are_capped() {
        let policy = retrier(&["States.ALL"], 9);
        let delays: Vec<u64> = (1..=5).map(|n| retry_delay(&policy, n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        assert_eq!(retry_delay(&policy, u32::MAX, 0.0).as_secs(), 5);
        let full = Retrier { jitter_strategy: JitterStrategy::Full, ..policy };
        assert_eq!(retry_delay(&full, 2, 0.25), Duration::from_millis(500));
    }
}
