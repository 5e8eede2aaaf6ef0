//! What can be wrong with an object's data, apart from its header.

use serde::{Deserialize, Serialize};

/// Data that cannot be read as the run's spec demands; it ends the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DataProblem {
    /// A record is longer than a record may be.
    #[error(
        "the record at byte {start} is longer than {limit} bytes (at least {length_at_least}); \
         look for a quote that is not closed at or after that byte, or raise max_record_bytes"
    )]
    RecordTooLarge {
        /// Offset of the record's first byte.
        start: u64,
        /// What is known of its length, without its terminator; it may be longer.
        length_at_least: u64,
        /// The bound that it exceeds.
        limit: u64,
    },
    /// A quoted field is not closed when the object ends.
    #[error(
        "the quote opened at byte {quote_offset}, in the record at byte {record_start}, is still open at the end \
         of the object; close it, or set lenientQuotes to take it as closed there"
    )]
    QuoteOpenAtEnd {
        /// Offset of the quote that opened the field.
        quote_offset: u64,
        /// Offset of the first byte of its record.
        record_start: u64,
    },
    /// A composed shard holds fewer items than it did: these are not the bytes that were scanned.
    #[error(
        "{missing_items} items that were counted before byte {offset} are not there; the object has changed since it was scanned"
    )]
    ItemsMissing {
        /// Where the shard or the object ends.
        offset: u64,
        /// Items that were not found.
        missing_items: u32,
    },
}
