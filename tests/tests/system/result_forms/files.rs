//! A manifest's files, read without any code of the engine.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

/// The entries of all files that a manifest names.
#[derive(Debug, Default)]
pub(crate) struct ResultFiles {
    pub(crate) succeeded: Vec<Value>,
    pub(crate) failed: Vec<Value>,
    pub(crate) pending: Vec<Value>,
}

impl ResultFiles {
    /// Reads what was downloaded into `directory`. Panics if a file has another size than the manifest says, another name than its
    /// form wants, or is not of its form.
    #[track_caller]
    pub(crate) fn read(directory: &Path, extension: &str) -> Self {
        let manifest = std::fs::read(directory.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let entries = |status: &str| -> Vec<Value> {
            let files = manifest["ResultFiles"][status].as_array().unwrap().iter();
            files.flat_map(|file| read_file(directory, status, file, extension)).collect()
        };
        Self { succeeded: entries("SUCCEEDED"), failed: entries("FAILED"), pending: entries("PENDING") }
    }
}

fn read_file(directory: &Path, status: &str, file: &Value, extension: &str) -> Vec<Value> {
    let name = file["Key"].as_str().unwrap().rsplit('/').next().unwrap();
    assert!(name.starts_with(&format!("{status}_")) && name.ends_with(extension), "{name}: {extension}");
    let bytes = std::fs::read(directory.join(name)).unwrap();
    assert_eq!(
        Some(bytes.len() as u64),
        file["Size"].as_u64(),
        "{name} has not the size that the manifest says"
    );
    let text = expand(name, &bytes);
    if extension.starts_with(".jsonl") {
        assert!(text.ends_with('\n'), "{name}: every line ends");
        return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    }
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!entries.is_empty(), "{name} is empty");
    entries
}

fn expand(name: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match name.rsplit('.').next() {
        Some("gz") => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap(),
        Some("zst") => zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text).unwrap(),
        _ => return String::from_utf8(bytes.to_vec()).unwrap(),
    };
    text
}
