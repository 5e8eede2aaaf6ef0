//! What the run's spec says about a CSV object.

use serde::{Deserialize, Serialize};

/// How fields are delimited, and what an unfinished quote means.
///
/// Everything else is fixed: quotes are `"` and doubled to escape; CR, LF and CR LF each end a record; empty lines are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialect {
    /// The byte between fields: comma, pipe, semicolon, space or tab.
    pub delimiter: u8,
    /// Whether a quote still open at the object's end is taken as closed there, as the `csv` crate does.
    pub lenient_quotes: bool,
}

impl Dialect {
    /// The delimiters that a spec can name.
    pub const DELIMITERS: [u8; 5] = [b',', b'|', b';', b' ', b'\t'];

    /// Whether the machine is defined for its delimiter; [`probe`](crate::probe) refuses others.
    pub fn is_supported(self) -> bool {
        Self::DELIMITERS.contains(&self.delimiter)
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', lenient_quotes: false }
    }
}

/// Where the field names come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderLocation {
    /// The object's first record holds them; it is no item.
    FirstRow,
    /// The spec gives them; the object's first record is an item.
    Given(Vec<String>),
}

/// Bounds on what one object may ask of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest record, without its terminator.
    pub max_record_bytes: u64,
    /// The longest header record, and the most empty lines before it, in bytes.
    pub max_header_bytes: u64,
    /// The most names that a header may hold.
    pub max_columns: usize,
}

impl Default for Limits {
    /// 16 MiB, 256 KiB and 65,536 columns: the product's defaults.
    fn default() -> Self {
        Self { max_record_bytes: 16 << 20, max_header_bytes: 256 << 10, max_columns: 65_536 }
    }
}
