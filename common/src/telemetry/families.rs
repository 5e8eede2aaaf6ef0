//! Metrics as plain data: a family has a name, a kind, what it means, and samples by labels. One description makes both what
//! Prometheus scrapes and what goes to a collector, so that the two never differ.
//!
//! A process makes its families anew whenever somebody asks; nothing is registered, and nothing is kept here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How values of a family behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what was measured, by bounds.
    Histogram,
}

/// One metric with all its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// By Prometheus' conventions, its unit in it: `warifu_<noun>_<unit>_total`.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// Values, each with other labels.
    pub samples: Vec<Sample>,
}

/// One value of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// What it is.
    pub value: Value,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A counter's or a gauge's.
    Number(f64),
    /// A histogram's.
    Histogram(HistogramValue),
}

/// What a histogram counted.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramValue {
    /// Upper bounds, ascending, inclusive; above the last there is one more bucket.
    pub bounds: &'static [f64],
    /// How many were measured in each bucket; one more than bounds.
    pub counts: Vec<u64>,
    /// The sum of what was measured.
    pub sum: f64,
}

impl Family {
    /// A family without samples.
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    /// The same with one more sample.
    #[must_use]
    pub fn with(mut self, labels: &[(&'static str, &str)], value: f64) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a sample.
    pub fn push(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.push_value(labels, Value::Number(value));
    }

    /// Adds a sample of any kind.
    pub fn push_value(&mut self, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }
}

/// Durations that are measured from many threads.
#[derive(Debug)]
pub struct DurationHistogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl DurationHistogram {
    /// An empty one with these upper bounds, in seconds, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micros: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, taken: Duration) {
        let seconds = taken.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted up to now.
    pub fn value(&self) -> HistogramValue {
        HistogramValue {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// The type of [`to_text`]'s answer.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families as Prometheus' text format, version 0.0.4.
pub fn to_text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing into a string cannot fail, here and below.
        let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {kind}", family.name, family.help);
        for sample in &family.samples {
            write_sample(&mut text, family.name, sample);
        }
    }
    text
}

fn write_sample(text: &mut String, name: &str, sample: &Sample) {
    match &sample.value {
        Value::Number(number) => write_line(text, name, "", &sample.labels, None, *number),
        Value::Histogram(histogram) => {
            let mut total = 0;
            for (place, count) in histogram.counts.iter().enumerate() {
                total += count;
                let bound = histogram.bounds.get(place).map_or_else(|| "+Inf".to_owned(), f64::to_string);
                write_line(text, name, "_bucket", &sample.labels, Some(&bound), total as f64);
            }
            write_line(text, name, "_sum", &sample.labels, None, histogram.sum);
            write_line(text, name, "_count", &sample.labels, None, total as f64);
        }
    }
}

fn write_line(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&'static str, String)],
    bound: Option<&str>,
    value: f64,
) {
    let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
    let pairs: Vec<String> = labels
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    let braced = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
    let _ = writeln!(text, "{name}{suffix}{braced} {value}");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let histogram = DurationHistogram::new(&[0.5, 1.0]);
        for millis in [500, 600, 5_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut durations = Family::new("warifu_x_seconds", Kind::Histogram, "Time.");
        durations.push_value(&[("handler", "a\"b")], Value::Histogram(histogram.value()));
        let items = Family::new("warifu_items_total", Kind::Counter, "Items.").with(&[], 7.0);
        let expected = "# HELP warifu_items_total Items.\n\
                        # TYPE warifu_items_total counter\n\
                        warifu_items_total 7\n\
                        # HELP warifu_x_seconds Time.\n\
                        # TYPE warifu_x_seconds histogram\n\
                        warifu_x_seconds_bucket{handler=\"a\\\"b\",le=\"0.5\"} 1\n\
                        warifu_x_seconds_bucket{handler=\"a\\\"b\",le=\"1\"} 2\n\
                        warifu_x_seconds_bucket{handler=\"a\\\"b\",le=\"+Inf\"} 3\n\
                        warifu_x_seconds_sum{handler=\"a\\\"b\"} 6.1\n\
                        warifu_x_seconds_count{handler=\"a\\\"b\"} 3\n";
        assert_eq!(to_text(&[items, durations]), expected);
    }
}
