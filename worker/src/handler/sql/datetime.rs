//! Dates and times: ISO 8601's common forms, or a format of the user's own, written in one form that sorts as text.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};
use warifu_common::config::handlers::{ColumnConfig, SqlType};
use warifu_common::model::WallTime;

use super::value::{Mismatch, is_digits};

/// As all databases read them; the fraction of a second only where there is one.
const DATE: &str = "%Y-%m-%d";
const TIME: &str = "%H:%M:%S%.f";
const DATE_TIME: &str = "%Y-%m-%d %H:%M:%S%.f";
/// What is written with a format to see whether that can be read: each unit has a value of its own.
const SAMPLE: Timestamp = Timestamp::constant(1_234_567_890, 123_456_000);
/// What databases keep of a fraction of a second.
const MICROSECOND: i32 = 1_000;

/// How the texts of a column are read as dates and times.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimeRule {
    /// As `strptime` reads it; absent: ISO 8601.
    format: Option<String>,
    /// The zone of times that name none.
    zone: TimeZone,
}

impl Default for TimeRule {
    fn default() -> Self {
        Self { format: None, zone: TimeZone::UTC }
    }
}

impl TimeRule {
    /// The rule of a column, or what is wrong with it.
    pub(super) fn configured(config: &ColumnConfig) -> Result<Self, String> {
        let zone = match &config.time_zone {
            Some(name) => TimeZone::get(name).map_err(|error| error.to_string())?,
            None => TimeZone::UTC,
        };
        let rule = Self { format: config.format.clone(), zone };
        rule.check(config.r#type)?;
        Ok(rule)
    }

    /// A format must be readable, and name all that its type needs.
    fn check(&self, column_type: SqlType) -> Result<(), String> {
        let Some(format) = &self.format else { return Ok(()) };
        let sample = SAMPLE.to_zoned_datetime(TimeZone::UTC);
        let unreadable = |error: jiff::Error| format!("format {format:?}: {error}");
        let written = strtime::format(format, &sample).map_err(unreadable)?;
        strtime::parse(format, &written).map_err(unreadable)?;
        let read = match column_type {
            SqlType::Date => self.date(&written),
            SqlType::Time => self.time(&written),
            SqlType::Timestamptz => self.timestamptz(&written),
            _ => self.timestamp(&written),
        };
        let type_name = column_type.as_str();
        read.map(drop).map_err(|_| format!("format {format:?} does not name all parts of a {type_name}"))
    }

    /// `YYYY-MM-DD`.
    pub(super) fn date(&self, text: &str) -> Result<String, Mismatch> {
        let date = match self.parsed(text)? {
            Some(parsed) => parsed.to_date().map_err(|_| Mismatch::DateTimeOutOfRange)?,
            None => iso_date(text)?,
        };
        Ok(positive(date)?.strftime(DATE).to_string())
    }

    /// `HH:MM:SS[.ffffff]`.
    pub(super) fn time(&self, text: &str) -> Result<String, Mismatch> {
        let time = match self.parsed(text)? {
            Some(parsed) => parsed.to_time().map_err(|_| Mismatch::DateTimeOutOfRange)?,
            None => iso_time(text)?,
        };
        Ok(to_microseconds(Date::ZERO.to_datetime(time))?.strftime(TIME).to_string())
    }

    /// A date, or a date and a time, without a zone.
    pub(super) fn timestamp(&self, text: &str) -> Result<String, Mismatch> {
        let moment = match self.parsed(text)? {
            Some(parsed) => parsed.to_datetime().map_err(|_| Mismatch::DateTimeOutOfRange)?,
            None => {
                let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
                iso_date(date)?.to_datetime(iso_time(time)?)
            }
        };
        positive(moment.date())?;
        Ok(to_microseconds(moment)?.strftime(DATE_TIME).to_string())
    }

    /// The same, with a zone or in the column's, written in UTC.
    pub(super) fn timestamptz(&self, text: &str) -> Result<String, Mismatch> {
        let moment = match self.parsed(text)? {
            Some(parsed) => self.moment_of(&parsed).map_err(|_| Mismatch::DateTimeOutOfRange)?,
            None => {
                let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
                let (time, offset) = split_offset(time)?;
                let local = iso_date(date)?.to_datetime(iso_time(time)?);
                let moment = match offset {
                    Some(offset) => offset.to_timestamp(local),
                    None => self.in_zone(local),
                };
                moment.map_err(|_| Mismatch::DateTimeOutOfRange)?
            }
        };
        let in_utc = Offset::UTC.to_datetime(moment);
        positive(in_utc.date())?;
        Ok(format!("{}+00:00", to_microseconds(in_utc)?.strftime(DATE_TIME)))
    }

    /// What the column's format reads, if it has one.
    fn parsed(&self, text: &str) -> Result<Option<BrokenDownTime>, Mismatch> {
        let parsed = self.format.as_ref().map(|format| strtime::parse(format, text));
        parsed.transpose().map_err(|_| Mismatch::DateTimeSyntax)
    }

    fn moment_of(&self, parsed: &BrokenDownTime) -> Result<Timestamp, jiff::Error> {
        let names_a_zone = parsed.offset().is_some() || parsed.iana_time_zone().is_some();
        if names_a_zone || parsed.timestamp().is_some() {
            return parsed.to_zoned_datetime().map(|zoned| zoned.timestamp());
        }
        self.in_zone(parsed.to_datetime()?)
    }

    fn in_zone(&self, local: DateTime) -> Result<Timestamp, jiff::Error> {
        self.zone.to_ambiguous_timestamp(local).compatible()
    }
}

/// A time of the machine's clock, as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub(super) fn rfc3339(time: WallTime) -> String {
    let moment = Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::MAX);
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Databases know no year 0, and none before it.
fn positive(date: Date) -> Result<Date, Mismatch> {
    if date.year() >= 1 { Ok(date) } else { Err(Mismatch::DateTimeOutOfRange) }
}

