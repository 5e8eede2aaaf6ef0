//! All lines of result files in the order of the items: lines stand in no order within and between files.
//!
//! Lines stay on disk; what is kept in memory is where each begins, 32 bytes per item.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

/// Where a line is.
struct Place {
    /// The item's index; of a range that never started, its first.
    index: u64,
    file: usize,
    offset: u64,
    length: usize,
}

/// The part of a line that orders it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ordered {
    index: Option<u64>,
    first_index: Option<u64>,
}

/// Writes the lines of `files` to `target`, ordered by index.
pub(super) fn write(files: &[PathBuf], target: &Path) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    let mut places = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let source = open(path).with_context(|| format!("cannot read {}", path.display()))?;
        find_lines(&source, number, &mut places)
            .with_context(|| format!("cannot read {}", path.display()))?;
        sources.push(source);
    }
    places.sort_unstable_by_key(|place| place.index);
    copy(&mut sources, &places, target).with_context(|| format!("cannot write {}", target.display()))
}

/// A file in which lines can be found again: what is compressed is expanded to a temporary one.
fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path)?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(file);
    }
    let mut expanded = tempfile::tempfile()?;
    std::io::copy(&mut MultiGzDecoder::new(BufReader::new(file)), &mut expanded)?;
    expanded.rewind()?;
    Ok(expanded)
}

fn find_lines(source: &File, file: usize, places: &mut Vec<Place>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    let mut offset = 0;
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if !line.trim_ascii().is_empty() {
            let ordered: Ordered = serde_json::from_slice(&line)?;
            let index = ordered.index.or(ordered.first_index).context("a line has no index")?;
            places.push(Place { index, file, offset, length });
        }
        offset += length as u64;
    }
}

fn copy(sources: &mut [File], places: &[Place], target: &Path) -> anyhow::Result<()> {
    let mut target = BufWriter::new(File::create(target)?);
    let mut line = Vec::new();
    for place in places {
        line.resize(place.length, 0);
        sources[place.file].seek(SeekFrom::Start(place.offset))?;
        sources[place.file].read_exact(&mut line)?;
        target.write_all(line.trim_ascii_end())?;
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

    #[test]
    fn lines_of_all_files_come_in_the_order_of_their_items() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("SUCCEEDED_1.jsonl");
        std::fs::write(&plain, "{\"index\": 10, \"output\": \"x\"}\n{\"index\": 2}").unwrap();
        let compressed = directory.path().join("FAILED_1.jsonl.gz");
        let mut encoder = GzEncoder::new(File::create(&compressed).unwrap(), Compression::fast());
        encoder.write_all(b"{\"index\":3}\n\n{\"firstIndex\":4,\"lastIndex\":9}\n").unwrap();
        encoder.finish().unwrap();
        let target = directory.path().join("sorted.jsonl");
        write(&[plain, compressed], &target).unwrap();
        assert_eq!(
            std::fs::read_to_string(&target).unwrap(),
            "{\"index\": 2}\n{\"index\":3}\n{\"firstIndex\":4,\"lastIndex\":9}\n{\"index\": 10, \"output\": \"x\"}\n"
        );
    }
}
