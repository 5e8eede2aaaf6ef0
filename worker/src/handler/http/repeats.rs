//! When a request is sent again within one attempt.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use http::header::{self, HeaderMap};
use warifu_common::model::WallTime;

use super::exchange::{Broken, Reply};

/// The pause before the second request, where the service names none; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Requests that may still follow, and until when.
pub(super) struct Repeats {
    made: u32,
    most: u32,
    deadline: WallTime,
}

impl Repeats {
    /// Up to `most` requests after the first, none of them begun at `deadline` or later.
    pub(super) fn new(most: u32, deadline: WallTime) -> Self {
        Self { made: 0, most, deadline }
    }

    /// Requests that followed the first.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    /// How long to wait before another request; `None` if what came of the last one counts. `random` is uniform in [0, 1):
    /// it spreads requests that failed together.
    pub(super) fn pause(
        &mut self,
        exchanged: &Result<Reply, Broken>,
        now: WallTime,
        random: f64,
    ) -> Option<Duration> {
        let asked = match exchanged {
            Ok(reply) if is_overloaded(reply.status) => retry_after(&reply.headers, now),
            Err(Broken::NotConnected(_)) => None,
            // It was worked on, perhaps: whether it is sent again is the job's to say.
            Ok(_) | Err(Broken::Lost(_) | Broken::TimedOut) => return None,
        };
        if self.made == self.most {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.made.min(16)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(0.5 + random / 2.0);
        // Never before the time that was asked for.
        let pause = asked.map_or(pause, |asked| asked.saturating_add(FIRST_PAUSE.mul_f64(random)).max(pause));
        if pause >= until(self.deadline, now) {
            return None;
        }
        self.made += 1;
        Some(pause)
    }
}

fn is_overloaded(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3). `None` if there is none that can be read.
pub(super) fn retry_after(headers: &HeaderMap, now: WallTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = WallTime(i64::try_from(date.as_millis()).ok()?);
    Some(until(date, now))
}

/// From `now` to `then`; nothing if that is past.
fn until(then: WallTime, now: WallTime) -> Duration {
    Duration::from_millis(u64::try_from(then.0.saturating_sub(now.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2023-11-14T22:13:20Z
    const NOW: WallTime = WallTime(1_700_000_000_000);

    fn reply(status: u16, retry_after: Option<&str>) -> Result<Reply, Broken> {
        let value = retry_after.map(|text| (header::RETRY_AFTER, HeaderValue::from_str(text).unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Reply { status, headers: HeaderMap::from_iter(value), body: None })
    }

    /// The first pause in milliseconds, in the middle of its spread, with a minute left.
    fn first_pause(exchanged: &Result<Reply, Broken>) -> Option<u128> {
        let mut repeats = Repeats::new(2, WallTime(NOW.0 + 60_000));
        repeats.pause(exchanged, NOW, 0.5).map(|pause| pause.as_millis())
    }

    #[test]
    fn only_what_was_not_worked_on_is_sent_again_and_not_before_it_is_wanted() {
        let table = [
            (reply(503, None), Some(150)),
            (reply(429, None), Some(150)),
            (reply(503, Some("0")), Some(150)),
            (reply(503, Some(" 3 ")), Some(3_100)),
            (reply(429, Some("Tue, 14 Nov 2023 22:13:25 GMT")), Some(5_100)),
            (reply(429, Some("Tue, 14 Nov 2023 22:13:10 GMT")), Some(150)),
            (reply(503, Some("soon")), Some(150)),
            (reply(503, Some("-1")), Some(150)),
            // Nobody waits any more by then.
            (reply(503, Some("60")), None),
            (reply(503, Some("18446744073709551615")), None),
            (reply(200, Some("1")), None),
            (reply(500, Some("1")), None),
            (reply(404, None), None),
            (Err(Broken::NotConnected(String::new())), Some(150)),
            (Err(Broken::Lost(String::new())), None),
            (Err(Broken::TimedOut), None),
        ];
        for (exchanged, expected) in table {
            assert_eq!(first_pause(&exchanged), expected, "{exchanged:?}");
        }
    }

    #[test]
    fn pauses_grow_and_requests_come_to_an_end() {
        let mut repeats = Repeats::new(10, WallTime(NOW.0 + 60_000));
        let pauses = std::iter::from_fn(|| repeats.pause(&reply(503, None), NOW, 1.0));
        let pauses: Vec<u128> = pauses.take(20).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000]);
        assert_eq!(repeats.made(), 10);
        assert_eq!(Repeats::new(0, WallTime(NOW.0 + 60_000)).pause(&reply(503, None), NOW, 0.0), None);
        assert_eq!(Repeats::new(1, NOW).pause(&reply(503, None), NOW, 0.0), None);
    }
}
