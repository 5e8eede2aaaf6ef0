//! The two clocks that the scheduler is told of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use warifu_model::{Now, Timestamp, WallTime};

/// Leases run out while the machine is suspended, so this clock must go on meanwhile. `Instant` does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// The nearest thing elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Both clocks as they stand.
pub(crate) fn now() -> Now {
    let at = clock_gettime(CLOCK).expect("every supported system has this clock");
    let at = Duration::from(at).as_micros();
    Now { at: Timestamp(u64::try_from(at).unwrap_or(u64::MAX)), wall: wall_time() }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
fn wall_time() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
