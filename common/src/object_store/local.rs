//! Files of this machine as objects, read and written directly.
//!
//! A file is pinned by device, inode, size and modification time; that text is its ETag. It is compared before and after
//! every read, on the very file that is read. A change that keeps all four (same size, within one tick of the file
//! system's clock) cannot be seen.
//!
//! Writing is atomic: readers see the old file or the new one, also after a crash.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::location::local_directory;
use super::{
    Buffer, ListedObject, MissingThing, ObjectAction, ObjectError, ObjectLocation, ObjectStore, PinnedObject,
    StoredObject, Upload, check_put_size, check_range,
};
use upload::FileUpload;

mod upload;

/// How the names of unfinished files begin. Listings leave them out.
const UNFINISHED_PREFIX: &str = ".warifu-unfinished-";

/// How deep a listing goes: deeper is a mistake, or a mount that contains itself.
const MAX_DEPTH: usize = 64;

/// The files of this machine. Only for a process that does all the work itself.
#[derive(Debug, Clone, Default)]
pub struct LocalFiles {}

impl LocalFiles {
    /// Allows access to local files.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn pin(
        &self,
        location: &ObjectLocation,
        version_id: Option<&str>,
        expected_bucket_owner: Option<&str>,
    ) -> Result<PinnedObject, ObjectError> {
        if version_id.is_some() || expected_bucket_owner.is_some() {
            return Err(invalid(location, "a local file has neither versions nor a bucket owner"));
        }
        let location = location.clone();
        blocking(move || LocalFile::open(&location)?.pinned()).await
    }

    async fn read(&self, object: &PinnedObject, range: Range<u64>) -> Result<Bytes, ObjectError> {
        check_range(object, &range)?;
        let object = object.clone();
        blocking(move || LocalFile::open(&object.location)?.read(&object, &range)).await
    }

    async fn put(
        &self,
        location: &ObjectLocation,
        body: Bytes,
        _content_type: &str,
    ) -> Result<StoredObject, ObjectError> {
        check_put_size(location, &body)?;
        let location = location.clone();
        blocking(move || {
            let path = path_of(&location)?;
            write_atomically(&path, &body).map_err(|error| failed(ObjectAction::Put, &location, error))
        })
        .await
    }

    async fn begin_upload(
        &self,
        location: &ObjectLocation,
        _content_type: &str,
    ) -> Result<Box<dyn Upload>, ObjectError> {
        Ok(Box::new(FileUpload::begin(location).await?))
    }

    async fn abort_uploads(&self, bucket: &str, prefix: &str) -> Result<(), ObjectError> {
        let place =
            directory_of(bucket)?.join(prefix.rsplit_once('/').map_or("", |(directory, _)| directory));
        let bucket = bucket.to_owned();
        blocking(move || {
            remove_unfinished(&place).map_err(|error| bucket_failed(ObjectAction::Delete, &bucket, error))
        })
        .await
    }

    async fn delete(&self, location: &ObjectLocation) -> Result<(), ObjectError> {
        let location = location.clone();
        blocking(move || match fs::remove_file(path_of(&location)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed(ObjectAction::Delete, &location, error))
            }
            _ => Ok(()),
        })
        .await
    }

    async fn list_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        max_keys: usize,
    ) -> Result<Vec<ListedObject>, ObjectError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let mut listing = Listing { prefix, after, max_keys, listed: Vec::new() };
        let bucket = bucket.to_owned();
        blocking(move || {
            let directory = directory_of(&bucket)?;
            listing
                .add(&directory, "", 0)
                .map_err(|error| bucket_failed(ObjectAction::List, &bucket, error))?;
            Ok(listing.listed)
        })
        .await
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), ObjectError> {
        let bucket = bucket.to_owned();
        blocking(move || {
            fs::create_dir_all(directory_of(&bucket)?)
                .map_err(|error| bucket_failed(ObjectAction::CreateBucket, &bucket, error))
        })
        .await
    }
}

/// An open file. What the path names may change meanwhile; this stays the same file.
struct LocalFile<'a> {
    location: &'a ObjectLocation,
    file: File,
}

impl<'a> LocalFile<'a> {
    fn open(location: &'a ObjectLocation) -> Result<Self, ObjectError> {
        let file =
            File::open(path_of(location)?).map_err(|error| failed(ObjectAction::Read, location, error))?;
        Ok(Self { location, file })
    }

    fn metadata(&self) -> Result<Metadata, ObjectError> {
        self.file.metadata().map_err(|error| failed(ObjectAction::Pin, self.location, error))
    }

    fn pinned(&self) -> Result<PinnedObject, ObjectError> {
        let metadata = self.metadata()?;
        if !metadata.is_file() {
            return Err(invalid(self.location, "it is no regular file"));
        }
        Ok(PinnedObject {
            location: self.location.clone(),
            version_id: None,
            etag: etag_of(&metadata),
            size: metadata.len(),
        })
    }

    fn read(&mut self, object: &PinnedObject, range: &Range<u64>) -> Result<Bytes, ObjectError> {
        self.check_unchanged(object)?;
        let length = (range.end - range.start) as usize;
        let bytes = self
            .read_up_to(range.start, length)
            .map_err(|error| failed(ObjectAction::Read, self.location, error))?;
        self.check_unchanged(object)?;
        if bytes.len() < length {
            return Err(changed(object, "a shorter file".to_owned()));
        }
        Ok(bytes.freeze())
    }

