//! The database of the quick start: SQLite, with the table that the users go into.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};

/// The handler's name.
pub(super) const HANDLER: &str = "user-stats";

const FILE: &str = "users.db";
/// The check is what makes a negative count a rejected row.
const SCHEMA: &str = "CREATE TABLE user_stats (
    user_id TEXT PRIMARY KEY,
    login_count INTEGER NOT NULL CHECK (login_count >= 0),
    post_count INTEGER NOT NULL
)";

/// The database file.
pub(super) struct Database {
    file: PathBuf,
}

impl Database {
    /// Creates the file in `directory`, with an empty table.
    pub(super) async fn create(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let uncreated = || format!("cannot create the database {}", file.display());
        let mut connection = options.connect().await.with_context(uncreated)?;
        sqlx::query(SCHEMA).execute(&mut connection).await.with_context(uncreated)?;
        Ok(Self { file })
    }

    /// Opens a connection of its own.
    pub(super) async fn open(&self) -> anyhow::Result<SqliteConnection> {
        let options = SqliteConnectOptions::new().filename(&self.file);
        options.connect().await.with_context(|| format!("cannot open the database {}", self.file.display()))
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the worker.toml that names the handler, so that `warifu dev` can serve it later.
    pub(super) fn write_worker_config(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let path = directory.join("worker.toml");
        let written = std::fs::write(&path, self.worker_config());
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn worker_config(&self) -> String {
        let url = toml::Value::String(format!("sqlite://{}", self.file.display()));
        let [user_id, login_count, post_count] = super::users::HEADER;
        format!(
            r#"[handlers.{HANDLER}]
type = "sql"
url = {url}
upsert = {{ table = "user_stats", key = ["user_id"] }}
audit = {{ table = "audit_log" }}

[handlers.{HANDLER}.columns]
user_id = {{ from = "{user_id}" }}
login_count = {{ from = "{login_count}", type = "int8" }}
post_count = {{ from = "{post_count}", type = "int8" }}
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_file_maps_the_header_to_the_table() {
        let database = Database { file: PathBuf::from("/tmp/a \"b\"/users.db") };
        let config: toml::Table = toml::from_str(&database.worker_config()).unwrap();
        let handler = &config["handlers"][HANDLER];
        assert_eq!(handler["url"].as_str(), Some("sqlite:///tmp/a \"b\"/users.db"));
        assert_eq!(handler["columns"]["post_count"]["from"].as_str(), Some("投稿回数"));
    }
}
