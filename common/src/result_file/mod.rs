//! How result files are written: entries put together, compressed, named.
//!
//! Worker and coordinator both write them, so that all files of a run have one form. Whoever writes an entry gives one JSON text
//! without line breaks, and a line feed behind it; that is all that a file of JSON lines needs, and an array is made of it at
//! the end. Nothing here knows where files go, or which of them count.

mod entry;

use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use flate2::write::GzEncoder;
use warifu_model::spec::{Compression, OutputType, ResultWriter};

pub use entry::{Execution, ExecutionEnd, MAX_INPUT_BYTES, map_run_arn, pending_entry};

/// How hard gzip tries: most of the gain in a part of the default's time.
const GZIP_LEVEL: u32 = 2;

/// How hard Zstandard tries: its own default.
const ZSTD_LEVEL: i32 = 3;

/// What a result file looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileForm {
    /// How entries make up the file.
    pub output_type: OutputType,
    /// Its compression.
    pub compression: Compression,
}

impl FileForm {
    /// The form that a run's specification wants; without a result writer JSON lines.
    pub fn of(writer: Option<&ResultWriter>) -> Self {
        writer.map_or_else(Self::default, |writer| Self {
            output_type: writer.output_type,
            compression: writer.compression,
        })
    }

    /// What its name ends with, without the first dot.
    pub fn extension(self) -> &'static str {
        match (self.output_type, self.compression) {
            (OutputType::Jsonl, Compression::None) => "jsonl",
            (OutputType::Jsonl, Compression::Gzip) => "jsonl.gz",
            (OutputType::Jsonl, Compression::Zstd) => "jsonl.zst",
            (OutputType::Json, Compression::None) => "json",
            (OutputType::Json, Compression::Gzip) => "json.gz",
            (OutputType::Json, Compression::Zstd) => "json.zst",
        }
    }

    /// The type that it is stored with. A compressed file carries no Content-Encoding: it is what it is named.
    pub fn content_type(self) -> &'static str {
        match (self.output_type, self.compression) {
            (OutputType::Jsonl, Compression::None) => "application/x-ndjson",
            (OutputType::Json, Compression::None) => "application/json",
            (_, Compression::Gzip) => "application/gzip",
            (_, Compression::Zstd) => "application/zstd",
        }
    }

    /// The bytes of a file with these entries, one after another in `parts`: each with a line feed behind it and none within. The
    /// same entries give the same bytes. Compression takes a processor for a while: call it where that blocks nobody.
    pub fn encode(self, parts: &[Bytes]) -> Bytes {
        let array;
        let parts = match self.output_type {
            OutputType::Jsonl => parts,
            OutputType::Json => {
                array = [array_of(parts)];
                &array
            }
        };
        match self.compression {
            Compression::None => joined(parts),
            Compression::Gzip => gzip(parts),
            Compression::Zstd => zstd(parts),
        }
    }
}

fn length(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

fn joined(parts: &[Bytes]) -> Bytes {
    if let [only] = parts {
        return only.clone();
    }
    let mut text = BytesMut::with_capacity(length(parts));
    parts.iter().for_each(|part| text.extend_from_slice(part));
    text.freeze()
}

fn array_of(parts: &[Bytes]) -> Bytes {
    let mut text = BytesMut::with_capacity(length(parts) + 2);
    text.extend_from_slice(b"[");
    for part in parts {
        text.extend(part.iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
    }
    match text.last_mut() {
        Some(last) if *last == b',' => *last = b']',
        _ => text.extend_from_slice(b"]"),
    }
    text.freeze()
}

fn gzip(parts: &[Bytes]) -> Bytes {
    let room = Vec::with_capacity(length(parts) / 4);
    let mut encoder = GzEncoder::new(room, flate2::Compression::new(GZIP_LEVEL));
    for part in parts {
        encoder.write_all(part).expect("writing to memory does not fail");
    }
    encoder.finish().expect("writing to memory does not fail").into()
}

/// The frame has its content's size and a checksum, so that a cut or changed file shows when it is read.
fn zstd(parts: &[Bytes]) -> Bytes {
    let length = length(parts);
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(length / 4), ZSTD_LEVEL)
        .expect("the level is one that Zstandard has");
    encoder.include_checksum(true).expect("a fresh encoder takes it");
    encoder.set_pledged_src_size(Some(length as u64)).expect("a fresh encoder takes it");
    for part in parts {
        encoder.write_all(part).expect("writing to memory does not fail");
    }
    encoder.finish().expect("writing to memory does not fail").into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const FORMS: [(OutputType, Compression); 6] = [
        (OutputType::Jsonl, Compression::None),
        (OutputType::Jsonl, Compression::Gzip),
        (OutputType::Jsonl, Compression::Zstd),
        (OutputType::Json, Compression::None),
        (OutputType::Json, Compression::Gzip),
        (OutputType::Json, Compression::Zstd),
    ];

    fn expanded(form: FileForm, bytes: &[u8]) -> String {
        let mut text = String::new();
        match form.compression {
            Compression::None => text.push_str(std::str::from_utf8(bytes).unwrap()),
            Compression::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
            }
            Compression::Zstd => {
                zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text).unwrap();
            }
        }
        text
    }

    proptest! {
        #[test]
        fn every_form_gives_back_the_entries_that_went_in(texts in prop::collection::vec(any::<String>(), 0..40)) {
            let entries: Vec<Value> = texts.into_iter().map(|text| serde_json::json!({ "text": text })).collect();
            let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
            let parts: Vec<_> = entries.iter().map(|entry| Bytes::from(format!("{entry}\n"))).collect();
            for (output_type, compression) in FORMS {
                let form = FileForm { output_type, compression };
                let encoded = form.encode(&[Bytes::from(lines.clone())]);
                prop_assert_eq!(&encoded, &form.encode(&parts));
                let text = expanded(form, &encoded);
                let read: Vec<Value> = match output_type {
                    OutputType::Jsonl => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
                    OutputType::Json => serde_json::from_str(&text).unwrap(),
                };
                prop_assert_eq!(&read, &entries);
            }
        }
    }

    #[test]
    fn names_and_types_say_what_a_file_is() {
        let named = FORMS.map(|(output_type, compression)| {
            let form = FileForm { output_type, compression };
            (form.extension(), form.content_type())
        });
        assert_eq!(
            named,
            [
                ("jsonl", "application/x-ndjson"),
                ("jsonl.gz", "application/gzip"),
                ("jsonl.zst", "application/zstd"),
                ("json", "application/json"),
                ("json.gz", "application/gzip"),
                ("json.zst", "application/zstd"),
            ]
        );
    }

    #[test]
    fn an_array_has_no_blanks() {
        let form = FileForm { output_type: OutputType::Json, compression: Compression::None };
        assert_eq!(form.encode(&[Bytes::from_static(b"1\n{\"a\":2}\n")]), "[1,{\"a\":2}]");
    }
}
