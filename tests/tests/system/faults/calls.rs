//! A handler whose calls note how many of them are in progress.

use std::path::PathBuf;

use crate::harness::text;

/// A file for each call in progress, named by its process, and a line for each call with the number of files of living
/// processes that it saw once it had its own: of calls that overlap the last one sees all. A call that is killed leaves its
/// file behind, and lives no more.
pub(crate) struct CallLog {
    directory: PathBuf,
}

impl CallLog {
    pub(crate) fn create(directory: PathBuf) -> Self {
        std::fs::create_dir_all(directory.join("running")).unwrap();
        Self { directory }
    }

    /// The section of worker.toml for the handler `watched`.
    pub(crate) fn handler(&self) -> String {
        let script = "cd \"$0/running\" && : >$$ && n=0; \
                      for f in *; do if kill -0 $f 2>/dev/null; then n=$((n + 1)); else rm -f $f; fi; done; \
                      echo $n >>../seen; sleep 0.05; rm $$; exec cat";
        format!(
            "[handlers.watched]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''', \"{}\"]\n",
            text(&self.directory)
        )
    }

    /// Makes sure that never more than `most` calls were in progress at once, and that many at some time.
    #[track_caller]
    pub(crate) fn expect_at_most(&self, most: usize) {
        let seen = std::fs::read_to_string(self.directory.join("seen")).unwrap();
        let seen = seen.lines().map(|line| line.parse::<usize>().unwrap()).max();
        assert_eq!(seen, Some(most), "calls at once");
    }
}
