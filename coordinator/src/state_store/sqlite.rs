//! Records in SQLite: the state store of one process.
//!
//! One task owns the one connection, so a caller that goes away never leaves a transaction half done. WAL with
//! `synchronous = FULL`: a commit that returned is on disk. An exclusive lock on a file beside the database keeps every other
//! process out for as long as this one lives.
//!
//! **Invariant:** an error before COMMIT is sent means that nothing was written; one from COMMIT itself means that nobody knows.
//! After either the connection is closed, and the next call begins with what is on disk.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row as _};
use tokio::sync::{mpsc, oneshot};
use warifu_model::LeaderTerm;
use warifu_scheduler::CommitId;

use super::{Campaign, CommitError, KeyRange, Member, Row, StateStore, StoreError, Write};

/// The database's name in a data directory.
const DATABASE_FILE: &str = "warifu.db";

/// Version of the tables themselves; records carry their own.
const FORMAT: i64 = 1;

/// How long a foreign process may hold the database (somebody looks at it with `sqlite3`) before we refuse.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls that may wait for the connection. One transaction is in flight at most; the rest are reads of API calls.
const QUEUED_REQUESTS: usize = 64;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        term INTEGER NOT NULL,
        commit_id INTEGER
    );
    CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL);
";

/// The state store of one process, in a file of its data directory.
#[derive(Debug)]
pub struct SqliteStore {
    requests: mpsc::Sender<Request>,
    #[cfg(test)]
    faults: std::sync::Arc<std::sync::Mutex<std::collections::VecDeque<Fault>>>,
}

/// What a test lets go wrong in the next transactions.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error before COMMIT.
    BeforeCommit,
    /// COMMIT succeeds and its answer is lost.
    AnswerLost,
    /// The process loses the connection just before COMMIT arrives, and cannot tell.
    CommitLost,
}

impl SqliteStore {
    /// Opens, or creates, the store of a data directory, and keeps other processes out.
    ///
    /// Must be called within a Tokio runtime: the connection's task is spawned there.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_file(&directory.join(DATABASE_FILE)).await
    }

    /// The same with the database in `file`.
    pub async fn open_file(file: &Path) -> Result<Self, StoreError> {
        let lock = lock_beside(file)?;
        let (requests, queue) = mpsc::channel(QUEUED_REQUESTS);
        let mut owner = Owner {
            database: file.to_owned(),
            connection: None,
            _lock: lock,
            #[cfg(test)]
            faults: Default::default(),
        };
        owner.connection().await?;
        #[cfg(test)]
        let faults = owner.faults.clone();
        tokio::spawn(owner.serve(queue));
        Ok(Self {
            requests,
            #[cfg(test)]
            faults,
        })
    }

    #[cfg(test)]
    pub(super) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Sends a request to the connection's task and awaits its answer.
    ///
    /// `lost` says what it means that the task ended instead of answering.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request, lost: impl Fn() -> T) -> T {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(request(answer)).await.is_err() {
            return lost();
        }
        answered.await.unwrap_or_else(|_| lost())
    }
}

/// What is asked of the connection's task.
#[derive(Debug)]
enum Request {
    BeginTerm(oneshot::Sender<Result<LeaderTerm, StoreError>>),
    Write(LeaderTerm, CommitId, Vec<Write>, oneshot::Sender<Result<(), CommitError>>),
    ReadBack(LeaderTerm, CommitId, oneshot::Sender<Result<bool, StoreError>>),
    Scan(KeyRange, usize, oneshot::Sender<Result<Vec<Row>, StoreError>>),
    Last(KeyRange, oneshot::Sender<Result<Option<Row>, StoreError>>),
    Size(oneshot::Sender<Result<u64, StoreError>>),
}

#[async_trait]
impl StateStore for SqliteStore {
    /// The lock says that no other process has it: whoever led before has stopped.
    async fn campaign(&self) -> Result<Campaign, StoreError> {
        let term = self.ask(Request::BeginTerm, || Err(task_ended())).await?;
        Ok(Campaign::Won { term, handed_over: true })
    }

    async fn resign(&self, _term: LeaderTerm) -> Result<(), StoreError> {
        Ok(())
    }

