//! A page of a bucket's keys, found by walking its directory in the order of keys.
//!
//! `s3s-fs` reads the whole bucket for each page. This reads the directories that the page lies in, and the sizes of the
//! page's files alone.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::Path;

use s3s::dto::{Object, Timestamp};

/// The objects of `bucket` whose keys begin with `prefix` and come after `marker` if there is one, in the order of their
/// keys' bytes: the first `most`.
pub(super) fn list(
    bucket: &Path,
    prefix: &str,
    marker: Option<&str>,
    most: usize,
) -> io::Result<Vec<Object>> {
    let mut page = Page { prefix, marker, most, objects: Vec::new() };
    page.walk(bucket, "")?;
    Ok(page.objects)
}

struct Page<'a> {
    prefix: &'a str,
    marker: Option<&'a str>,
    most: usize,
    objects: Vec<Object>,
}

impl Page<'_> {
    /// Adds what the directory of `path` holds, whose keys begin with `parent`. As deep as a key has slashes, and keys are
    /// no longer than a path may be.
    fn walk(&mut self, path: &Path, parent: &str) -> io::Result<()> {
        for (key, entry) in entries(path, parent)? {
            if self.objects.len() >= self.most {
                return Ok(());
            }
            if key.ends_with('/') {
                if self.may_hold(&key) {
                    self.walk(&entry.path(), &key)?;
                }
            } else if key.starts_with(self.prefix) && self.marker.is_none_or(|marker| key.as_str() > marker) {
                self.objects.extend(object(key, &entry)?);
            }
        }
        Ok(())
    }

    /// Whether keys that begin with `parent` may be of this page.
    fn may_hold(&self, parent: &str) -> bool {
        let of_prefix = parent.starts_with(self.prefix) || self.prefix.starts_with(parent);
        let after = self.marker.is_none_or(|marker| parent > marker || marker.starts_with(parent));
        of_prefix && after
    }
}

/// What a directory holds with its keys, in their order; a directory's key ends in a slash, as those within it go on. Names that
/// are not UTF-8 are no keys. Nothing if it is gone.
fn entries(path: &Path, parent: &str) -> io::Result<Vec<(String, DirEntry)>> {
    let Some(directory) = unless_gone(fs::read_dir(path))? else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for entry in directory {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(kind) = unless_gone(entry.file_type())? else { continue };
        let slash = if kind.is_dir() { "/" } else { "" };
        entries.push((format!("{parent}{name}{slash}"), entry));
    }
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

fn object(key: String, entry: &DirEntry) -> io::Result<Option<Object>> {
    let Some(metadata) = unless_gone(entry.metadata())? else { return Ok(None) };
    Ok(Some(Object {
        key: Some(key),
        last_modified: Some(Timestamp::from(metadata.modified()?)),
        size: Some(i64::try_from(metadata.len()).map_err(io::Error::other)?),
        ..Object::default()
    }))
}

/// `None` for what was there a moment ago: a listing holds it or does not.
fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours of a slash in the order of bytes, and a directory beside a file of nearly its name.
    const KEYS: [&str; 12] =
        ["a", "a!b", "a-b/c", "a-b/d/e", "a.csv", "a0", "b/a/x", "b/a/y", "b/a!", "b/b", "c/c/c/c", "ä"];

    #[test]
    fn pages_of_every_size_make_up_the_keys_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        for key in KEYS {
            let path = directory.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        fs::create_dir_all(directory.path().join("b/empty")).unwrap();
        for prefix in ["", "a", "a-b/", "a-b", "b/a", "b/a/", "c/c/c/c", "b/empty/", "none", "ä"] {
            let mut wanted: Vec<&str> = KEYS.into_iter().filter(|key| key.starts_with(prefix)).collect();
            wanted.sort_unstable();
            for most in 1..=wanted.len() + 1 {
                assert_eq!(pages(directory.path(), prefix, most), wanted, "{prefix:?} by {most}");
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_files_and_a_page_of_nothing_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("k"), "four").unwrap();
        let objects = list(directory.path(), "", None, 1).unwrap();
        assert_eq!(objects[0].size, Some(4));
        assert!(objects[0].last_modified.is_some());
        assert!(list(directory.path(), "", None, 0).unwrap().is_empty());
        assert!(list(directory.path(), "", Some("k"), 1).unwrap().is_empty());
        assert!(list(&directory.path().join("gone"), "", None, 1).unwrap().is_empty());
    }

    /// All keys, by pages of `most`.
    fn pages(bucket: &Path, prefix: &str, most: usize) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = list(bucket, prefix, keys.last().map(String::as_str), most).unwrap();
            assert!(page.len() <= most);
            if page.is_empty() {
                return keys;
            }
            keys.extend(page.into_iter().map(|object| object.key.unwrap()));
        }
    }
}
