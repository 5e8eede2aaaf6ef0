//! All entries of result files in the order of the items: entries stand in no order within and between files.
//!
//! Entries stay on disk; what is kept in memory is where each begins, 40 bytes per entry.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::entries::Entries;

/// Where an entry is.
struct Place {
    order: Order,
    file: usize,
    offset: u64,
    length: usize,
}

/// Where an entry belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// By the item's index, of a range its first; by the number of an execution.
    At(u64),
    /// Behind all others: what says nothing of its place.
    Last,
}

/// The part of an entry that orders it.
#[derive(Deserialize)]
struct Ordered {
    index: Option<u64>,
    #[serde(rename = "firstIndex")]
    first_index: Option<u64>,
    #[serde(rename = "Name")]
    name: Option<String>,
}

impl Ordered {
    fn order(&self) -> Order {
        let number = self.name.as_ref().and_then(|name| name.parse().ok());
        self.index.or(self.first_index).or(number).map_or(Order::Last, Order::At)
    }
}

/// Writes the entries of `files` to `target`, a line each, ordered.
pub(super) fn write(files: &[PathBuf], target: &Path) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    let mut places = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let unreadable = || format!("cannot read {}", path.display());
        let source = open(path).with_context(unreadable)?;
        find_entries(&source, is_array(path), number, &mut places).with_context(unreadable)?;
        sources.push(source);
    }
    // Stable: what has no order of its own stays as it came.
    places.sort_by_key(|place| place.order);
    copy(&mut sources, &places, target).with_context(|| format!("cannot write {}", target.display()))
}

/// A file in which entries can be found again: what is compressed is expanded to a temporary one.
fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let mut expanded = match extension {
        Some("gz" | "zst") => tempfile::tempfile()?,
        Some(_) | None => return Ok(file),
    };
    let packed = BufReader::new(file);
    if extension == Some("gz") {
        std::io::copy(&mut MultiGzDecoder::new(packed), &mut expanded)?;
    } else {
        std::io::copy(&mut zstd::Decoder::with_buffer(packed)?, &mut expanded)?;
    }
    expanded.rewind()?;
    Ok(expanded)
}

/// Whether the file is one array, by its name.
fn is_array(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(name);
    name.ends_with(".json")
}

fn find_entries(source: &File, is_array: bool, file: usize, places: &mut Vec<Place>) -> anyhow::Result<()> {
    let mut entries = Entries::new(BufReader::new(source), is_array);
    while let Some(offset) = entries.next()? {
        let entry = entries.entry();
        let ordered: Ordered =
            serde_json::from_slice(entry).with_context(|| format!("the entry at byte {offset}"))?;
        places.push(Place { order: ordered.order(), file, offset, length: entry.len() });
    }
    Ok(())
}

fn copy(sources: &mut [File], places: &[Place], target: &Path) -> anyhow::Result<()> {
    let mut target = BufWriter::new(File::create(target)?);
    let mut entry = Vec::new();
    for place in places {
        entry.resize(place.length, 0);
        sources[place.file].seek(SeekFrom::Start(place.offset))?;
        sources[place.file].read_exact(&mut entry)?;
        target.write_all(&entry)?;
        target.write_all(b"\n")?;
    }
    target.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn sorted(files: &[(&str, &[u8])]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| directory.path().join(name)).collect();
        for (path, (_, content)) in paths.iter().zip(files) {
            std::fs::write(path, content).unwrap();
        }
        let target = directory.path().join("sorted.jsonl");
        write(&paths, &target).unwrap();
        std::fs::read_to_string(&target).unwrap()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_of_all_files_come_in_the_order_of_their_items() {
        let plain = b"{\"index\": 10, \"output\": \"x\"}\n{\"index\": 2}";
        let compressed = gzip(b"{\"index\":3}\n\n{\"firstIndex\":4,\"lastIndex\":9}\n");
        assert_eq!(
            sorted(&[("SUCCEEDED_1.jsonl", plain), ("FAILED_1.jsonl.gz", &compressed)]),
            "{\"index\": 2}\n{\"index\":3}\n{\"firstIndex\":4,\"lastIndex\":9}\n{\"index\": 10, \"output\": \"x\"}\n"
        );
    }

    #[test]
    fn elements_of_arrays_do_so_too_and_what_was_never_scanned_is_last() {
        let plain = b"[{\"index\":10,\"output\":\"],[\"},{\"index\":2}]";
        let gzip = gzip(b"[{\"index\":3}]");
        let zstd =
            zstd::encode_all(&b"[{\"firstIndex\":null,\"lastIndex\":null},{\"index\":4}]"[..], 3).unwrap();
        assert_eq!(
            sorted(&[("PENDING_0.json.zst", &zstd), ("S.json", plain), ("F.json.gz", &gzip)]),
            "{\"index\":2}\n{\"index\":3}\n{\"index\":4}\n{\"index\":10,\"output\":\"],[\"}\n{\"firstIndex\":null,\"lastIndex\":null}\n"
        );
    }

    #[test]
    fn executions_come_by_their_number_and_those_that_never_started_last() {
        let succeeded = b"{\"Name\":\"10\"}\n{\"Name\":\"9\",\"Status\":\"SUCCEEDED\"}\n";
        let failed = b"{\"Name\":\"9\",\"Status\":\"FAILED\"}\n{\"Name\":\"0\"}\n";
        let pending = b"{\"Input\":\"b\",\"Status\":\"PENDING\"}\n{\"Input\":\"a\",\"Status\":\"PENDING\"}\n";
        assert_eq!(
            sorted(&[("S.jsonl", succeeded), ("F.jsonl", failed), ("P.jsonl", pending)]),
            "{\"Name\":\"0\"}\n{\"Name\":\"9\",\"Status\":\"SUCCEEDED\"}\n{\"Name\":\"9\",\"Status\":\"FAILED\"}\n{\"Name\":\"10\"}\n\
             {\"Input\":\"b\",\"Status\":\"PENDING\"}\n{\"Input\":\"a\",\"Status\":\"PENDING\"}\n"
        );
    }
}