fn to_microseconds(moment: DateTime) -> Result<DateTime, Mismatch> {
    let nanoseconds = moment.subsec_nanosecond();
    let cut = moment.with().subsec_nanosecond(nanoseconds - nanoseconds % MICROSECOND).build();
    cut.map_err(|_| Mismatch::DateTimeOutOfRange)
}

/// `YYYY-MM-DD`.
fn iso_date(text: &str) -> Result<Date, Mismatch> {
    let mut parts = text.split('-');
    let mut part = |width: usize| number(parts.next().unwrap_or(""), width);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() {
        return Err(Mismatch::DateTimeSyntax);
    }
    let small = |value: i16| i8::try_from(value).map_err(|_| Mismatch::DateTimeOutOfRange);
    positive(Date::new(year, small(month)?, small(day)?).map_err(|_| Mismatch::DateTimeOutOfRange)?)
}

/// `HH:MM[:SS[.ffffff]]`.
fn iso_time(text: &str) -> Result<Time, Mismatch> {
    let (text, fraction) = text.split_once('.').map_or((text, None), |(text, f)| (text, Some(f)));
    let mut parts = text.split(':');
    let mut part = |absent: &'static str| number(parts.next().unwrap_or(absent), 2);
    let (hour, minute, second) = (part("")?, part("")?, part("00")?);
    let fraction_fits = fraction.is_none_or(|f| (1..=6).contains(&f.len()) && is_digits(f));
    if parts.next().is_some() || !fraction_fits || (fraction.is_some() && text.len() != 8) {
        return Err(Mismatch::DateTimeSyntax);
    }
    if second > 59 {
        return Err(Mismatch::DateTimeOutOfRange);
    }
    let nanoseconds = format!("{:0<9}", fraction.unwrap_or("")).parse();
    let small = |value: i16| i8::try_from(value).map_err(|_| Mismatch::DateTimeOutOfRange);
    let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanoseconds.unwrap_or(0));
    time.map_err(|_| Mismatch::DateTimeOutOfRange)
}

