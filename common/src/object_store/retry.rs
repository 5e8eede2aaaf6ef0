//! When a failed request is sent again: bounded attempts, growing waits with jitter, and a budget per store.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::ObjectError;

/// What a full budget holds. At [`RETRY_COST`] a store that fails all the time is sent 100 retries, then none.
const BUDGET_MAX: u32 = 500;
const RETRY_COST: u32 = 5;
/// One that the store asked for by throttling costs less: the pace of requests keeps it from becoming a flood.
const THROTTLED_COST: u32 = 1;
/// What a success puts back: in the long run one retry per five successes.
const SUCCESS_REFUND: u32 = 1;

/// How often and how soon a failed request is sent again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. The SDK's own three attempts lie inside each of them.
    pub max_attempts: u32,
    /// The wait after the first failure, before jitter; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait. A store that asks for more is not waited for: the caller learns how long it asked for.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 5, first_delay: Duration::from_millis(200), max_delay: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The wait after the `failures`-th failure in a row (from 1): between half and all of the doubled delay.
    /// `jitter` lies in `0.0..=1.0`.
    fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let full = self.first_delay.saturating_mul(1 << doublings).min(self.max_delay);
        full.mul_f64(0.5 + jitter / 2.0)
    }
}

/// What all requests to one store may still spend on retries, so that an outage is not answered with a flood.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: AtomicU32,
}

impl RetryBudget {
    pub(super) fn full() -> Self {
        Self { tokens: AtomicU32::new(BUDGET_MAX) }
    }

    pub(super) fn note_success(&self) {
        self.change(|tokens| Some((tokens + SUCCESS_REFUND).min(BUDGET_MAX)));
    }

    /// Pays for one retry. `false`: there is nothing left.
    fn pay(&self, throttled: bool) -> bool {
        let cost = if throttled { THROTTLED_COST } else { RETRY_COST };
        self.change(|tokens| tokens.checked_sub(cost))
    }

    fn change(&self, change: impl FnMut(u32) -> Option<u32>) -> bool {
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

/// The retries of one operation.
pub(super) struct Retries<'a> {
    policy: &'a RetryPolicy,
    budget: &'a RetryBudget,
    failures: u32,
}

impl<'a> Retries<'a> {
    pub(super) fn new(policy: &'a RetryPolicy, budget: &'a RetryBudget) -> Self {
        Self { policy, budget, failures: 0 }
    }

    /// Counts failures in a row anew: the last attempt got somewhere. The budget still pays for each retry.
    pub(super) fn begin_anew(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next attempt, or `None` to give up with this error.
    pub(super) fn next_delay(&mut self, error: &ObjectError, throttled: bool) -> Option<Duration> {
        self.failures += 1;
        if !error.is_retryable() || self.failures >= self.policy.max_attempts {
            return None;
        }
        let asked = error.retry_after().unwrap_or_default();
        if asked > self.policy.max_delay || !self.budget.pay(throttled) {
            return None;
        }
        Some(self.policy.delay(self.failures, random_fraction()).max(asked))
    }
}

/// 128 bits that nobody else draws, as 32 digits: the keys of new hash maps, which the standard library seeds from the system.
pub(super) fn random_mark() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

/// A number in `0.0..1.0`. The keys of a new hash map are random enough to spread retries.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object_store::ObjectAction;

    fn unavailable(after: Option<Duration>) -> ObjectError {
        let place = "s3://in/a".to_owned();
        ObjectError::Unavailable { action: ObjectAction::Read, place, after, source: "503".into() }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_jitter_takes_at_most_half() {
        let policy = RetryPolicy::default();
        let millis = |failures, jitter| policy.delay(failures, jitter).as_millis();
        assert_eq!(
            [1, 2, 3, 6, 7, 99].map(|failures| millis(failures, 1.0)),
            [200, 400, 800, 6_400, 10_000, 10_000]
        );
        assert_eq!(millis(1, 0.0), 100);
        assert!((0..100).all(|_| (0.0..1.0).contains(&random_fraction())));
    }

    #[test]
    fn attempts_are_bounded_and_a_wait_that_the_store_asked_for_is_kept() {
        let (policy, budget) = (RetryPolicy::default(), RetryBudget::full());
        let mut retries = Retries::new(&policy, &budget);
        assert_eq!(
            retries.next_delay(&unavailable(Some(Duration::from_secs(7))), false),
            Some(Duration::from_secs(7))
        );
        assert!((0..3).all(|_| retries.next_delay(&unavailable(None), false).is_some()));
        assert_eq!(retries.next_delay(&unavailable(None), false), None);
    }

    #[test]
    fn a_store_that_asks_for_too_long_a_wait_is_left_to_the_caller() {
        let (policy, budget) = (RetryPolicy::default(), RetryBudget::full());
        let mut retries = Retries::new(&policy, &budget);
        assert_eq!(retries.next_delay(&unavailable(Some(Duration::from_secs(60))), false), None);
    }

    #[test]
    fn an_empty_budget_ends_retries_until_requests_succeed_again() {
        let (policy, budget) = (RetryPolicy::default(), RetryBudget::full());
        let may_retry = || Retries::new(&policy, &budget).next_delay(&unavailable(None), false).is_some();
        assert!((0..100).all(|_| may_retry()));
        assert!(!may_retry());
        (0..5).for_each(|_| budget.note_success());
        assert!(may_retry());
        assert!(!may_retry());
        budget.note_success();
        assert!(Retries::new(&policy, &budget).next_delay(&unavailable(None), true).is_some(), "throttled");
    }

    #[test]
    fn an_attempt_that_got_somewhere_begins_the_count_anew() {
        let (policy, budget) = (RetryPolicy::default(), RetryBudget::full());
        let mut retries = Retries::new(&policy, &budget);
        for _ in 0..3 {
            assert!((0..4).all(|_| retries.next_delay(&unavailable(None), false).is_some()));
            retries.begin_anew();
        }
    }

    #[test]
    fn marks_differ() {
        let (one, other) = (random_mark(), random_mark());
        assert!(one != other && one.len() == 32, "{one} {other}");
    }
}