    async fn withdraw(&self, _term: LeaderTerm) -> Result<(), StoreError> {
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    async fn write(&self, term: LeaderTerm, commit: CommitId, writes: Vec<Write>) -> Result<(), CommitError> {
        let lost = || Err(CommitError::Unknown { source: task_ended() });
        self.ask(|answer| Request::Write(term, commit, writes, answer), lost).await
    }

    async fn read_back(&self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        self.ask(|answer| Request::ReadBack(term, commit, answer), || Err(task_ended())).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.ask(|answer| Request::Scan(range.clone(), limit, answer), || Err(task_ended())).await
    }

    async fn last(&self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        self.ask(|answer| Request::Last(range.clone(), answer), || Err(task_ended())).await
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.ask(Request::Size, || Err(task_ended())).await
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }
}

/// The task's state: it alone touches the connection.
struct Owner {
    database: PathBuf,
    /// Absent after an error: whatever it was doing is over once it is closed.
    connection: Option<SqliteConnection>,
    _lock: File,
    #[cfg(test)]
    faults: std::sync::Arc<std::sync::Mutex<std::collections::VecDeque<Fault>>>,
}

impl Owner {
    async fn serve(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.recv().await {
            // A caller that went away does not want the answer; what was asked is done nevertheless.
            match request {
                Request::BeginTerm(answer) => drop(answer.send(self.begin_term().await)),
                Request::Write(term, commit, writes, answer) => {
                    drop(answer.send(self.write(term, commit, writes).await));
                }
                Request::ReadBack(term, commit, answer) => {
                    drop(answer.send(self.read_back(term, commit).await));
                }
                Request::Scan(range, limit, answer) => drop(answer.send(self.scan(&range, limit).await)),
                Request::Last(range, answer) => drop(answer.send(self.last(&range).await)),
                Request::Size(answer) => drop(answer.send(self.size().await)),
            }
        }
        self.close().await;
    }

    async fn begin_term(&mut self) -> Result<LeaderTerm, StoreError> {
        let term = match self.try_begin_term().await {
            Ok(term) => term,
            Err(source) => {
                self.close().await;
                return Err(unavailable("take the lead in")(source));
            }
        };
        Ok(LeaderTerm(term as u64))
    }

    async fn try_begin_term(&mut self) -> Result<i64, sqlx::Error> {
        let connection = self.connect().await?;
        let term = sqlx::query("UPDATE meta SET term = term + 1, commit_id = NULL RETURNING term")
            .fetch_one(connection)
            .await?;
        term.try_get(0)
    }

    async fn write(
        &mut self,
        term: LeaderTerm,
        commit: CommitId,
        writes: Vec<Write>,
    ) -> Result<(), CommitError> {
        match self.prepare_transaction(term, commit, writes).await {
            Ok(true) => self.commit_transaction().await,
            Ok(false) => {
                self.close().await;
                Err(CommitError::Deposed { term })
            }
            Err(source) => {
                self.close().await;
                Err(CommitError::Refused { source: unavailable("write to")(source) })
            }
        }
    }

    /// Everything of a transaction but its COMMIT. `false`: another term leads.
    async fn prepare_transaction(
        &mut self,
        term: LeaderTerm,
        commit: CommitId,
        writes: Vec<Write>,
    ) -> Result<bool, sqlx::Error> {
        let connection = self.connect().await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let guard = sqlx::query("UPDATE meta SET commit_id = ? WHERE term = ?")
            .bind(commit.0 as i64)
            .bind(term.0 as i64)
            .execute(&mut *connection)
            .await?;
        if guard.rows_affected() == 0 {
            return Ok(false);
        }
        for write in writes {
            apply(connection, write).await?;
        }
        #[cfg(test)]
        if self.take_fault(Fault::BeforeCommit) {
            return Err(sqlx::Error::WorkerCrashed);
        }
        Ok(true)
    }

    async fn commit_transaction(&mut self) -> Result<(), CommitError> {
        let mut result = self.send_commit().await;
        #[cfg(test)]
        if self.take_fault(Fault::AnswerLost) {
            result = Err(sqlx::Error::WorkerCrashed);
        }
        match result.as_mut() {
            Ok(()) => Ok(()),
            Err(_) => {
                self.close().await;
                let source = result.expect_err("it is an error");
                Err(CommitError::Unknown { source: unavailable("commit to")(source) })
            }
        }
    }

    async fn send_commit(&mut self) -> Result<(), sqlx::Error> {
        #[cfg(test)]
        if self.take_fault(Fault::CommitLost) {
            return Err(sqlx::Error::WorkerCrashed);
        }
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        sqlx::query("COMMIT").execute(connection).await?;
        Ok(())
    }

