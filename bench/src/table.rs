//! The table of what was measured: a value, the limit of the same run, and their ratio beside the one that is wanted.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Settings;
use crate::summary::Summary;

/// One measurement.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// The unit of `value` and `limit`.
    pub(crate) unit: &'static str,
    pub(crate) value: Summary,
    /// What it is held against.
    pub(crate) limit: Option<(String, Summary)>,
    /// What the ratio must be, and should be.
    pub(crate) wanted: Option<Wanted>,
}

/// Bounds of a ratio.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// The value by the limit must not be more, and should not.
    AtMost(f64, f64),
    /// It must not be less, and should not.
    AtLeast(f64, f64),
}

/// All of them.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|(_, limit)| self.value.median / limit.median)
    }

    fn verdict(&self) -> &'static str {
        match (self.ratio(), self.wanted) {
            (Some(ratio), Some(Wanted::AtMost(must, target))) => graded(ratio <= must, ratio <= target),
            (Some(ratio), Some(Wanted::AtLeast(must, target))) => graded(ratio >= must, ratio >= target),
            _ => "",
        }
    }

    fn wanted(&self) -> String {
        match self.wanted {
            Some(Wanted::AtMost(must, target)) => format!("≤ {must}, {target}"),
            Some(Wanted::AtLeast(must, target)) => format!("≥ {must}, {target}"),
            None => String::new(),
        }
    }

    fn markdown(&self) -> String {
        let limit = self.limit.as_ref();
        let limit = limit.map(|(name, limit)| format!("{} ({name})", shown(*limit))).unwrap_or_default();
        let digits = |ratio: f64| if ratio < 0.1 { 4 } else { 2 };
        let ratio = self.ratio().map(|ratio| format!("{ratio:.*}", digits(ratio))).unwrap_or_default();
        let (what, unit, value) = (&self.what, self.unit, shown(self.value));
        format!("| {what} | {value} {unit} | {limit} | {ratio} | {} | {} |", self.wanted(), self.verdict())
    }

    fn json(&self) -> Value {
        let of = |summary: &Summary| json!([summary.median, summary.least, summary.most]);
        json!({
            "what": self.what, "unit": self.unit, "value": of(&self.value),
            "limit": self.limit.as_ref().map(|(name, limit)| json!({"name": name, "value": of(limit)})),
            "ratio": self.ratio(), "wanted": self.wanted(), "verdict": self.verdict(),
        })
    }
}

fn graded(must: bool, target: bool) -> &'static str {
    match (must, target) {
        (_, true) => "target",
        (true, false) => "must",
        (false, false) => "missed",
    }
}

fn shown(summary: Summary) -> String {
    let Summary { median, least, most } = summary;
    format!("{median:.2} [{least:.2}–{most:.2}]")
}

impl Table {
    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", row.markdown());
        self.rows.push(row);
    }

    /// Writes `results.md` and `results.json`.
    pub(crate) fn write(&self, settings: &Settings) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut text = "| what | median [least–most] | limit in the same run | ratio | must, target | |\n\
                        | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for row in &self.rows {
            writeln!(text, "{}", row.markdown())?;
        }
        std::fs::write(settings.directory.join("results.md"), &text)?;
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let json = json!({"rows": settings.rows, "repeat": settings.repeat, "results": rows});
        std::fs::write(settings.directory.join("results.json"), serde_json::to_vec_pretty(&json)?)?;
        println!("\n{text}");
        Ok(())
    }
}
