//! The two clocks that the scheduler is told of.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use warifu_model::{Now, Timestamp, WallTime};

/// Leases run out while the machine is suspended, so this clock must go on meanwhile. `Instant` does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// The nearest thing elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Tells the time; tests put another one in its place.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Both clocks as they stand. The one for decisions does not stop while the machine is suspended.
    fn now(&self) -> Now;
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let at = clock_gettime(CLOCK).expect("every supported system has this clock");
        let at = Duration::from(at).as_micros();
        Now { at: Timestamp(u64::try_from(at).unwrap_or(u64::MAX)), wall: wall_time() }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
fn wall_time() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
