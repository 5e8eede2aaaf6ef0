//! The time that requests are signed with.
//!
//! S3 refuses a request whose time is a quarter of an hour away from its own, and says 403, as to a thief. A machine's clock
//! may step by hours; the store's answers carry its time, and that is the one that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_async::time::TimeSource;
use tracing::warn;

/// What is added to a refusal that the clock explains.
pub(super) const CLOCK_WAS_OFF: &str = "x-warifu-clock-was-off";

/// Less is not why a request is refused, and more than any answer takes.
const TOLERATED: Duration = Duration::from_secs(240);

/// This machine's clock, corrected by what the store said last when it refused a request.
#[derive(Debug, Clone, Default)]
pub(super) struct StoreClock {
    /// Seconds by which the store is ahead.
    ahead: Arc<AtomicI64>,
}

impl StoreClock {
    /// Notes the store's time; true if ours was so far off that requests are refused for it.
    fn learn(&self, store_says: i64) -> bool {
        let off = store_says - seconds(self.now());
        let was_off = off.unsigned_abs() > TOLERATED.as_secs();
        if was_off {
            self.ahead.store(store_says - seconds(wall_now()), Ordering::Relaxed);
            warn!(off_by_seconds = off, "this machine's clock is not the store's, which counts from now on");
        }
        was_off
    }
}

impl TimeSource for StoreClock {
    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = wall_now();
        let corrected = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        corrected.unwrap_or(now)
    }
}

impl Intercept for StoreClock {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        if !matches!(answer.status().as_u16(), 400 | 403) {
            return Ok(());
        }
        let date = answer.headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if date.is_some_and(|date| self.learn(date.secs())) {
            answer.headers_mut().insert(CLOCK_WAS_OFF, "true");
        }
        Ok(())
    }
}

/// What this machine shows.
#[expect(clippy::disallowed_methods, reason = "signatures carry wall time; nothing is measured with it")]
fn wall_now() -> SystemTime {
    SystemTime::now()
}

fn seconds(time: SystemTime) -> i64 {
    DateTime::from(time).secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_follows_the_store_and_another_one_stays() {
        let clock = StoreClock::default();
        let truth = seconds(wall_now());
        assert!(!clock.learn(truth + 200));
        for hours in [5, -7, 0] {
            let store = truth + hours * 3_600;
            assert!(clock.learn(store), "{hours}");
            assert!((seconds(clock.now()) - store).abs() < 100, "{hours}");
            assert!(!clock.learn(store), "{hours}");
        }
    }
}
