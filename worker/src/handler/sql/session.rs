//! A connection to any of the databases: the same few operations over each driver.

use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, MySql, Postgres, Row, SqlSafeStr, Sqlite};

use super::dialect::Dialect;
use super::value::SqlValue;

/// How long SQLite waits for another process's transaction.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What every connection to PostgreSQL is told. An outcome that is reported is counted for ever, so it must be durable.
const POSTGRES_SET_UP: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The same for MySQL: values that do not fit are errors, not cut; rows that are not touched are not locked.
const MYSQL_SET_UP: [&str; 2] = [
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO')",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// A connection.
pub(super) enum Session {
    Sqlite(SqliteConnection),
    Postgres(PgConnection, RowFunction),
    MySql(MySqlConnection),
}

/// A function of a connection to PostgreSQL that writes rows and finds those that are refused; see [`row_function`](super::statement::row_function).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowFunction {
    /// There is none, or one for other rows.
    Other,
    /// It was made by this text.
    Made(String),
    /// The user may not make one.
    Refused,
}

impl Session {
    /// Connects, and sets the connection up.
    pub(super) async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        match Dialect::of_url(url) {
            Some(Dialect::Sqlite) => connect_sqlite(url).await.map(Self::Sqlite),
            Some(Dialect::Postgres) => {
                connect_postgres(url).await.map(|connection| Self::Postgres(connection, RowFunction::Other))
            }
            Some(Dialect::MySql) => connect_mysql(url).await.map(Self::MySql),
            None => Err(sqlx::Error::Configuration("the url names no database that is known".into())),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(..) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs a text without values.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(drop),
            Self::Postgres(connection, _) => connection.execute(sql).await.map(drop),
            // MySQL's protocol prepares no transactions and savepoints.
            Self::MySql(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop),
        }
    }

    /// Asks the database whether it takes a statement.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
        match self {
            Self::Sqlite(connection) => connection.prepare(sql).await.map(drop),
            Self::Postgres(connection, _) => connection.prepare(sql).await.map(drop),
            Self::MySql(connection) => connection.prepare(sql).await.map(drop),
        }
    }

    /// Runs a statement with single values; returns how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(match self {
            Self::Sqlite(c) => bind_sqlite(sqlx::query(sql), values).execute(c).await?.rows_affected(),
            Self::Postgres(c, _) => bind_postgres(sqlx::query(sql), values).execute(c).await?.rows_affected(),
            Self::MySql(c) => bind_mysql(sqlx::query(sql), values).execute(c).await?.rows_affected(),
        })
    }

    /// Runs a statement with rows of values: PostgreSQL gets an array for each column, the others one value after another.
    pub(super) async fn execute_rows(
        &mut self,
        sql: &str,
        rows: &[&[SqlValue]],
        columns: usize,
    ) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                let query = rows.iter().fold(sqlx::query(sql), |query, row| bind_sqlite(query, row));
                query.execute(connection).await.map(drop)
            }
            Self::MySql(connection) => {
                let query = rows.iter().fold(sqlx::query(sql), |query, row| bind_mysql(query, row));
                query.execute(connection).await.map(drop)
            }
            Self::Postgres(connection, _) => {
                bind_arrays(sqlx::query(sql), rows, columns).execute(connection).await.map(drop)
            }
        }
    }

    /// All rows of a query whose columns are texts.
    pub(super) async fn fetch_rows(
        &mut self,
        sql: &str,
        values: &[SqlValue],
    ) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                let rows = bind_sqlite(sqlx::query(sql), values).fetch_all(connection).await?;
                rows.iter().map(|row: &SqliteRow| (0..row.len()).map(|n| row.try_get(n)).collect()).collect()
            }
            Self::Postgres(connection, _) => {
                let rows = bind_postgres(sqlx::query(sql), values).fetch_all(connection).await?;
                rows.iter().map(|row: &PgRow| (0..row.len()).map(|n| row.try_get(n)).collect()).collect()
            }
            Self::MySql(connection) => {
                let rows = bind_mysql(sqlx::query(sql), values).fetch_all(connection).await?;
                rows.iter().map(|row: &MySqlRow| (0..row.len()).map(|n| row.try_get(n)).collect()).collect()
            }
        }
    }

    /// Makes sure that PostgreSQL has the function that `sql` makes, outside of any transaction; whether it does.
    pub(super) async fn make_row_function(&mut self, sql: String) -> Result<bool, sqlx::Error> {
        let Self::Postgres(connection, function) = self else { return Ok(false) };
        match function {
            RowFunction::Made(made) if *made == sql => return Ok(true),
            RowFunction::Refused => return Ok(false),
            RowFunction::Made(_) | RowFunction::Other => {}
        }
        match connection.execute(AssertSqlSafe(sql.clone())).await {
            Ok(_) => *function = RowFunction::Made(sql),
            Err(error) if error.as_database_error().is_some() => *function = RowFunction::Refused,
            Err(error) => return Err(error),
        }
        Ok(*function != RowFunction::Refused)
    }

    /// Whether the function is there, for the rows that it was made for last.
    pub(super) fn has_row_function(&self) -> bool {
        matches!(self, Self::Postgres(_, RowFunction::Made(_)))
    }

    /// PostgreSQL alone: all rows of a query whose columns are texts, with an array for each column of `rows`.
    pub(super) async fn fetch_for_rows(
        &mut self,
        sql: &str,
        rows: &[&[SqlValue]],
        columns: usize,
    ) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
        let Self::Postgres(connection, _) = self else { return Ok(Vec::new()) };
        let query = bind_arrays(sqlx::query(AssertSqlSafe(sql.to_owned())), rows, columns);
        let rows = query.fetch_all(connection).await?;
        rows.iter().map(|row: &PgRow| (0..row.len()).map(|n| row.try_get(n)).collect()).collect()
    }

    /// What the server calls this connection, to cancel what it does. None for SQLite.
    pub(super) async fn server_id(&mut self) -> Result<Option<String>, sqlx::Error> {
        let sql = match self {
            Self::Sqlite(_) => return Ok(None),
            Self::Postgres(..) => "SELECT pg_backend_pid()::text",
            Self::MySql(_) => "SELECT CAST(connection_id() AS CHAR)",
        };
        let rows = self.fetch_rows(sql, &[]).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Ends what another connection does at the moment; the connection itself stays.
    pub(super) async fn cancel_other(&mut self, server_id: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(..) => {
                let id = [SqlValue::Text(server_id.to_owned())];
                self.execute("SELECT pg_cancel_backend($1::text::int)", &id).await.map(drop)
            }
            Self::MySql(_) => {
                let digits: String = server_id.chars().filter(char::is_ascii_digit).collect();
                self.run(&format!("KILL QUERY {digits}")).await
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection, _) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
        }
    }
}

