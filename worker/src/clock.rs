//! The clock that leases are measured with.

use nix::time::{ClockId, clock_gettime};
use warifu_common::model::{Timestamp, WallTime};

/// Tells the time; tests put another one in its place.
pub trait Clock: Send + Sync + 'static {
    /// An instant of a clock that does not stop while the machine is suspended.
    fn now(&self) -> Timestamp;
}

/// `CLOCK_BOOTTIME`: leases run out while a machine sleeps, and `std::time::Instant` does not see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Timestamp {
        let time =
            clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        Timestamp(seconds * 1_000_000 + nanos / 1000)
    }
}

/// The time of day, for handlers' and users' eyes.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate where wall time is read")]
pub(crate) fn wall_now() -> WallTime {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
