//! What goes to stdout: text for people, JSON and YAML for programs.

use std::io::{self, Write as _};

use prost::{Message, Name};
use serde_json::Value;
use warifu_common::wire::codec;

use crate::args::Format;

/// Stdout in the form that was asked for.
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Output in `format`.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// The form that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes one message of the API, as `text` for people.
    pub(crate) fn message<M: Message + Name>(
        &self,
        message: &M,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Table | Format::Csv => self.text(&text()),
            Format::Json => self.text(&pretty(&codec::to_json(message))),
            Format::Yaml => self.text(&codec::to_yaml(message)),
        }
    }

    /// Writes messages as an object with one list, as `text` for people.
    pub(crate) fn list<M: Message + Name>(
        &self,
        name: &str,
        messages: &[M],
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        let list = || {
            let messages = messages.iter().map(codec::to_json).collect();
            Value::Object([(name.to_owned(), Value::Array(messages))].into_iter().collect())
        };
        self.value(list, text)
    }

    /// Writes a value that is no message of the API, as `text` for people.
    pub(crate) fn value(
        &self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Table | Format::Csv => self.text(&text()),
            Format::Json => self.text(&pretty(&value())),
            Format::Yaml => self.text(&codec::json_to_yaml(&value())),
        }
    }

    /// Writes a text as it is.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

/// JSON over several lines, ended by a line break.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{Counts, MapRun, map_run};

    use super::*;

    #[test]
    fn counts_are_numbers_and_states_short_names() {
        let run = MapRun {
            name: "mapRuns/a".into(),
            state: map_run::State::Running.into(),
            item_counts: Some(Counts { total: 3, succeeded: 2, ..Counts::default() }),
            ..MapRun::default()
        };
        let json: Value = serde_json::from_str(&pretty(&codec::to_json(&run))).expect("it is JSON");
        assert_eq!(json["state"], "RUNNING");
        assert_eq!(json["itemCounts"]["total"], 3);
        assert_eq!(json["itemCounts"]["failed"], 0);
    }
}
