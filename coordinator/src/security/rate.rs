//! How often a principal may call: a bucket of tokens each, in a table of bounded size.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use warifu_common::config::CallLimits;

/// Most principals that are remembered. One that has not called for a while needs no memory: its bucket is full.
const MAX_BUCKETS: usize = 10_000;

/// The calls that each principal has left.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Calls per second; 0: no limit.
    per_second: f64,
    burst: f64,
    /// Locked for a look only.
    buckets: Mutex<BTreeMap<Arc<str>, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl RateLimit {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        Self {
            per_second: limits.requests_per_second.into(),
            burst: limits.request_burst.max(1).into(),
            buckets: Mutex::default(),
        }
    }

    /// Takes one call of `principal`, or says how long there is none.
    pub(crate) fn take(&self, principal: &Arc<str>) -> Result<(), Duration> {
        if self.per_second == 0.0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(principal) {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.burst);
        }
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(principal) {
            return Err(Duration::from_secs(1));
        }
        let bucket = buckets.entry(principal.clone()).or_insert(Bucket { calls: self.burst, at: now });
        bucket.calls = self.filled(bucket, now);
        bucket.at = now;
        if bucket.calls >= 1.0 {
            bucket.calls -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.calls) / self.per_second))
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        (bucket.calls + now.duration_since(bucket.at).as_secs_f64() * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_principal_gets_its_burst_then_its_rate_and_others_are_untouched() {
        let limits = CallLimits { requests_per_second: 10, request_burst: 2, ..CallLimits::default() };
        let rate = RateLimit::new(&limits);
        let (ann, bob) = ("ann".into(), "bob".into());
        assert!(rate.take(&ann).is_ok() && rate.take(&ann).is_ok());
        assert_eq!(rate.take(&ann), Err(Duration::from_millis(100)));
        assert!(rate.take(&bob).is_ok());
        tokio::time::advance(Duration::from_millis(101)).await;
        assert!(rate.take(&ann).is_ok() && rate.take(&ann).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_stays_bounded() {
        let limits = CallLimits { requests_per_second: 1, request_burst: 1, ..CallLimits::default() };
        let rate = RateLimit::new(&limits);
        for number in 0..MAX_BUCKETS {
            rate.take(&number.to_string().into()).unwrap();
        }
        assert!(rate.take(&"late".into()).is_err());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(rate.take(&"late".into()).is_ok());
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }
}
