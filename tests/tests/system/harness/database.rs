//! Databases that handlers write into, read with SQL of the test's own.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

/// The one number that a query gives.
#[track_caller]
pub(crate) fn count(database: &Path, query: &str) -> u64 {
    let query = AssertSqlSafe(query.to_owned());
    with_database(database, async |connection| {
        let row = sqlx::query(query).fetch_one(connection).await.unwrap();
        row.try_get::<i64, _>(0).unwrap().unsigned_abs()
    })
}

/// Runs statements.
pub(crate) fn execute(database: &Path, script: &str) {
    let script = AssertSqlSafe(script.to_owned());
    with_database(database, async |connection| {
        sqlx::raw_sql(script).execute(connection).await.unwrap();
    });
}

fn with_database<T>(database: &Path, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
        let options = options.busy_timeout(Duration::from_secs(30));
        work(&mut options.connect().await.unwrap()).await
    })
}
