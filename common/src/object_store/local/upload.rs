//! Files that are written part by part.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{LocalFile, blocking, failed, path_of, unfinished_name};
use crate::object_store::{ObjectAction, ObjectError, ObjectLocation, PinnedObject, Upload};

/// A file under another name until it is complete.
pub(super) struct FileUpload {
    location: ObjectLocation,
    path: PathBuf,
    unfinished: PathBuf,
    file: Arc<File>,
}

impl FileUpload {
    pub(super) async fn begin(location: &ObjectLocation) -> Result<Self, ObjectError> {
        let location = location.clone();
        blocking(move || {
            let path = path_of(&location)?;
            let put = |error| failed(ObjectAction::Put, &location, error);
            let directory = path.parent().map(PathBuf::from).unwrap_or_default();
            fs::create_dir_all(&directory).map_err(put)?;
            let unfinished = directory.join(unfinished_name());
            let file = File::options().write(true).create_new(true).open(&unfinished).map_err(put)?;
            Ok(Self { path, unfinished, file: Arc::new(file), location })
        })
        .await
    }
}

#[async_trait]
impl Upload for FileUpload {
    async fn put_part(&mut self, part: Bytes) -> Result<(), ObjectError> {
        let (file, location) = (Arc::clone(&self.file), self.location.clone());
        blocking(move || {
            (&*file).write_all(&part).map_err(|error| failed(ObjectAction::Put, &location, error))
        })
        .await
    }

    async fn complete(self: Box<Self>) -> Result<PinnedObject, ObjectError> {
        blocking(move || {
            let completed = self.file.sync_all().and_then(|()| {
                fs::rename(&self.unfinished, &self.path)?;
                match self.path.parent() {
                    Some(directory) => File::open(directory)?.sync_all(),
                    None => Ok(()),
                }
            });
            if let Err(error) = completed {
                let _ = fs::remove_file(&self.unfinished); // its own failure adds nothing
                return Err(failed(ObjectAction::Put, &self.location, error));
            }
            LocalFile::open(&self.location)?.pinned()
        })
        .await
    }

    async fn abort(self: Box<Self>) {
        let _ = blocking(move || {
            fs::remove_file(&self.unfinished)
                .map_err(|error| failed(ObjectAction::Delete, &self.location, error))
        })
        .await;
    }
}
