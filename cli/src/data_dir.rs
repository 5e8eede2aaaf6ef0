//! The directory in which one process keeps everything: state, objects, results of runs without a destination.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::problem::Problem;

/// Written once everything listens, for programs that started the process with free ports.
const PORTS_FILE: &str = "ports.json";
/// The ID of the one run that `warifu run --data-dir` makes in a directory.
const RUN_ID_FILE: &str = "run-id";

/// A data directory; a temporary one goes away with this value.
pub(crate) struct DataDir {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl DataDir {
    /// The directory `path`, made if it is missing.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        let made = fs::create_dir_all(path).and_then(|()| path.canonicalize());
        let path = made.with_context(|| format!("cannot use the data directory {}", path.display()))?;
        check_text(&path)?;
        Ok(Self { path, temporary: None })
    }

    /// The directory `path`, which must be empty or missing.
    pub(crate) fn fresh_at(path: &Path) -> anyhow::Result<Self> {
        let directory = Self::at(path)?;
        let mut entries = fs::read_dir(&directory.path)
            .with_context(|| format!("cannot look into {}", directory.path.display()))?;
        if entries.next().is_some() {
            return Err(Problem::new(format!("the directory {} is not empty", directory.path.display()))
                .advise("name one that does not exist yet")
                .into());
        }
        Ok(directory)
    }

    /// A new temporary directory.
    pub(crate) fn temporary() -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("warifu-")
            .tempdir()
            .context("cannot make a temporary directory; name one with --data-dir")?;
        let path = temporary.path().canonicalize().context("cannot use the temporary directory")?;
        check_text(&path)?;
        Ok(Self { path, temporary: Some(temporary) })
    }

    /// Keeps a temporary directory when the process ends.
    pub(crate) fn keep(&mut self) {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
        }
    }

    /// True if everything in it goes away with the process.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its path as text; it was checked to be one.
    pub(crate) fn text(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// Where the embedded S3 keeps its buckets.
    pub(crate) fn s3_root(&self) -> PathBuf {
        self.path.join("s3")
    }

    /// Where a worker notes which process of it runs.
    pub(crate) fn worker_dir(&self, worker: &str) -> PathBuf {
        self.path.join("workers").join(worker)
    }

    /// The bucket for failures of runs without a result writer.
    pub(crate) fn system_bucket(&self) -> String {
        format!("file://{}", self.path.join("system").display())
    }

    /// The ID of the directory's one run: the one that is there, else `wanted`, which is kept for the next start.
    pub(crate) fn run_id(&self, wanted: impl FnOnce() -> String) -> anyhow::Result<String> {
        let file = self.path.join(RUN_ID_FILE);
        match fs::read_to_string(&file) {
            Ok(id) => return Ok(id.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
        let id = wanted();
        write_whole(&file, &format!("{id}\n"))?;
        Ok(id)
    }

    /// Says where the process listens.
    pub(crate) fn write_ports(&self, ports: &Value) -> anyhow::Result<()> {
        write_whole(&self.path.join(PORTS_FILE), &format!("{ports:#}\n"))
    }

    /// Takes back what [`write_ports`](Self::write_ports) said.
    pub(crate) fn remove_ports(&self) {
        // A file that stays says where nobody listens any more: whoever connects sees that at once.
        _ = fs::remove_file(self.path.join(PORTS_FILE));
    }
}

/// Bucket names are text, and directories become parts of them.
fn check_text(path: &Path) -> Result<(), Problem> {
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(Problem::new(format!("the path {} is not UTF-8", path.display()))),
    }
}

/// Writes a file so that readers see all of it or nothing.
fn write_whole(path: &Path, content: &str) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    let directory = path.parent().with_context(unwritable)?;
    let file = tempfile::NamedTempFile::new_in(directory).with_context(unwritable)?;
    fs::write(file.path(), content).with_context(unwritable)?;
    file.persist(path).with_context(unwritable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_stays_the_directorys_id() {
        let directory = DataDir::temporary().unwrap();
        assert_eq!(directory.run_id(|| "a".to_owned()).unwrap(), "a");
        assert_eq!(directory.run_id(|| "b".to_owned()).unwrap(), "a");
    }

    #[test]
    fn a_directory_with_something_in_it_is_not_fresh() {
        let directory = DataDir::temporary().unwrap();
        assert!(DataDir::fresh_at(directory.path()).is_ok());
        assert!(DataDir::fresh_at(&directory.path().join("new/one")).is_ok());
        let Err(error) = DataDir::fresh_at(directory.path()) else { panic!("it holds `new`") };
        assert!(error.to_string().contains("is not empty"), "{error}");
    }

    #[test]
    fn ports_are_there_until_they_are_taken_back() {
        let directory = DataDir::temporary().unwrap();
        directory.write_ports(&serde_json::json!({"grpc": 7400})).unwrap();
        let file = directory.path().join(PORTS_FILE);
        let ports: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(ports["grpc"], 7400);
        directory.remove_ports();
        assert!(!file.exists());
    }
}
