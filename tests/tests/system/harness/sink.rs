//! A database that notes every write to it, so that a row that is written twice with the same values shows.

use std::ops::Range;
use std::path::PathBuf;

use super::fleet::sql_handler;
use super::{count, execute};

/// A SQLite database with the table `users`.
pub(crate) struct Sink {
    database: PathBuf,
}

impl Sink {
    /// A new one at `database`.
    pub(crate) fn create(database: PathBuf) -> Self {
        execute(
            &database,
            "PRAGMA journal_mode = WAL;
             CREATE TABLE users (user_id TEXT PRIMARY KEY, post_count INTEGER NOT NULL);
             CREATE TABLE effects (user_id TEXT NOT NULL);
             CREATE TRIGGER inserted AFTER INSERT ON users BEGIN INSERT INTO effects VALUES (new.user_id); END;
             CREATE TRIGGER updated AFTER UPDATE ON users BEGIN INSERT INTO effects VALUES (new.user_id); END;",
        );
        Self { database }
    }

    /// The section of worker.toml for the handler `users`.
    pub(crate) fn handler(&self) -> String {
        sql_handler(&self.database)
    }

    /// Writes so far.
    pub(crate) fn effects(&self) -> u64 {
        count(&self.database, "SELECT COUNT(*) FROM effects")
    }

    /// Makes sure that each of the first `rows` rows, as [`users_csv`] has them, was written once, with its own value, and
    /// audited once.
    #[track_caller]
    pub(crate) fn expect_each_once(&self, rows: u64) {
        for (query, expected) in [
            ("SELECT COUNT(*) FROM users", rows),
            ("SELECT COUNT(DISTINCT user_id) FROM effects", rows),
            ("SELECT COUNT(*) FROM effects", rows),
            ("SELECT SUM(post_count) FROM users", rows * (rows - 1) / 2),
            ("SELECT COUNT(*) FROM audit_log", rows),
        ] {
            assert_eq!(count(&self.database, query), expected, "{query}");
        }
    }
}

/// A file of users with these numbers; each number is also the count of posts.
pub(crate) fn users_csv(numbers: Range<u64>) -> String {
    let lines = numbers.map(|row| format!("U{row:07},{row},\"a note,\nof two lines\"\n"));
    ["user_id,post_count,note\n".to_owned()].into_iter().chain(lines).collect()
}
