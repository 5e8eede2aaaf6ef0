//! A handler that notes when its calls begin and end, and how many were in progress at once.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use crate::harness::text;

/// Lines `start PID CALL`, `end PID CALL`, `dead PID`; each is one write to a file opened for appending, so that their order is the
/// order in which things happened. PID is the worker's.
pub(crate) struct CallLog {
    path: PathBuf,
}

impl CallLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The section of worker.toml for the handler `watched`.
    pub(crate) fn handler(&self) -> String {
        format!(
            "[handlers.watched]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \
             'echo \"start $PPID $$\" >>\"{0}\"; sleep 0.05; echo \"end $PPID $$\" >>\"{0}\"; cat']\n",
            text(&self.path)
        )
    }

    /// Notes that a worker is gone: its calls are not in progress any more, whatever their processes do.
    pub(crate) fn note_death(&self, worker: u32) {
        let mut log = std::fs::File::options().create(true).append(true).open(&self.path).unwrap();
        log.write_all(format!("dead {worker}\n").as_bytes()).unwrap();
    }

    /// Makes sure that never more than `most` calls were in progress at once, and that many at some time.
    #[track_caller]
    pub(crate) fn expect_at_most(&self, most: usize) {
        let log = std::fs::read_to_string(&self.path).unwrap();
        let (mut running, mut dead) = (BTreeSet::new(), BTreeSet::new());
        let mut seen = 0;
        for line in log.lines() {
            let mut words = line.split(' ');
            let (what, worker, call) = (words.next().unwrap(), words.next().unwrap(), words.next());
            match (what, call) {
                ("start", Some(call)) if !dead.contains(worker) => drop(running.insert((worker, call))),
                ("end", Some(call)) => drop(running.remove(&(worker, call))),
                ("dead", None) => {
                    dead.insert(worker);
                    running.retain(|(of, _)| *of != worker);
                }
                ("start", Some(_)) => {}
                _ => panic!("a torn line: {line}"),
            }
            seen = seen.max(running.len());
            assert!(seen <= most, "{seen} calls at once at {line}");
        }
        assert_eq!(seen, most, "the limit was never reached");
    }
}
