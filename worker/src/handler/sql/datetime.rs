//! Dates and times in ISO 8601's common forms, checked and written in one form that sorts as text.

use warifu_common::model::WallTime;

use super::value::{Mismatch, is_digits};

const SECONDS_PER_DAY: i64 = 86_400;

/// `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Result<String, Mismatch> {
    let (year, month, day) = parse_date(text)?;
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// `HH:MM[:SS[.ffffff]]`.
pub(super) fn time(text: &str) -> Result<String, Mismatch> {
    Ok(TimeOfDay::parse(text)?.to_string())
}

/// A date, or a date and a time, without a zone.
pub(super) fn timestamp(text: &str) -> Result<String, Mismatch> {
    let (date_text, time_text) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    Ok(format!("{} {}", date(date_text)?, TimeOfDay::parse(time_text)?))
}

/// The same with a zone, written in UTC. Without one it is taken as UTC.
pub(super) fn timestamptz(text: &str) -> Result<String, Mismatch> {
    let (date_text, time_text) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let (time_text, offset) = split_zone(time_text)?;
    let (year, month, day) = parse_date(date_text)?;
    let time = TimeOfDay::parse(time_text)?;
    let seconds = days_before(year, month, day) * SECONDS_PER_DAY + time.seconds - offset;
    let (date, of_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(date);
    let time = TimeOfDay { seconds: of_day, fraction: time.fraction };
    Ok(format!("{year:04}-{month:02}-{day:02} {time}+00:00"))
}

/// A time of day of the machine's clock, as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub(super) fn rfc3339(time: WallTime) -> String {
    let (seconds, millis) = (time.0.div_euclid(1000), time.0.rem_euclid(1000));
    let (year, month, day) = date_of(seconds.div_euclid(SECONDS_PER_DAY));
    let time = TimeOfDay { seconds: seconds.rem_euclid(SECONDS_PER_DAY), fraction: "" };
    format!("{year:04}-{month:02}-{day:02}T{time}.{millis:03}Z")
}

fn parse_date(text: &str) -> Result<(i64, i64, i64), Mismatch> {
    let mut parts = text.split('-');
    let mut part = |width: usize| number(parts.next().unwrap_or(""), width);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() {
        return Err(Mismatch::DateTimeSyntax);
    }
    let valid = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if valid { Ok((year, month, day)) } else { Err(Mismatch::DateTimeOutOfRange) }
}

fn number(text: &str, width: usize) -> Result<i64, Mismatch> {
    if text.len() != width || !is_digits(text) {
        return Err(Mismatch::DateTimeSyntax);
    }
    text.parse().map_err(|_| Mismatch::DateTimeSyntax)
}

struct TimeOfDay<'a> {
    seconds: i64,
    /// Digits after the point.
    fraction: &'a str,
}

impl<'a> TimeOfDay<'a> {
    fn parse(text: &'a str) -> Result<Self, Mismatch> {
        let (text, fraction) = text.split_once('.').map_or((text, None), |(text, f)| (text, Some(f)));
        let mut parts = text.split(':');
        let mut part = |absent: &'static str| number(parts.next().unwrap_or(absent), 2);
        let (hour, minute, second) = (part("")?, part("")?, part("00")?);
        let fraction_fits = fraction.is_none_or(|f| (1..=6).contains(&f.len()) && is_digits(f));
        if parts.next().is_some() || !fraction_fits || (fraction.is_some() && text.len() != 8) {
            return Err(Mismatch::DateTimeSyntax);
        }
        if hour > 23 || minute > 59 || second > 59 {
            return Err(Mismatch::DateTimeOutOfRange);
        }
        Ok(Self { seconds: hour * 3600 + minute * 60 + second, fraction: fraction.unwrap_or("") })
    }
}

impl std::fmt::Display for TimeOfDay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hour, minute, second) = (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60);
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{hour:02}:{minute:02}:{second:02}{point}{}", self.fraction)
    }
}

/// Takes `Z` or `±HH[[:]MM]` off; its offset in seconds.
fn split_zone(text: &str) -> Result<(&str, i64), Mismatch> {
    if let Some(text) = text.strip_suffix(['Z', 'z']) {
        return Ok((text.trim_end(), 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Ok((text, 0)) };
    let (time, zone) = text.split_at(at);
    let digits = zone[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(&digits[..2], 2)?, number(&digits[2..], 2)?),
        _ => return Err(Mismatch::DateTimeSyntax),
    };
    let offset = hours * 3600 + minutes * 60;
    Ok((time.trim_end(), if zone.starts_with('-') { -offset } else { offset }))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01. Years are counted from March, so that the leap day comes last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The date that many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_over_four_centuries() {
        let mut days = days_before(1899, 12, 31);
        for year in 1900..2300 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    days += 1;
                    assert_eq!(days_before(year, month, day), days);
                    assert_eq!(date_of(days), (year, month, day));
                }
            }
        }
    }

    #[test]
    fn the_epoch_is_written_in_utc() {
        assert_eq!(rfc3339(WallTime(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(WallTime(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
