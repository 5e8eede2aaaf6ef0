//! The handler against real SQLite files.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use tempfile::TempDir;
use warifu_common::model::error_name;

use super::test_support::{call, configured, failed, handler_for};
use super::*;
use crate::handler::BatchIdentity;
use crate::testing::{call_in, identity};

struct Database {
    directory: TempDir,
}

impl Database {
    async fn with(sql: &str) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        database.execute(sql).await;
        database
    }

    fn url(&self) -> String {
        format!("sqlite://{}?mode=rwc", self.directory.path().join("t.db").display())
    }

    async fn execute(&self, sql: &str) {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// All rows as text, columns joined by `|`.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(format!("SELECT concat_ws('|', {sql}")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        rows.into_iter().map(|row| row.get(0)).collect()
    }

    fn handler(&self, toml: &str) -> Sql {
        handler_for(&self.url(), toml)
    }
}

const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (length(name) < 9), logins INTEGER)";

const UPSERT: &str = r#"
    upsert = { table = "users", key = ["id"] }
    [columns]
    id = { from = "uid", type = "int8" }
    name = { from = "name" }
    logins = { from = "n", type = "int8", on_conflict = "add" }
"#;

#[tokio::test]
async fn a_repeat_of_a_call_touches_no_row_and_answers_the_same() {
    let database = Database::with(USERS).await;
    let handler = database.handler(UPSERT);
    let csv = "uid,name,n\n1,a,5\nx,b,1\n2,much too long,1\n3,c,7\n";
    let first = call(&handler, csv, identity(0, 0)).await;
    assert_eq!(failed(&first), [(1, "Sql.22P02"), (2, "Sql.23514")]);
    let again = call(&handler, csv, BatchIdentity { attempt: 2, ..identity(0, 0) }).await;
    assert_eq!(again, first);
    // Another process knows it too.
    assert_eq!(call(&database.handler(UPSERT), csv, identity(0, 0)).await, first);
    assert_eq!(database.rows("id, logins) FROM users ORDER BY id").await, ["1|5", "3|7"]);
    // Another round is another call.
    call(&handler, "uid,name,n\n1,a,5\n", identity(0, 1)).await;
    assert_eq!(database.rows("id, logins) FROM users ORDER BY id").await, ["1|10", "3|7"]);
}

#[tokio::test]
async fn refused_rows_fail_alone_wherever_they_stand() {
    let database = Database::with(USERS).await;
    let handler = database.handler(
        "insert = { table = 'users' }\n[columns]\nid = { from = 'uid', type = 'int8' }\nname = { from = 'name', empty = 'null' }\n",
    );
    let mut csv = "uid,name\n".to_owned();
    for id in 0..1200 {
        let name = match id {
            0 | 599 | 1199 => "",
            700 => "much too long",
            _ => "ok",
        };
        csv += &format!("{},{name}\n", if id == 601 { 600 } else { id });
    }
    let answer = call(&handler, &csv, identity(0, 0)).await;
    let expected =
        [(0, "Sql.23502"), (599, "Sql.23502"), (601, "Sql.23505"), (700, "Sql.23514"), (1199, "Sql.23502")];
    assert_eq!(failed(&answer), expected);
    assert_eq!(database.rows("count(*)) FROM users").await, ["1195"]);
}

#[tokio::test]
async fn equal_keys_in_a_batch_act_in_the_order_of_their_index() {
    let database = Database::with(USERS).await;
    let handler = database.handler(UPSERT);
    let answer = call(&handler, "uid,name,n\n1,a,1\n2,b,1\n1,c,2\n1,d,\n", identity(0, 0)).await;
    assert_eq!(answer, HandlerAnswer::Succeeded);
    assert_eq!(database.rows("id, name, logins) FROM users ORDER BY id").await, ["1|d|3", "2|b|1"]);
}

#[tokio::test]
async fn each_way_to_meet_an_existing_key_does_what_it_says() {
    let database = Database::with(
        "CREATE TABLE t (k TEXT PRIMARY KEY, r, e, a, g, l, c); INSERT INTO t VALUES ('k',1,1,1,5,5,5)",
    )
    .await;
    let column =
        |name: &str, way: &str| format!("{name} = {{ from = 'v', type = 'int8', on_conflict = '{way}' }}\n");
    let ways =
        [("r", "replace"), ("e", "keep"), ("a", "add"), ("g", "greatest"), ("l", "least"), ("c", "coalesce")];
    let columns: String = ways.iter().map(|(name, way)| column(name, way)).collect();
    let handler = database.handler(&format!(
        "upsert = {{ table = 't', key = ['k'] }}\n[columns]\nk = {{ value = 'k' }}\n{columns}"
    ));
    call(&handler, "x,v\n-,3\n", identity(0, 0)).await;
    assert_eq!(database.rows("r, e, a, g, l, c) FROM t").await, ["3|1|4|5|3|3"]);
    call(&handler, "x,v\n-,\n", identity(1, 0)).await;
    assert_eq!(database.rows("coalesce(r, 'NULL'), e, a, g, l, c) FROM t").await, ["NULL|1|4|5|3|3"]);
}

