//! What `run` reads: an object, or a file of this machine that must exist.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use warifu_common::object_store::ObjectLocation;

use crate::problem::Problem;

/// Finds out what INPUT means: `s3://bucket/key`, or a path of this machine.
pub(super) fn locate(input: &str) -> anyhow::Result<ObjectLocation> {
    if input.starts_with("s3://") {
        return Ok(input.parse()?);
    }
    let path = input.strip_prefix("file://").unwrap_or(input);
    let path = existing_file(Path::new(path))?;
    ObjectLocation::local_file(&path)
        .with_context(|| format!("the path {} cannot be used: it must be UTF-8", path.display()))
}

fn existing_file(path: &Path) -> Result<PathBuf, Problem> {
    let unusable = |reason: String| {
        Problem::new(format!("cannot read {}: {reason}", path.display()))
            .advise("INPUT is a CSV file, or s3://bucket/key")
    };
    let path_in_full = path.canonicalize().map_err(|error| unusable(error.to_string()))?;
    if path_in_full.is_file() { Ok(path_in_full) } else { Err(unusable("it is no file".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_directory_and_file_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().canonicalize().unwrap().join("users.csv");
        std::fs::write(&file, "a\n").unwrap();
        let location = locate(file.to_str().unwrap()).unwrap();
        assert_eq!(location.bucket, format!("file://{}", file.parent().unwrap().display()));
        assert_eq!(location.key, "users.csv");
    }

    #[test]
    fn an_s3_url_becomes_bucket_and_key() {
        assert_eq!(locate("s3://input/a/b.csv").unwrap(), ObjectLocation::new("input", "a/b.csv"));
        assert!(locate("s3://input").is_err());
    }

    #[test]
    fn a_missing_file_and_a_directory_are_refused_by_name() {
        for input in ["no/such/file.csv", "."] {
            let error = locate(input).expect_err("it is no file");
            assert!(error.to_string().starts_with(&format!("cannot read {input}: ")), "{error}");
        }
    }
}
