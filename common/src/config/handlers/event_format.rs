//! `event_format`: the JSON in which a handler gets batches and answers.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::config::section::Section;

/// The JSON in which a handler gets batches and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// Our own: items with their identity; an answer for each item.
    Warifu,
    /// AWS's for Distributed Map: any answer is the batch's output.
    States {
        /// Whether `batchItemFailures` in an answer fail single items.
        partial_failures: bool,
    },
}

/// Writes it as the keys that it is read from.
pub(super) fn serialize_as_keys<S: Serializer>(
    format: &EventFormat,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut keys = serializer.serialize_map(None)?;
    match format {
        EventFormat::Warifu => keys.serialize_entry("event_format", "warifu")?,
        EventFormat::States { partial_failures } => {
            keys.serialize_entry("event_format", "states")?;
            keys.serialize_entry("partial_failures", partial_failures)?;
        }
    }
    keys.end()
}

const WORDS: [(&str, EventFormat); 2] =
    [("warifu", EventFormat::Warifu), ("states", EventFormat::States { partial_failures: false })];

/// As the keys that it is read from, for `#[serde(flatten)]`.
impl Serialize for EventFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = serializer.serialize_map(None)?;
        match self {
            Self::Warifu => keys.serialize_entry("event_format", "warifu")?,
            Self::States { partial_failures } => {
                keys.serialize_entry("event_format", "states")?;
                keys.serialize_entry("partial_failures", partial_failures)?;
            }
        }
        keys.end()
    }
}

/// Reads `event_format` and `partial_failures`.
pub(super) fn read(section: &mut Section<'_>, default: EventFormat) -> EventFormat {
    let format = section.choice("event_format", &WORDS).unwrap_or(default);
    match (format, section.boolean("partial_failures")) {
        (EventFormat::States { .. }, Some(partial_failures)) => EventFormat::States { partial_failures },
        (format, None) => format,
        (EventFormat::Warifu, Some(_)) => {
            section.problem(
                "partial_failures",
                "is only for event_format = \"states\": the other always reads them",
            );
            format
        }
    }
}