#[tokio::test]
async fn every_item_leaves_an_audit_row_in_the_same_transaction() {
    let database = Database::with(USERS).await;
    let handler = database.handler(&format!("audit = {{ table = 'audit log' }}\n{UPSERT}"));
    call(&handler, "uid,name,n\n1,a,1\n2,much too long,1\n", identity(7, 0)).await;
    call(&handler, "uid,name,n\n1,a,1\n2,much too long,1\n", identity(7, 0)).await;
    let sql = "item_index, round, batch_number, status, coalesce(error_type, '-'), item_key, worker) FROM \"audit log\" ORDER BY item_index";
    assert_eq!(
        database.rows(sql).await,
        ["700|0|7|SUCCEEDED|-|1|worker-1", "701|0|7|FAILED|Sql.23514|2|worker-1"]
    );
}

#[tokio::test]
async fn columns_go_by_the_header_and_the_catalogue_if_none_are_configured() {
    let database = Database::with(USERS).await;
    let handler = database.handler("upsert = { table = 'users', key = ['id'] }");
    let answer = call(&handler, "logins,id,name\n 7 ,1,a\nx,2,b\n", identity(0, 0)).await;
    assert_eq!(failed(&answer), [(1, "Sql.22P02")]);
    assert_eq!(database.rows("id, name, logins) FROM users").await, ["1|a|7"]);
    let answer = call(&handler, "id,nick\n1,a\n", identity(1, 0)).await;
    let HandlerAnswer::Failed(failure) = answer else { panic!("{answer:?}") };
    assert!(
        failure.cause.contains("no column \"nick\"; it has \"id\", \"logins\", \"name\""),
        "{}",
        failure.cause
    );
}

