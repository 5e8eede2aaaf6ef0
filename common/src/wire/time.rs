//! Times and durations.

use std::time::Duration;

use prost_types::{Duration as WireDuration, Timestamp};
use warifu_model::WallTime;

const MILLIS_PER_SECOND: i64 = 1000;
const NANOS_PER_MILLI: i32 = 1_000_000;

/// A time of day on the wire.
pub fn timestamp(time: WallTime) -> Timestamp {
    Timestamp {
        seconds: time.0.div_euclid(MILLIS_PER_SECOND),
        nanos: i32::try_from(time.0.rem_euclid(MILLIS_PER_SECOND)).expect("below 1000") * NANOS_PER_MILLI,
    }
}

/// ISO 8601 in UTC with three digits of a second, as AWS writes it.
pub fn iso_text(time: WallTime) -> String {
    let millis = time.0.rem_euclid(MILLIS_PER_SECOND);
    let whole = timestamp(WallTime(time.0.saturating_sub(millis))).to_string();
    format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
}

/// A time of day from the wire, cut to milliseconds; times beyond the type's range become its ends.
pub fn wall_time(time: &Timestamp) -> WallTime {
    WallTime(
        time.seconds.saturating_mul(MILLIS_PER_SECOND).saturating_add((time.nanos / NANOS_PER_MILLI).into()),
    )
}

/// A duration on the wire; what is longer than it can hold becomes the longest.
pub fn wire_duration(duration: Duration) -> WireDuration {
    WireDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("below a billion"),
    }
}

/// A duration from the wire; `None` for a negative one, and for one that is no duration.
pub fn duration(duration: &WireDuration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for millis in [0, 1, -1, -1500, 1_763_000_000_123, i64::MAX, i64::MIN / 2] {
            assert_eq!(wall_time(&timestamp(WallTime(millis))), WallTime(millis), "{millis}");
        }
        assert_eq!(timestamp(WallTime(-1)).to_string(), "1969-12-31T23:59:59.999Z");
        let far = Timestamp { seconds: i64::MAX, nanos: i32::MAX };
        assert_eq!(wall_time(&far), WallTime(i64::MAX));
    }

    #[test]
    fn texts_have_three_digits_of_a_second() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_763_000_000_120, "2025-11-13T02:13:20.120Z"),
        ] {
            assert_eq!(iso_text(WallTime(millis)), expected);
        }
    }

    #[test]
    fn durations_go_there_and_back_and_negative_ones_are_none() {
        for span in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1500)] {
            assert_eq!(duration(&wire_duration(span)), Some(span));
        }
        assert!(duration(&WireDuration { seconds: -1, nanos: 0 }).is_none());
        assert!(duration(&WireDuration { seconds: 1, nanos: -1 }).is_none());
        assert!(duration(&WireDuration { seconds: 0, nanos: i32::MAX }).is_none());
    }
}