    /// Reads what was written last, in a transaction that writes: only a store that takes writes again gives an answer that lasts.
    async fn read_back(&mut self, term: LeaderTerm, commit: CommitId) -> Result<bool, StoreError> {
        match self.try_read_back(commit).await {
            Ok((leading, written)) if leading == term.0 as i64 => Ok(written),
            Ok((leading, _)) => Err(StoreError::Unavailable {
                action: "read back from",
                source: format!("term {leading} leads instead of {term}").into(),
            }),
            Err(source) => {
                self.close().await;
                Err(unavailable("read back from")(source))
            }
        }
    }

    async fn try_read_back(&mut self, commit: CommitId) -> Result<(i64, bool), sqlx::Error> {
        let connection = self.connect().await?;
        let row = sqlx::query("UPDATE meta SET format = format RETURNING term, commit_id")
            .fetch_one(connection)
            .await?;
        let last: Option<i64> = row.try_get(1)?;
        Ok((row.try_get(0)?, last == Some(commit.0 as i64)))
    }

    async fn scan(&mut self, range: &KeyRange, limit: usize) -> Result<Vec<Row>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = "SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key LIMIT ?";
        let connection = self.connection().await?;
        let rows =
            sqlx::query(query).bind(&range.start).bind(&range.end).bind(limit).fetch_all(connection).await;
        let rows = rows.and_then(|rows| rows.iter().map(key_and_value).collect());
        self.checked(rows).await
    }

    async fn last(&mut self, range: &KeyRange) -> Result<Option<Row>, StoreError> {
        let query = "SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1";
        let connection = self.connection().await?;
        let row = sqlx::query(query).bind(&range.start).bind(&range.end).fetch_optional(connection).await;
        let row = row.and_then(|row| row.as_ref().map(key_and_value).transpose());
        self.checked(row).await
    }

    async fn size(&mut self) -> Result<u64, StoreError> {
        let query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
        let connection = self.connection().await?;
        let size = sqlx::query(query).fetch_one(connection).await.and_then(|row| row.try_get::<i64, _>(0));
        self.checked(size).await.map(|size| size as u64)
    }

    /// Closes the connection after a failed read.
    async fn checked<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if result.is_err() {
            self.close().await;
        }
        result.map_err(unavailable("read"))
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connect().await.map_err(unavailable("open"))
    }

    async fn connect(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(open_database(&self.database).await?);
        }
        self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Ends whatever the connection was doing. An open transaction is rolled back by it.
    async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the state store failed, it is opened again at the next call");
        }
    }

    #[cfg(test)]
    fn take_fault(&self, fault: Fault) -> bool {
        let mut faults = self.faults.lock().unwrap();
        faults.front() == Some(&fault) && faults.pop_front().is_some()
    }
}

async fn open_database(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    sqlx::query("INSERT OR IGNORE INTO meta (id, format, term) VALUES (1, ?, 0)")
        .bind(FORMAT)
        .execute(&mut connection)
        .await?;
    let format: i64 = sqlx::query("SELECT format FROM meta").fetch_one(&mut connection).await?.try_get(0)?;
    if format != FORMAT {
        let reason = format!("its tables have format {format}, this process knows {FORMAT} only");
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    Ok(connection)
}

async fn apply(connection: &mut SqliteConnection, write: Write) -> Result<(), sqlx::Error> {
    match write {
        Write::Put { key, value } => {
            let query = "INSERT INTO kv (key, value) VALUES (?, ?)
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            sqlx::query(query).bind(key).bind(value).execute(connection).await?;
        }
        Write::Remove(range) => {
            let query = "DELETE FROM kv WHERE key >= ? AND key < ?";
            sqlx::query(query).bind(range.start).bind(range.end).execute(connection).await?;
        }
    }
    Ok(())
}

fn key_and_value(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Creates the file's directory if need be, and locks `FILE.lock` for as long as it is open.
fn lock_beside(file: &Path) -> Result<File, StoreError> {
    let unusable = |source| StoreError::File { path: file.to_owned(), source };
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).map_err(unusable)?;
    }
    let mut lock_file = file.as_os_str().to_owned();
    lock_file.push(".lock");
    let lock = File::options().create(true).truncate(false).write(true).open(lock_file).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: file.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn unavailable(action: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Unavailable { action, source: Box::new(source) }
}

fn task_ended() -> StoreError {
    StoreError::Unavailable { action: "reach", source: "its task has ended".into() }
}
