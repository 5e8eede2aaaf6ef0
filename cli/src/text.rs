//! Numbers, times and states as people read them.

use std::time::Duration;

use prost_types::Timestamp;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 item`, `2 items`, `2 batches`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = match number {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {noun}{plural}", grouped(number))
}

/// A rate, with a fraction only where it says something.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}/s") } else { format!("{}/s", grouped(per_second as u64)) }
}

/// A percentage with one decimal; what is there is never shown as nothing.
pub(crate) fn percentage(percentage: f64) -> String {
    if percentage > 0.0 && percentage < 0.1 {
        "less than 0.1 %".to_owned()
    } else {
        format!("{percentage:.1} %")
    }
}

/// A time span in at most two units: `340 ms`, `4.2 s`, `3 m 20 s`, `2 h 5 m`.
pub(crate) fn time_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Bytes in the unit that leaves one to four digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while scaled >= 1_024.0 && unit + 1 < UNITS.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A moment in UTC to the second, or `-`.
pub(crate) fn moment(time: Option<&Timestamp>) -> String {
    match time {
        Some(time) => Timestamp { seconds: time.seconds, nanos: 0 }.to_string(),
        None => "-".to_owned(),
    }
}

/// The time from one moment to another; `None` if either is missing or they are out of order.
pub(crate) fn between(start: Option<&Timestamp>, end: Option<&Timestamp>) -> Option<Duration> {
    let nanos = |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let elapsed = nanos(end?) - nanos(start?);
    u64::try_from(elapsed).ok().map(Duration::from_nanos)
}

/// The ID in a resource name: what follows the last `/`.
pub(crate) fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The first line of a text, shortened to `limit` characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// A word that a POSIX shell takes literally.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "item"), "1 item");
        assert_eq!(counted(2_000, "item"), "2,000 items");
    }

    #[test]
    fn time_spans_show_at_most_two_units() {
        let spans = [(0, "0 ms"), (340, "340 ms"), (4_240, "4.2 s"), (59_999, "59 s"), (200_000, "3 m 20 s")];
        for (millis, text) in spans {
            assert_eq!(time_span(Duration::from_millis(millis)), text);
        }
        assert_eq!(time_span(Duration::from_secs(7_500)), "2 h 5 m");
    }

    #[test]
    fn sizes_and_rates_are_short() {
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(8 * 1_024 * 1_024), "8.0 MiB");
        assert_eq!(rate(3.24), "3.2/s");
        assert_eq!(rate(12_345.6), "12,345/s");
    }

    #[test]
    fn moments_are_utc_to_the_second() {
        let time = Timestamp { seconds: 1_764_000_000, nanos: 5 };
        assert_eq!(moment(Some(&time)), "2025-11-24T16:00:00Z");
        assert_eq!(moment(None), "-");
        let later = Timestamp { seconds: 1_764_000_001, nanos: 0 };
        assert_eq!(between(Some(&time), Some(&later)), Some(Duration::from_nanos(999_999_995)));
        assert_eq!(between(Some(&later), Some(&time)), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(one_line("ログイン回数\nx", 4), "ログイン…");
        assert_eq!(one_line("ok", 4), "ok");
    }

    #[test]
    fn words_for_the_shell_are_quoted_where_needed() {
        assert_eq!(shell_word("s3://input/a.csv"), "s3://input/a.csv");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
