//! Times that coordinator and worker must agree on.
//!
//! Only durations travel, never instants. What is assumed of clocks is their rate, within [`CLOCK_DRIFT`]; nothing of
//! their offsets. The worker's view of a session always ends before the coordinator's does: that is what makes an expired
//! lease safe to give away.

use std::time::Duration;

/// How often a worker is heard: several heartbeats may be lost before a session ends.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a session lives after the last message that was answered, unless `[leases] ttl_seconds` says otherwise. Longer
/// than a fail-over takes, so that no running work is lost by one.
pub const SESSION_TTL: Duration = Duration::from_secs(20);

/// How much faster or slower than true time a clock may run: one hundredth. Quartz is off by a hundred times less.
pub const CLOCK_DRIFT: f64 = 0.01;

/// What the coordinator waits beyond drift: scheduling delays between reading a clock and acting on it.
pub const EXPIRY_MARGIN: Duration = Duration::from_millis(500);

/// A worker that has not heard `Welcome` so long after its Hello hangs up and tries the next coordinator.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker may trust its session, counted from *sending* the last message that was answered.
pub fn worker_validity(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 - CLOCK_DRIFT)
}

/// When the coordinator may act on a session's end, counted from *receiving* the worker's last message.
pub fn coordinator_expiry(ttl: Duration) -> Duration {
    ttl.mul_f64(1.0 + CLOCK_DRIFT) + EXPIRY_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_gives_up_before_the_coordinator_acts_whatever_their_clocks_do() {
        for ttl in [Duration::from_secs(5), SESSION_TTL, Duration::from_secs(3600)] {
            let slow_worker = worker_validity(ttl).div_f64(1.0 - CLOCK_DRIFT);
            let fast_coordinator = coordinator_expiry(ttl).div_f64(1.0 + CLOCK_DRIFT);
            assert!(slow_worker < fast_coordinator, "{ttl:?}");
        }
        assert_eq!(worker_validity(SESSION_TTL), Duration::from_millis(19_800));
        assert_eq!(coordinator_expiry(SESSION_TTL), Duration::from_millis(20_700));
    }
}
