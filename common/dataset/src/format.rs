//! How the records of an object are told apart.

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;

/// How an object's records are written. Formats differ in where records begin and end, and in what a record is as an item;
/// shards, batches and composition are the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordFormat {
    /// RFC 4180: a quoted field may hold line breaks. An item is an object of strings.
    Csv(Dialect),
    /// A JSON value per line. Only an LF ends a line; lines of white space are no records, and white space before a value
    /// belongs to no record. An item is the value.
    JsonLines,
}

impl RecordFormat {
    /// Whether a quote that is open at the object's end is no problem.
    pub(crate) fn ends_in_quotes(self) -> bool {
        match self {
            Self::Csv(dialect) => dialect.lenient_quotes,
            Self::JsonLines => true,
        }
    }
}

impl Default for RecordFormat {
    fn default() -> Self {
        Self::Csv(Dialect::default())
    }
}

impl From<Dialect> for RecordFormat {
    fn from(dialect: Dialect) -> Self {
        Self::Csv(dialect)
    }
}