#[tokio::test]
async fn a_field_that_no_item_has_ends_the_run_and_names_those_that_exist() {
    let database = Database::with(USERS).await;
    let answer = call(&database.handler(UPSERT), "id,name,n\n1,a,1\n", identity(0, 0)).await;
    let HandlerAnswer::RunFailed(fault) = answer else { panic!("{answer:?}") };
    assert_eq!(fault.error, error_name::COLUMN_MISSING);
    assert_eq!(fault.cause, r#"items have no field "uid"; they have "id", "name", "n""#);
}

#[tokio::test]
async fn columns_take_values_within_items_by_their_path() {
    let database = Database::with("CREATE TABLE t (id TEXT, n INTEGER, deep TEXT, d TEXT)").await;
    let handler = |deep: &str| {
        database.handler(&format!(
            "insert = {{ table = 't' }}\n[columns]\nid = {{ from = '$.user.id' }}\n\
             n = {{ from = '$.tags[1]', type = 'int8' }}\ndeep = {{ from = '{deep}' }}\n\
             d = {{ from = '$.no.no', default = 'D' }}\n"
        ))
    };
    let selecting = || {
        crate::testing::call_with(|spec| {
            spec.item_selector = serde_json::json!({
                "user": {"id.$": "$$.Map.Item.Value.a"}, "tags": ["x", 7, {"b.$": "$$.Map.Item.Value.b"}],
            })
            .as_object()
            .cloned();
        })
    };
    let answer = handler("$.tags[-1]").call(selecting(), CancellationToken::new()).await;
    assert_eq!(answer, HandlerAnswer::Succeeded);
    let rows = database.rows("id, n, deep, d) FROM t ORDER BY id").await;
    assert_eq!(rows, [r#"1|7|{"b":"x"}|D"#, r#"2|7|{"b":""}|D"#]);
    let answer = handler("$.tags[3]").call(selecting(), CancellationToken::new()).await;
    let HandlerAnswer::RunFailed(fault) = answer else { panic!("{answer:?}") };
    assert_eq!(fault.error, error_name::COLUMN_MISSING);
    assert_eq!(fault.cause, "$.tags[3] names nothing in any item of the batch");
}

#[tokio::test]
async fn context_defaults_and_null_values_fill_columns() {
    let database =
        Database::with("CREATE TABLE t (i INTEGER, b INTEGER, run TEXT, src TEXT, d TEXT, n TEXT)").await;
    let handler = database.handler(
        "insert = { table = 't' }\n[columns]\ni = { context = 'index' }\nb = { context = 'batchNumber' }\n\
         run = { context = 'mapRunId' }\nsrc = { context = 'source' }\nd = { from = 'missing', default = 'D' }\n\
         n = { from = 'v', null_values = ['-'] }\n",
    );
    assert_eq!(call(&handler, "v\n-\nx\n", identity(3, 0)).await, HandlerAnswer::Succeeded);
    let sql = "i, b, run, src, d, coalesce(n, 'NULL')) FROM t ORDER BY i";
    assert_eq!(
        database.rows(sql).await,
        ["300|3|run-1|s3://input/users.csv|D|NULL", "301|3|run-1|s3://input/users.csv|D|x"]
    );
}

#[tokio::test]
async fn dates_and_times_are_read_as_the_column_says() {
    let database = Database::with("CREATE TABLE t (i INTEGER, d TEXT, t TEXT)").await;
    let toml = |zone: &str| {
        format!(
            "insert = {{ table = 't' }}\n[columns]\ni = {{ context = 'index' }}\n\
             d = {{ from = 'd', type = 'date', format = '%d.%m.%Y' }}\n\
             t = {{ from = 't', type = 'timestamptz', time_zone = '{zone}' }}\n"
        )
    };
    let reason = configured(&database.url(), &toml("Asia/Nowhere")).err().unwrap();
    assert!(reason.contains("column \"t\"") && reason.contains("Asia/Nowhere"), "{reason}");
    let handler = database.handler(&toml("Asia/Tokyo"));
    let csv = "d,t\n29.02.2024,2024-01-01 08:30\n2024-02-29,2024-01-01\n30.02.2024,2024-01-01\n";
    let answer = call(&handler, csv, identity(0, 0)).await;
    assert_eq!(failed(&answer), [(1, "Sql.22007"), (2, "Sql.22008")]);
    assert_eq!(database.rows("d, t) FROM t").await, ["2024-02-29|2023-12-31 23:30:00+00:00"]);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_found_before_the_first_call() {
    let database = Database::with(USERS).await;
    let table = [
        ("insert = { table = 'other' }", "table \"other\" does not exist"),
        (
            "upsert = { table = 'users', key = ['name'] }\n[columns]\nname = { from = 'n' }",
            "PRIMARY KEY or UNIQUE",
        ),
        ("insert = { table = 'users' }\n[columns]\nnick = { from = 'n' }", "no column \"nick\""),
        ("insert = { table = 'users' }\ncreate_tables = false", "warifu_ledger"),
    ];
    for (toml, expected) in table {
        let reason = database.handler(toml).check().await.unwrap_err();
        assert!(reason.contains(expected), "{toml}: {reason}");
    }
}

#[tokio::test]
async fn calls_at_the_same_time_are_each_applied_once() {
    let database = Database::with(USERS).await;
    let handler = Arc::new(database.handler(UPSERT));
    let calls = (0..100).map(|batch| {
        let handler = Arc::clone(&handler);
        // Every call is made twice.
        async move { call(&handler, "uid,name,n\n1,a,1\n2,much too long,1\n", identity(batch / 2, 0)).await }
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(failed(&answer), [(1, "Sql.23514")]);
    }
    assert_eq!(database.rows("id, logins) FROM users").await, ["1|50"]);
    assert_eq!(database.rows("count(*)) FROM warifu_ledger").await, ["50"]);
}

#[tokio::test]
async fn a_call_that_is_cancelled_returns_at_once_and_can_be_repeated() {
    let database = Database::with(USERS).await;
    let handler = database.handler(UPSERT);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let answer = handler.call(call_in("uid,name,n\n1,a,1\n", identity(0, 0)), cancel).await;
    assert!(matches!(answer, HandlerAnswer::Failed(_) | HandlerAnswer::Succeeded), "{answer:?}");
    call(&handler, "uid,name,n\n1,a,1\n", identity(0, 0)).await;
    assert_eq!(database.rows("id, logins) FROM users").await, ["1|1"]);
}

#[tokio::test]
async fn an_update_changes_rows_that_are_there_and_no_others() {
    let database =
        Database::with(&format!("{USERS}; INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 1)")).await;
    let handler = database.handler(
        "update = { table = 'main.users', key = ['id'] }\n[columns]\nlogins = { from = 'n', type = 'int8' }\n\
         id = { from = 'uid', type = 'int8' }\n",
    );
    let answer = call(&handler, "uid,n\n2,7\n3,8\n2,9\n", identity(0, 0)).await;
    assert_eq!(answer, HandlerAnswer::Succeeded);
    assert_eq!(database.rows("id, name, logins) FROM users ORDER BY id").await, ["1|a|1", "2|b|9"]);
}
