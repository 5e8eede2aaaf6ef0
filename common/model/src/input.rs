//! Where items come from and in which form, as far as it decides how they are read.

use serde::{Deserialize, Serialize};
use warifu_dataset::{Dialect, RecordFormat};

use crate::spec::{ItemReader, MapRunSpec};

/// Which objects hold the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SourceObjects {
    /// The one of the key.
    #[default]
    One,
    /// Those whose keys begin with it. They themselves are the items, not what they hold.
    Listed,
    /// What those hold, in the order of their keys.
    Flattened,
    /// What the data files of the S3 Inventory manifest of the key hold.
    Inventory,
    /// What the objects hold that the one of the key names, an `s3://` address a line.
    Named,
}

/// What the object, or each of the objects, holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InputForm {
    /// RFC 4180.
    #[default]
    Csv,
    /// A JSON value per line.
    JsonLines,
    /// One JSON text with an array in it.
    Json {
        /// Where in the text the array is (RFC 6901); empty: it is the text.
        items_pointer: String,
    },
}

/// How a CSV is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CsvEncoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// Shift_JIS as Windows writes it (code page 932).
    ShiftJis,
}

/// How a whole object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectCompression {
    /// gzip, in one member or several.
    Gzip,
    /// Zstandard, in one frame or several.
    Zstd,
}

impl ObjectCompression {
    /// The compression that the end of a key names, as AWS has it.
    pub fn of_key(key: &str) -> Option<Self> {
        let suffix = key.rsplit_once('.')?.1.to_ascii_lowercase();
        match suffix.as_str() {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl SourceObjects {
    /// Whether it is one object.
    pub fn is_one(&self) -> bool {
        *self == Self::One
    }

    /// Whether the items are what several objects hold.
    pub fn are_read(&self) -> bool {
        matches!(self, Self::Flattened | Self::Inventory | Self::Named)
    }
}

impl InputForm {
    /// Whether it is CSV.
    pub fn is_csv(&self) -> bool {
        *self == Self::Csv
    }
}

impl CsvEncoding {
    /// Whether it is UTF-8.
    pub fn is_utf8(&self) -> bool {
        *self == Self::Utf8
    }
}

impl MapRunSpec {
    /// Where its items come from, as AWS names it to templates: `s3://bucket/key`, of listed objects `s3://bucket`, of items
    /// that the job gives `STATE_DATA`; of a local file its URL, of items that a handler gives `handler:NAME`.
    pub fn item_source(&self) -> String {
        if self.items.is_some() {
            return "STATE_DATA".to_owned();
        }
        let ItemReader { bucket, key, objects, handler, .. } = &self.item_reader;
        if let Some(handler) = handler {
            return format!("handler:{handler}");
        }
        match objects {
            SourceObjects::Listed => address(bucket),
            _ => object_address(bucket, key),
        }
    }
}

/// Where an object is, as templates name it: `s3://bucket/key`; of a local file its URL.
pub fn object_address(bucket: &str, key: &str) -> String {
    format!("{}/{key}", address(bucket))
}

fn address(bucket: &str) -> String {
    let scheme = if bucket.contains("://") { "" } else { "s3://" };
    format!("{scheme}{bucket}")
}

impl ItemReader {
    /// Whether a worker must first rewrite the source as one object that can be cut.
    pub fn needs_staging(&self) -> bool {
        let can_be_cut = match self.form {
            InputForm::Csv => self.encoding.is_utf8(),
            InputForm::JsonLines => true,
            InputForm::Json { .. } => false,
        };
        self.handler.is_some()
            || !(self.objects.is_one() && can_be_cut && ObjectCompression::of_key(&self.key).is_none())
    }

    /// How the records are written of the object that is cut into shards: of the source itself, or of the staged one.
    pub fn record_format(&self) -> RecordFormat {
        match (self.objects, &self.form) {
            (SourceObjects::One, InputForm::Csv) => RecordFormat::Csv(self.dialect()),
            _ => RecordFormat::JsonLines,
        }
    }

    /// How the fields of CSV are delimited.
    pub fn dialect(&self) -> Dialect {
        Dialect { delimiter: self.delimiter.byte(), lenient_quotes: self.lenient_quotes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_end_names_the_compression() {
        for (key, compression) in [
            ("a.csv", None),
            ("a.csv.gz", Some(ObjectCompression::Gzip)),
            ("a.GZ", Some(ObjectCompression::Gzip)),
            ("dir.gz/a", None),
            ("a.csv.zst", Some(ObjectCompression::Zstd)),
            ("a.jsonl.zstd", Some(ObjectCompression::Zstd)),
            ("gz", None),
        ] {
            assert_eq!(ObjectCompression::of_key(key), compression, "{key}");
        }
    }
}