/// Takes `Z` or `±HH[[:]MM]` off.
fn split_offset(text: &str) -> Result<(&str, Option<Offset>), Mismatch> {
    if let Some(text) = text.strip_suffix(['Z', 'z']) {
        return Ok((text.trim_end(), Some(Offset::UTC)));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Ok((text, None)) };
    let (time, zone) = text.split_at(at);
    let digits = zone[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(&digits[..2], 2)?, number(&digits[2..], 2)?),
        _ => return Err(Mismatch::DateTimeSyntax),
    };
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    let offset = Offset::from_seconds(if zone.starts_with('-') { -seconds } else { seconds });
    Ok((time.trim_end(), Some(offset.map_err(|_| Mismatch::DateTimeOutOfRange)?)))
}

fn number(text: &str, width: usize) -> Result<i16, Mismatch> {
    if text.len() != width || !is_digits(text) {
        return Err(Mismatch::DateTimeSyntax);
    }
    text.parse().map_err(|_| Mismatch::DateTimeSyntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(format: &str, zone: &str) -> TimeRule {
        TimeRule { format: Some(format.to_owned()), zone: TimeZone::get(zone).unwrap() }
    }

    #[test]
    fn texts_in_a_format_of_ones_own_are_read() {
        let german = rule("%d.%m.%Y", "UTC");
        assert_eq!(german.date("29.02.2024").unwrap(), "2024-02-29");
        assert_eq!(german.date("29.02.2023"), Err(Mismatch::DateTimeOutOfRange));
        assert_eq!(german.date("2024-02-29"), Err(Mismatch::DateTimeSyntax));
        assert_eq!(german.timestamp("29.02.2024").unwrap(), "2024-02-29 00:00:00");
        assert_eq!(rule("%I:%M %p", "UTC").time("07:05 pm").unwrap(), "19:05:00");
        let log = rule("%d/%b/%Y:%H:%M:%S %z", "Asia/Tokyo");
        assert_eq!(log.timestamptz("10/Oct/2000:13:55:36 -0700").unwrap(), "2000-10-10 20:55:36+00:00");
        assert_eq!(rule("%s", "Asia/Tokyo").timestamptz("1700000000").unwrap(), "2023-11-14 22:13:20+00:00");
        let fine = rule("%H:%M:%S%.f", "UTC");
        assert_eq!(fine.time("23:59:59.9999999").unwrap(), "23:59:59.999999");
    }

    #[test]
    fn times_that_name_no_zone_are_of_the_columns() {
        let tokyo = TimeRule { format: None, zone: TimeZone::get("Asia/Tokyo").unwrap() };
        assert_eq!(tokyo.timestamptz("2024-01-01 08:30").unwrap(), "2023-12-31 23:30:00+00:00");
        assert_eq!(tokyo.timestamptz("2024-01-01 08:30Z").unwrap(), "2024-01-01 08:30:00+00:00");
        let new_york = rule("%m/%d/%Y %H:%M", "America/New_York");
        for (local, in_utc) in [
            ("07/01/2024 12:00", "2024-07-01 16:00:00+00:00"),
            // Shown twice: the first one.
            ("11/03/2024 01:30", "2024-11-03 05:30:00+00:00"),
            // Skipped: as late as it would be without the gap.
            ("03/10/2024 02:30", "2024-03-10 07:30:00+00:00"),
        ] {
            assert_eq!(new_york.timestamptz(local).unwrap(), in_utc);
        }
    }

    #[test]
    fn a_format_that_cannot_be_read_is_found_before_the_first_item() {
        for (format, column_type, problem) in [
            ("%Y-%m", SqlType::Date, "does not name all parts of a date"),
            ("%H:%M", SqlType::Timestamp, "does not name all parts of a timestamp"),
            ("%Y-%m-%d %Z", SqlType::Timestamptz, "%Z"),
            ("%K", SqlType::Date, "format \"%K\": "),
        ] {
            let found = rule(format, "UTC").check(column_type).unwrap_err();
            assert!(found.contains(problem), "{format}: {found}");
        }
        for (format, column_type) in
            [("%d.%m.%y", SqlType::Date), ("%s", SqlType::Timestamptz), ("%I:%M %p", SqlType::Time)]
        {
            assert_eq!(rule(format, "UTC").check(column_type), Ok(()), "{format}");
        }
    }

    #[test]
    fn the_epoch_is_written_in_utc() {
        assert_eq!(rfc3339(WallTime(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(WallTime(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
