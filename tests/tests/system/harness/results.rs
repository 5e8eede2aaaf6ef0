//! Result files, read and checked without any code of the engine.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What a manifest and the files that it names say.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The manifest.
    pub(crate) manifest: Value,
    /// Lines of items that succeeded, by index.
    pub(crate) succeeded: BTreeMap<u64, Value>,
    /// Lines of items that did not, by index.
    pub(crate) failed: BTreeMap<u64, Value>,
    /// Ranges of items that never started: first and last index; `None`: not even scanned.
    pub(crate) pending: Vec<Option<(u64, u64)>>,
}

/// Reads the one manifest below `directory` and its files. Panics if a file is missing or has another size than the
/// manifest says, if an item is there twice, or stands in a file of another status.
#[track_caller]
pub(crate) fn read_results(directory: &Path) -> Results {
    let manifest_path = find_manifest(directory)
        .unwrap_or_else(|| panic!("there is no manifest.json below {}", directory.display()));
    let manifest: Value = serde_json::from_slice(&std::fs::read(&manifest_path).unwrap()).unwrap();
    let mut results = Results::default();
    for status in ["SUCCEEDED", "FAILED", "PENDING"] {
        for file in manifest["ResultFiles"][status].as_array().unwrap() {
            let name = file["Key"].as_str().unwrap().rsplit('/').next().unwrap();
            let path = manifest_path.with_file_name(name);
            let size = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}")).len();
            assert_eq!(Some(size), file["Size"].as_u64(), "{name} has not the size that the manifest says");
            for line in read_text(&path).lines() {
                results.add(status, serde_json::from_str(line).unwrap());
            }
        }
    }
    results.manifest = manifest;
    results
}

fn find_manifest(directory: &Path) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(directory).ok()?.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    if let Some(manifest) = entries.iter().find(|path| path.ends_with("manifest.json")) {
        return Some(manifest.clone());
    }
    entries.iter().filter(|path| path.is_dir()).find_map(|path| find_manifest(path))
}

fn read_text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        return text;
    }
    String::from_utf8(bytes).unwrap()
}

impl Results {
    fn add(&mut self, file: &str, line: Value) {
        if file == "PENDING" {
            let range = line["firstIndex"].as_u64().zip(line["lastIndex"].as_u64());
            self.pending.push(range);
            return;
        }
        let index = line["index"].as_u64().unwrap();
        assert!(!self.succeeded.contains_key(&index), "item {index} is there twice");
        assert!(!self.failed.contains_key(&index), "item {index} is there twice");
        let status = line["status"].as_str().unwrap();
        if file == "SUCCEEDED" {
            assert_eq!(status, "SUCCEEDED", "item {index}");
            self.succeeded.insert(index, line);
        } else {
            assert!(["FAILED", "TIMED_OUT", "ABORTED"].contains(&status), "item {index}: {status}");
            self.failed.insert(index, line);
        }
    }

    /// Indexes of items that never started; all ranges must be scanned ones.
    pub(crate) fn pending_indexes(&self) -> Vec<u64> {
        let ranges = self.pending.iter().map(|range| range.expect("everything was scanned"));
        let mut indexes: Vec<u64> = ranges.flat_map(|(first, last)| first..=last).collect();
        indexes.sort_unstable();
        indexes
    }

    /// Indexes of items with `status` that did not succeed.
    pub(crate) fn failed_as(&self, status: &str) -> Vec<u64> {
        let lines = self.failed.iter().filter(|(_, line)| line["status"] == status);
        lines.map(|(index, _)| *index).collect()
    }

    /// Makes sure that exactly `items` succeeded, each with itself as its output, and nothing else is there.
    #[track_caller]
    pub(crate) fn expect_echoed(&self, items: &[Value]) {
        assert!(self.failed.is_empty(), "{} items failed", self.failed.len());
        assert!(self.pending.is_empty(), "{:?} never ran", self.pending);
        assert_eq!(self.succeeded.len(), items.len(), "items");
        for (index, item) in items.iter().enumerate() {
            let line = self.succeeded.get(&(index as u64));
            let line = line.unwrap_or_else(|| panic!("item {index} is missing"));
            assert_eq!(&line["output"], item, "item {index}");
        }
    }
}
