//! Something made of files, made again when they change.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{FileProblem, sha256};

/// Files are looked at so often at most, and only when what is made of them is needed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file of certificates, keys or tokens.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, FileProblem> + Send + Sync>;

/// The latest usable version of what some files describe.
///
/// Content is compared, not times: Kubernetes swaps a symbolic link above the file.
pub struct Watched<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    build: Build<T>,
    /// Locked for a look, which once per interval reads the files.
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    /// Of the contents seen last, usable or not.
    seen: [u8; 32],
    checked_at: Instant,
}

impl<T> Watched<T> {
    /// Reads `files` and makes it the first time. `what` names it in the log.
    pub fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        build: impl Fn(&[Vec<u8>]) -> Result<T, FileProblem> + Send + Sync + 'static,
    ) -> Result<Self, FileProblem> {
        let contents = read_all(&files)?;
        let current = Arc::new(build(&contents)?);
        let state = State { current, seen: fingerprint(&contents), checked_at: Instant::now() };
        Ok(Self { what, files, build: Box::new(build), state: Mutex::new(state) })
    }

    /// The latest usable version. What cannot be used, or is not there for a moment, leaves the one before.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.checked_at.elapsed() >= CHECK_INTERVAL {
            self.check(&mut state);
            state.checked_at = Instant::now();
        }
        state.current.clone()
    }

    fn check(&self, state: &mut State<T>) {
        let contents = read_all(&self.files);
        let seen = contents
            .as_ref()
            .map_or_else(|problem| sha256(problem.to_string().as_bytes()), |contents| fingerprint(contents));
        if seen == state.seen {
            return;
        }
        state.seen = seen;
        match contents.and_then(|contents| (self.build)(&contents)) {
            Ok(made) => {
                state.current = Arc::new(made);
                info!(what = self.what, "files have changed and were read again");
            }
            Err(problem) => {
                warn!(what = self.what, error = %problem, "files have changed but cannot be used, the old ones stay");
            }
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("what", &self.what)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileProblem> {
    files.iter().map(|file| read(file)).collect()
}

/// A file's bytes, within the limit.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileProblem> {
    let failed = |error: std::io::Error| FileProblem::new(path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileProblem::new(path, format!("takes more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Of all contents: what they are, and where one ends.
fn fingerprint(contents: &[Vec<u8>]) -> [u8; 32] {
    let each: Vec<u8> = contents.iter().flat_map(|content| sha256(content)).collect();
    sha256(&each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, FileProblem> {
        let text = String::from_utf8_lossy(&contents[0]);
        text.trim().parse().map_err(|_| FileProblem::new("number", "is no number"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_over_and_one_that_is_unusable_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let watched = Watched::open("a number", vec![file.clone()], number).unwrap();
        assert_eq!(*watched.current(), 1);
        for (text, current) in [("2", 2), ("two", 2), ("3", 3)] {
            std::fs::write(&file, text).unwrap();
            tokio::time::advance(CHECK_INTERVAL).await;
            assert_eq!(*watched.current(), current, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        tokio::time::advance(CHECK_INTERVAL).await;
        assert_eq!(*watched.current(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_swapped_link_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (version, text) in [("v1", "1"), ("v2", "2")] {
            std::fs::create_dir(path(version)).unwrap();
            std::fs::write(path(version).join("number"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", path("data")).unwrap();
        let watched = Watched::open("a number", vec![path("data").join("number")], number).unwrap();
        std::os::unix::fs::symlink("v2", path("next")).unwrap();
        std::fs::rename(path("next"), path("data")).unwrap();
        tokio::time::advance(CHECK_INTERVAL).await;
        assert_eq!(*watched.current(), 2);
    }

    #[test]
    fn what_cannot_be_used_at_first_is_an_error() {
        let missing = Watched::open("a number", vec!["/does/not/exist".into()], number).unwrap_err();
        assert!(missing.to_string().contains("/does/not/exist: cannot be read"), "{missing}");
    }
}