    fn read_up_to(&mut self, start: u64, length: usize) -> io::Result<Buffer> {
        let mut bytes = Buffer::with_capacity(length);
        self.file.seek(SeekFrom::Start(start))?;
        bytes.fill_from(&mut self.file)?;
        Ok(bytes)
    }

    fn check_unchanged(&self, object: &PinnedObject) -> Result<(), ObjectError> {
        let seen = etag_of(&self.metadata()?);
        if seen == object.etag { Ok(()) } else { Err(changed(object, seen)) }
    }
}

/// The files below a directory, in the order of their keys' bytes.
struct Listing {
    prefix: String,
    after: String,
    max_keys: usize,
    listed: Vec<ListedObject>,
}

impl Listing {
    /// Adds what lies below `directory`, whose own key (with a slash at its end, empty at the top) is `parent`.
    fn add(&mut self, directory: &Path, parent: &str, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("it is deeper than {MAX_DEPTH} directories")));
        }
        for (key, path) in sorted_entries(directory, parent)? {
            if self.listed.len() >= self.max_keys {
                break;
            }
            if key.ends_with('/') && may_hold(&key, &self.prefix) {
                self.add(&path, &key, depth + 1)?;
            } else if !key.ends_with('/') && key.starts_with(&self.prefix) && key > self.after {
                self.listed.extend(listed_object(key, &path)?);
            }
        }
        Ok(())
    }
}

/// Whether keys below the directory `key` can begin with `prefix`.
fn may_hold(key: &str, prefix: &str) -> bool {
    key.starts_with(prefix) || prefix.starts_with(key)
}

/// The entries of a directory by key. A directory's key ends with a slash, which also is what orders it among files.
/// Links to directories are left out, so that a listing ends; names that are not UTF-8 cannot be keys.
fn sorted_entries(directory: &Path, parent: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with(UNFINISHED_PREFIX)) else { continue };
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        entries.push((format!("{parent}{name}{slash}"), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// `None` for what is no regular file, or was deleted meanwhile.
fn listed_object(key: String, path: &Path) -> io::Result<Option<ListedObject>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    };
    Ok(Some(ListedObject {
        key,
        size: metadata.len(),
        etag: etag_of(&metadata),
        last_modified_seconds: metadata.mtime(),
        storage_class: None,
    }))
}

/// Removes what writers that died have left in a directory.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED_PREFIX)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file so that its name never stands for half of it, and so that it survives a crash once this returns.
fn write_atomically(path: &Path, body: &[u8]) -> io::Result<StoredObject> {
    let directory = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    fs::create_dir_all(directory)?;
    let unfinished = directory.join(unfinished_name());
    let written = write_durably(&unfinished, body).and_then(|stored| {
        fs::rename(&unfinished, path)?;
        Ok(stored)
    });
    if written.is_err() {
        let _ = fs::remove_file(&unfinished); // its own failure adds nothing to the one that is returned
    }
    File::open(directory)?.sync_all()?;
    written
}

fn write_durably(path: &Path, body: &[u8]) -> io::Result<StoredObject> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(body)?;
    file.sync_all()?;
    let metadata = file.metadata()?;
    Ok(StoredObject { size: metadata.len(), etag: etag_of(&metadata) })
}

/// A name that nobody else uses: process and count.
fn unfinished_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{UNFINISHED_PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn etag_of(metadata: &Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{:x}-{:x}-{}-{seconds}.{nanoseconds:09}", metadata.dev(), metadata.ino(), metadata.len())
}

fn path_of(location: &ObjectLocation) -> Result<PathBuf, ObjectError> {
    location.local_path().map_err(|reason| invalid(location, reason))
}

fn directory_of(bucket: &str) -> Result<PathBuf, ObjectError> {
    match local_directory(bucket).filter(|directory| directory.is_absolute()) {
        Some(directory) => Ok(directory.to_owned()),
        None => Err(ObjectError::Invalid {
            place: bucket.to_owned(),
            reason: "the directory of local files must be absolute: file:///…".to_owned(),
        }),
    }
}

fn invalid(location: &ObjectLocation, reason: &str) -> ObjectError {
    ObjectError::Invalid { place: location.to_string(), reason: reason.to_owned() }
}

fn changed(object: &PinnedObject, seen: String) -> ObjectError {
    ObjectError::Changed { place: object.location.to_string(), pinned: object.etag.clone(), seen: Some(seen) }
}

fn failed(action: ObjectAction, location: &ObjectLocation, error: io::Error) -> ObjectError {
    io_error(action, MissingThing::Object, location.to_string(), error)
}

fn bucket_failed(action: ObjectAction, bucket: &str, error: io::Error) -> ObjectError {
    io_error(action, MissingThing::Bucket, bucket.to_owned(), error)
}

fn io_error(action: ObjectAction, missing: MissingThing, place: String, error: io::Error) -> ObjectError {
    match error.kind() {
        ErrorKind::NotFound => ObjectError::NotFound { missing, place, detail: String::new() },
        ErrorKind::PermissionDenied => ObjectError::Invalid {
            place,
            reason: format!("this process may not {action} it: {error}; change its permissions"),
        },
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
            ObjectError::Invalid { place, reason: error.to_string() }
        }
        _ => ObjectError::Unavailable { action, place, after: None, source: Box::new(error) },
    }
}

/// Runs what waits for the disk off the threads that run everything else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
