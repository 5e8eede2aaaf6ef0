//! Texts that users name by file, or `-` for stdin.

use std::io::Read as _;
use std::path::Path;

use crate::problem::Problem;

/// A file and what it is to the user.
pub(crate) struct TextFile<'a> {
    what: &'static str,
    path: &'a Path,
}

impl<'a> TextFile<'a> {
    /// The file at `path`, which is `what`: "the job file".
    pub(crate) fn new(what: &'static str, path: &'a Path) -> Self {
        Self { what, path }
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> String {
        if self.is_stdin() {
            format!("{} on stdin", self.what)
        } else {
            format!("{} {}", self.what, self.path.display())
        }
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    /// The whole text, which has at most `most` bytes.
    pub(crate) fn read(&self, most: usize) -> Result<String, Problem> {
        let mut text = String::new();
        let limit = most as u64 + 1;
        let read = if self.is_stdin() {
            std::io::stdin().take(limit).read_to_string(&mut text)
        } else {
            std::fs::File::open(self.path).and_then(|file| file.take(limit).read_to_string(&mut text))
        };
        read.map_err(|error| Problem::new(format!("cannot read {}", self.name())).caused_by(error))?;
        if text.len() > most {
            return Err(Problem::new(format!("{} is longer than {most} bytes", self.name())));
        }
        Ok(text)
    }
}
