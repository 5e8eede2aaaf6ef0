//! Clocks that follow simulated time, each at a rate and from a beginning of its own.

use std::time::Duration;

use warifu_model::{Now, Timestamp, WallTime};

use crate::plan::Host;
use crate::scene::elapsed;

/// The wall clock at the beginning, in milliseconds: some day in 2026.
const EPOCH_MS: i64 = 1_780_000_000_000;

/// The clock of one host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimulatedClock {
    started: Duration,
    /// How much faster than true time, in millionths.
    fast_by: i64,
}

impl SimulatedClock {
    /// A clock that is fast or slow by up to nine tenths of what is assumed of clocks, as the seed has it.
    pub(crate) fn of(host: Host, seed: u64) -> Self {
        let number = match host {
            Host::Client | Host::Watcher => 0,
            Host::Coordinator(index) => 1 + index as u64,
            Host::Worker(index) => 11 + index as u64,
        };
        let mixed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(number as u32 * 7);
        Self {
            started: Duration::from_secs(1_000 + mixed % 100_000),
            fast_by: (mixed >> 20) as i64 % 9_000 * if mixed & 1 == 0 { 1 } else { -1 },
        }
    }

    fn at(&self) -> Timestamp {
        let micros = i64::try_from(elapsed().as_micros()).expect("simulations are short");
        let shown = micros + micros * self.fast_by / 1_000_000;
        Timestamp(self.started.as_micros() as u64 + shown.unsigned_abs())
    }
}

impl warifu_worker::Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.at()
    }
}

impl warifu_coordinator::Clock for SimulatedClock {
    fn now(&self) -> Now {
        let since = i64::try_from(elapsed().as_millis()).expect("simulations are short");
        Now { at: self.at(), wall: WallTime(EPOCH_MS + since) }
    }
}
