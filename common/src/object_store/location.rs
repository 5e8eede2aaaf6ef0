//! Where an object lies, and how that is written.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const S3_SCHEME: &str = "s3://";
const FILE_SCHEME: &str = "file://";

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectLocation {
    /// An S3 bucket, or `file:///absolute/dir` for a directory of this machine (only where local files are enabled:
    /// one process). The path is taken literally, without percent-encoding.
    pub bucket: String,
    /// The key within the bucket; for local files the path below the directory.
    pub key: String,
}

/// Why a text is no [`ObjectLocation`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no object: {reason}")]
pub struct InvalidLocation {
    text: String,
    reason: &'static str,
}

impl ObjectLocation {
    /// Names an object by bucket and key.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into() }
    }

    /// Names a local file by its absolute path: the bucket is its directory. `None` if the path is not absolute, has no
    /// file name, or is not UTF-8.
    pub fn local_file(path: &Path) -> Option<Self> {
        let directory = path.parent().filter(|directory| directory.is_absolute())?.to_str()?;
        Some(Self::new(format!("{FILE_SCHEME}{directory}"), path.file_name()?.to_str()?))
    }

    /// Whether the object lies in a directory of this machine.
    pub fn is_local(&self) -> bool {
        local_directory(&self.bucket).is_some()
    }

    /// The path of a local file, or why the location names none. A key cannot leave its directory.
    pub(super) fn local_path(&self) -> Result<PathBuf, &'static str> {
        let directory = local_directory(&self.bucket).ok_or("it does not begin with `file:///`")?;
        if !directory.is_absolute() {
            return Err("the directory of a local file must be absolute: file:///…");
        }
        if !stays_below(&self.key) {
            return Err("a local key must name a file below its directory, without `.`, `..` or empty parts");
        }
        Ok(directory.join(&self.key))
    }
}

/// The directory that a bucket name stands for, if it is one of this machine.
pub(super) fn local_directory(bucket: &str) -> Option<&Path> {
    bucket.strip_prefix(FILE_SCHEME).map(Path::new)
}

/// Whether a key names something strictly below the directory that it is joined to, and has one spelling.
fn stays_below(key: &str) -> bool {
    let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
    let one_spelling = key.split('/').all(|part| !part.is_empty() && part != ".");
    plain && one_spelling && !key.contains('\0')
}

impl fmt::Display for ObjectLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match local_directory(&self.bucket) {
            Some(directory) => write!(f, "{}", directory.join(&self.key).display()),
            None => write!(f, "{S3_SCHEME}{}/{}", self.bucket, self.key),
        }
    }
}

impl FromStr for ObjectLocation {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let invalid = |reason| InvalidLocation { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix(FILE_SCHEME) {
            return Self::local_file(Path::new(path)).ok_or_else(|| invalid("write file:///directory/file"));
        }
        let rest = text.strip_prefix(S3_SCHEME).ok_or_else(|| invalid("it must begin with s3://"))?;
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::new(bucket, key)),
            _ => Err(invalid("write s3://bucket/key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_location_reads_back_from_its_text() {
        let location = ObjectLocation::new("input", "2025/orders.csv");
        assert_eq!("s3://input/2025/orders.csv".parse(), Ok(location.clone()));
        assert_eq!(location.to_string(), "s3://input/2025/orders.csv");
    }

    #[test]
    fn a_local_file_is_shown_as_its_path() {
        let location =
            ObjectLocation::local_file(Path::new("/data/in/orders.csv")).expect("an absolute path");
        assert_eq!(location, ObjectLocation::new("file:///data/in", "orders.csv"));
        assert_eq!(location.to_string(), "/data/in/orders.csv");
        assert_eq!("file:///data/in/orders.csv".parse(), Ok(location));
    }

    #[test]
    fn texts_that_name_no_object_are_refused() {
        for text in ["", "bucket/key", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "file://relative"]
        {
            assert!(text.parse::<ObjectLocation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_local_key_cannot_leave_its_directory() {
        for key in ["", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/./b", "./a", "a/", "a\0b"] {
            let location = ObjectLocation::new("file:///data", key);
            assert!(location.local_path().is_err(), "{key:?}");
        }
        let location = ObjectLocation::new("file:///data", "a/..b/c.csv");
        assert_eq!(location.local_path(), Ok(PathBuf::from("/data/a/..b/c.csv")));
        assert!(ObjectLocation::new("file://data", "a").local_path().is_err());
    }
}