/// PostgreSQL alone: single values, then an array for each column of two lists of rows; returns the one number that it gives.
pub(super) async fn fetch_count(
    connection: &mut PgConnection,
    sql: String,
    values: &[SqlValue],
    lists: [(&[&[SqlValue]], usize); 2],
) -> Result<i64, sqlx::Error> {
    let query = bind_postgres(sqlx::query(AssertSqlSafe(sql)), values);
    let query = lists.into_iter().fold(query, |query, (rows, columns)| bind_arrays(query, rows, columns));
    query.fetch_one(connection).await?.try_get(0)
}

async fn connect_sqlite(url: &str) -> Result<SqliteConnection, sqlx::Error> {
    // FULL: an outcome is counted for ever once it is reported, so it must survive a loss of power here too.
    let options = SqliteConnectOptions::from_str(url)?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .disable_statement_logging();
    options.connect().await
}

async fn connect_postgres(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options =
        PgConnectOptions::from_str(url)?.application_name("warifu-worker").disable_statement_logging();
    let mut connection = options.connect().await?;
    connection.execute(POSTGRES_SET_UP).await?;
    Ok(connection)
}

async fn connect_mysql(url: &str) -> Result<MySqlConnection, sqlx::Error> {
    let url = url.replacen("mariadb:", "mysql:", 1);
    let options = MySqlConnectOptions::from_str(&url)?.charset("utf8mb4").disable_statement_logging();
    let mut connection = options.connect().await?;
    for sql in MYSQL_SET_UP {
        connection.execute(sqlx::raw_sql(sql)).await?;
    }
    Ok(connection)
}

fn bind_sqlite<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    values: &[SqlValue],
) -> Query<'q, Sqlite, SqliteArguments> {
    values.iter().fold(query, |query, value| match value {
        SqlValue::Null => query.bind(None::<i64>),
        SqlValue::Integer(value) => query.bind(*value),
        SqlValue::Real(value) => query.bind(*value),
        SqlValue::Text(value) => query.bind(value.clone()),
        SqlValue::Blob(value) => query.bind(value.clone()),
    })
}

fn bind_mysql<'q>(
    query: Query<'q, MySql, MySqlArguments>,
    values: &[SqlValue],
) -> Query<'q, MySql, MySqlArguments> {
    values.iter().fold(query, |query, value| match value {
        SqlValue::Null => query.bind(None::<String>),
        SqlValue::Integer(value) => query.bind(*value),
        SqlValue::Real(value) => query.bind(*value),
        SqlValue::Text(value) => query.bind(value.as_str()),
        SqlValue::Blob(value) => query.bind(value.as_slice()),
    })
}

fn bind_postgres<'q>(
    query: Query<'q, Postgres, PgArguments>,
    values: &[SqlValue],
) -> Query<'q, Postgres, PgArguments> {
    values.iter().fold(query, |query, value| query.bind(postgres_text(value)))
}

fn bind_arrays<'q>(
    query: Query<'q, Postgres, PgArguments>,
    rows: &[&[SqlValue]],
    columns: usize,
) -> Query<'q, Postgres, PgArguments> {
    (0..columns).fold(query, |query, column| {
        let array: Vec<Option<String>> = rows.iter().map(|row| postgres_text(&row[column])).collect();
        query.bind(array)
    })
}

/// As PostgreSQL reads it back from text, without loss.
fn postgres_text(value: &SqlValue) -> Option<String> {
    match value {
        SqlValue::Null => None,
        SqlValue::Integer(value) => Some(value.to_string()),
        SqlValue::Real(value) => Some(value.to_string()),
        SqlValue::Text(text) => Some(text.clone()),
        SqlValue::Blob(bytes) => {
            let mut text = String::with_capacity(2 + 2 * bytes.len());
            text.push_str("\\x");
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    text.extend(char::from_digit(u32::from(digit), 16));
                }
            }
            Some(text)
        }
    }
}
