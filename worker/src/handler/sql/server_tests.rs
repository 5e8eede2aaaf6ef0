//! The handler against real servers: PostgreSQL and MariaDB, each with the same stories.

use std::time::Duration;

use tokio::time::Instant;
use warifu_test_database::{DatabaseServer, ServerKind};

use super::test_support::{call, failed, handler_for};
use super::*;
use crate::handler::BatchIdentity;
use crate::testing::{call_in, identity};

const BOTH: [ServerKind; 2] = [ServerKind::Postgres, ServerKind::MariaDb];

fn handler(server: &DatabaseServer, toml: &str) -> Arc<Sql> {
    Arc::new(handler_for(&server.url(), toml))
}

const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL CHECK (name <> 'evil'), logins INTEGER)";

const UPSERT: &str = r#"
    upsert = { table = "users", key = ["id"] }
    [columns]
    id = { from = "uid", type = "int8" }
    name = { from = "name" }
    logins = { from = "n", type = "int8", on_conflict = "add" }
"#;

/// The users' ids and logins.
fn users(server: &DatabaseServer) -> Vec<String> {
    server.texts("SELECT concat(id, '|', coalesce(logins, -1)) FROM users ORDER BY id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_touches_no_row_and_answers_the_same() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let upsert = handler(&server, UPSERT);
        upsert.check().await.unwrap();
        let csv = "uid,name,n\n1,a,5\nx,b,1\n2,much too long,1\n4,evil,1\n3,c,7\n1,aa,2\n";
        let first = call(&upsert, csv, identity(0, 0)).await;
        let refused = match kind {
            ServerKind::Postgres => [(1, "Sql.22P02"), (2, "Sql.22001"), (3, "Sql.23514")],
            ServerKind::MariaDb => [(1, "Sql.22P02"), (2, "Sql.22001"), (3, "Sql.23514")],
        };
        assert_eq!(failed(&first), refused, "{kind:?}");
        let again = call(&upsert, csv, BatchIdentity { attempt: 2, ..identity(0, 0) }).await;
        assert_eq!(again, first, "{kind:?}");
        // Another process knows it too.
        assert_eq!(call(&handler(&server, UPSERT), csv, identity(0, 0)).await, first, "{kind:?}");
        assert_eq!(users(&server), ["1|7", "3|7"], "{kind:?}");
        // Another round is another call; a clean call, and its repeat.
        for _ in 0..2 {
            let clean = call(&upsert, "uid,name,n\n1,a,5\n", identity(0, 1)).await;
            assert_eq!(clean, HandlerAnswer::Succeeded, "{kind:?}");
        }
        assert_eq!(users(&server), ["1|12", "3|7"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_fail_alone_wherever_they_stand() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL)");
        // Nothing is typed, so the database itself finds what is no number.
        let toml = "insert = { table = 't' }\n[columns]\nid = { from = 'uid' }\nname = { from = 'name', empty = 'null' }\n";
        let insert = handler(&server, toml);
        let mut csv = "uid,name\n".to_owned();
        for id in 0..1200 {
            let name = match id {
                0 | 599 | 1199 => "",
                700 => "much too long",
                _ => "ok",
            };
            let id = match id {
                601 => "600".to_owned(),
                800 => "x1".to_owned(),
                id => id.to_string(),
            };
            csv += &format!("{id},{name}\n");
        }
        let answer = call(&insert, &csv, identity(0, 0)).await;
        let expected = match kind {
            ServerKind::Postgres => ["23502", "23502", "23505", "22001", "22P02", "23502"],
            ServerKind::MariaDb => ["23000", "23000", "23000", "22001", "22007", "23000"],
        };
        let expected = expected.map(|state| format!("Sql.{state}"));
        let expected: Vec<(usize, &str)> =
            [0, 599, 601, 700, 800, 1199].into_iter().zip(expected.iter().map(String::as_str)).collect();
        assert_eq!(failed(&answer), expected, "{kind:?}");
        assert_eq!(server.count("SELECT count(*) FROM t"), 1194, "{kind:?}");
        assert_eq!(failed(&call(&insert, &csv, identity(0, 0)).await), expected, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_meet_an_existing_key_does_what_it_says() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(
            "CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, r INTEGER, kept INTEGER, a INTEGER, g INTEGER, l INTEGER, c INTEGER)",
        );
        server.execute(
            "INSERT INTO t VALUES ('x', 1, 1, 1, 1, 1, 1), ('n', NULL, NULL, NULL, NULL, NULL, NULL)",
        );
        let columns = "[columns]\nk = { from = 'k' }\n\
            r = { from = 'v', type = 'int4' }\nkept = { from = 'v', type = 'int4', on_conflict = 'keep' }\n\
            a = { from = 'v', type = 'int4', on_conflict = 'add' }\ng = { from = 'v', type = 'int4', on_conflict = 'greatest' }\n\
            l = { from = 'v', type = 'int4', on_conflict = 'least' }\nc = { from = 'v', type = 'int4', on_conflict = 'coalesce' }\n";
        let upsert = handler(&server, &format!("upsert = {{ table = 't', key = ['k'] }}\n{columns}"));
        let answer = call(&upsert, "k,v\nx,5\nn,5\nx,\ny,1\ny,2\ny,3\n", identity(0, 0)).await;
        assert_eq!(answer, HandlerAnswer::Succeeded, "{kind:?}");
        let shown = |column: &str| format!("'|', coalesce(CAST({column} AS CHAR(9)), '-')");
        let all: Vec<String> = ["r", "kept", "a", "g", "l", "c"].map(shown).into();
        let rows = server.texts(&format!("SELECT concat(k, {}) FROM t ORDER BY k", all.join(",")));
        let rows: Vec<String> = rows.iter().map(|row| row.replace(' ', "")).collect();
        assert_eq!(rows, ["n|5|-|5|5|5|5", "x|-|1|6|5|1|5", "y|3|1|6|3|1|3"], "{kind:?}");

        let plain = "[columns]\nk = { from = 'k' }\nr = { from = 'v', type = 'int4' }\n";
        let ignore = handler(&server, &format!("insert_ignore = {{ table = 't' }}\n{plain}"));
        assert_eq!(failed(&call(&ignore, "k,v\nx,9\nz,9\nmuch too long,9\n", identity(1, 0)).await).len(), 1);
        let update = handler(&server, &format!("update = {{ table = 't', key = ['k'] }}\n{plain}"));
        assert_eq!(
            call(&update, "k,v\nz,1\nnobody,1\nz,2\ny,7\n", identity(2, 0)).await,
            HandlerAnswer::Succeeded
        );
        let rows = server.texts("SELECT concat(k, '|', coalesce(r, -1)) FROM t ORDER BY k");
        assert_eq!(rows, ["n|5", "x|-1", "y|7", "z|2"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_item_never_overwrites_a_newer_one_under_a_guard() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute("CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, v VARCHAR(9), seen BIGINT)");
        let columns = "order_guard = 'seen'\n[columns]\nk = { from = 'k' }\nv = { from = 'v' }\n";
        for (base, statement) in [(0, "upsert"), (10, "update")] {
            let guarded =
                handler(&server, &format!("{statement} = {{ table = 't', key = ['k'] }}\n{columns}"));
            call(&guarded, "k,v\na,new\n", identity(base + 5, 0)).await;
            call(&guarded, "k,v\na,old\nb,only\n", identity(base + 3, 0)).await;
            let rows = server.texts("SELECT concat(k, '|', v, '|', seen) FROM t ORDER BY k");
            let expected = [["a|new|500", "b|only|301"], ["a|new|1500", "b|only|1301"]];
            assert_eq!(rows, expected[usize::from(base > 0)], "{kind:?} {statement}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_the_users_own_sees_the_batch_as_a_relation() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(
            "CREATE TABLE totals (team VARCHAR(9) PRIMARY KEY, points INTEGER NOT NULL CHECK (points < 100))",
        );
        let upsert = match kind {
            ServerKind::Postgres => {
                "ON CONFLICT (team) DO UPDATE SET points = totals.points + excluded.points"
            }
            ServerKind::MariaDb => "ON DUPLICATE KEY UPDATE points = points + VALUES(points)",
        };
        let toml = format!(
            "statement = '''INSERT INTO totals SELECT team, sum(points) FROM batch GROUP BY team {upsert}'''\n\
             [columns]\nteam = {{ from = 'team' }}\npoints = {{ from = 'p', type = 'int4' }}\n"
        );
        let own = handler(&server, &toml);
        own.check().await.unwrap();
        for _ in 0..2 {
            let answer = call(&own, "team,p\na,1\nb,2\na,4\nc,500\n", identity(0, 0)).await;
            assert_eq!(failed(&answer), [(3, "Sql.23514")], "{kind:?}");
        }
        call(&own, "team,p\na,10\n", identity(1, 0)).await;
        let rows = server.texts("SELECT concat(team, '|', points) FROM totals ORDER BY team");
        assert_eq!(rows, ["a|15", "b|2"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_leaves_an_audit_row_in_the_same_transaction() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let audited = handler(&server, &UPSERT.replace("[columns]", "audit = { table = 'log' }\n[columns]"));
        call(&audited, "uid,name,n\n1,a,5\n2,evil,1\nx,b,1\n", identity(0, 0)).await;
        call(&audited, "uid,name,n\n7,g,1\n", identity(1, 0)).await;
        let rows = server.texts(
            "SELECT concat(item_index, '|', round, '|', status, '|', coalesce(error_type, '-'), '|', coalesce(item_key, '-')) \
             FROM log ORDER BY item_index",
        );
        let expected =
            ["0|0|SUCCEEDED|-|1", "1|0|FAILED|Sql.23514|2", "2|0|FAILED|Sql.22P02|-", "100|0|SUCCEEDED|-|7"];
        assert_eq!(rows, expected, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_arrive_as_values_of_every_type() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        let (bytes, stamp, uuid) = match kind {
            ServerKind::Postgres => ("bytea", "timestamptz", "uuid"),
            ServerKind::MariaDb => ("blob", "timestamp", "char(36)"),
        };
        server.execute(&format!(
            "CREATE TABLE t (i integer PRIMARY KEY, small smallint, big bigint, exact numeric(10,2), f double precision, \
             b boolean, d date, z {stamp}, u {uuid}, x {bytes}, s varchar(20))"
        ));
        let csv = "i,small,big,exact,f,b,d,z,u,x,s\n\
            1, -7 ,9007199254740993,12345678.91,0.1,yes,2024-02-29,2024-02-29T23:00:00-02:00,\
            A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,\\x00ff,\"a'\"\"é😀\"\n2,,,,,,,,,,\n";
        // Typed by the catalogue; bytes are a matter of configuration in neither.
        let by_header = handler(&server, "insert = { table = 't' }\n");
        let answer = call(&by_header, csv, identity(0, 0)).await;
        assert_eq!(answer, HandlerAnswer::Succeeded, "{kind:?}");
        let hex = match kind {
            ServerKind::Postgres => "encode(x, 'hex')",
            ServerKind::MariaDb => "lower(hex(x))",
        };
        let rows = server.texts(&format!(
            "SELECT concat(small, '|', big, '|', exact, '|', f, '|', CASE WHEN b THEN 1 ELSE 0 END, '|', d, '|', {hex}, '|', lower(concat(u)), '|', s) \
             FROM t WHERE i = 1"
        ));
        let expected = "-7|9007199254740993|12345678.91|0.1|1|2024-02-29|00ff|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|a'\"é😀";
        assert_eq!(rows, [expected], "{kind:?}");
        let utc = match kind {
            ServerKind::Postgres => {
                "SELECT to_char(z AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM t WHERE i = 1"
            }
            ServerKind::MariaDb => {
                "SELECT date_format(convert_tz(z, @@session.time_zone, '+00:00'), '%Y-%m-%d %H:%i') FROM t WHERE i = 1"
            }
        };
        assert_eq!(server.texts(utc), ["2024-03-01 01:00"], "{kind:?}");
        assert_eq!(
            server.count("SELECT count(*) FROM t WHERE i = 2 AND small IS NULL AND d IS NULL AND s = ''"),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_byte_fails_its_item_alone_where_the_database_has_no_room_for_it() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let answer = call(&handler(&server, UPSERT), "uid,name,n\n1,a\0b,1\n2,ok,1\n", identity(0, 0)).await;
        let (refused, rows): (&[_], &[_]) = match kind {
            ServerKind::Postgres => (&[(0, "Sql.22021")], &["2|1"]),
            ServerKind::MariaDb => (&[], &["1|1", "2|1"]),
        };
        assert_eq!(failed(&answer), refused, "{kind:?}");
        assert_eq!(users(&server), rows, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_fit_is_found_before_the_first_call() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let table = [
            ("insert = { table = 'other' }", "table \"other\" does not exist"),
            ("upsert = { table = 'users', key = ['name'] }\n[columns]\nname = { from = 'n' }", "unique"),
            ("insert = { table = 'users' }\n[columns]\nnick = { from = 'n' }", "no column \"nick\""),
            ("insert = { table = 'users' }\ncreate_tables = false", "warifu_ledger"),
        ];
        for (toml, expected) in table {
            let reason = handler(&server, toml).check().await.unwrap_err();
            assert!(reason.contains(expected), "{kind:?} {toml}: {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_are_each_applied_once() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let upsert = handler(&server, &UPSERT.replace("[columns]", "pool_size = 8\n[columns]"));
        let other = handler(&server, UPSERT);
        let calls = (0..80).map(|number| {
            // Every call is made twice, by two workers; keys come in another order each time.
            let upsert = Arc::clone(if number % 2 == 0 { &upsert } else { &other });
            let batch = number / 2;
            async move {
                let order = [batch % 5, (batch + 2) % 5, (batch + 4) % 5];
                let rows: String = order.iter().map(|id| format!("{id},a,1\n")).collect();
                call(&upsert, &format!("uid,name,n\n{rows}9,evil,1\n"), identity(batch, 0)).await
            }
        });
        for answer in futures::future::join_all(calls).await {
            assert_eq!(failed(&answer), [(3, "Sql.23514")], "{kind:?}");
        }
        assert_eq!(users(&server), ["0|24", "1|24", "2|24", "3|24", "4|24"], "{kind:?}");
        assert_eq!(server.count("SELECT count(*) FROM warifu_ledger"), 40, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_database_that_restarts() {
    for kind in BOTH {
        let mut server = DatabaseServer::start(kind);
        server.execute(USERS);
        let upsert = handler(&server, UPSERT);
        assert_eq!(call(&upsert, "uid,name,n\n1,a,1\n", identity(0, 0)).await, HandlerAnswer::Succeeded);
        for (kills, batch) in [(false, 1), (true, 2)] {
            if kills {
                server.kill()
            } else {
                server.stop()
            }
            let waiting = tokio::spawn({
                let upsert = Arc::clone(&upsert);
                async move { call(&upsert, "uid,name,n\n1,a,1\n2,evil,1\n", identity(batch, 0)).await }
            });
            server.start_again();
            let answer = waiting.await.unwrap();
            assert_eq!(failed(&answer), [(1, "Sql.23514")], "{kind:?}");
        }
        assert_eq!(users(&server), ["1|3"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_ends_its_statement_and_can_be_repeated() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        server.execute("INSERT INTO users VALUES (1, 'a', 1)");
        let upsert = handler(&server, UPSERT);
        upsert.check().await.unwrap();
        let mut other = session::Session::connect(&server.url()).await.unwrap();
        other.run("BEGIN").await.unwrap();
        other.execute("UPDATE users SET logins = 5", &[]).await.unwrap();
        let cancel = CancellationToken::new();
        let waiting = tokio::spawn({
            let (upsert, cancel) = (Arc::clone(&upsert), cancel.clone());
            async move { upsert.call(call_in("uid,name,n\n1,a,1\n", identity(0, 0)), cancel).await }
        });
        let waits = match kind {
            ServerKind::Postgres => "SELECT count(*) FROM pg_locks WHERE NOT granted",
            // `innodb_trx` shows nothing new to who asks more often than every 0.1 s.
            ServerKind::MariaDb => {
                "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                 WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
            }
        };
        let give_up_at = Instant::now() + Duration::from_secs(20);
        while server.count(waits) == 0 {
            assert!(
                Instant::now() < give_up_at && !waiting.is_finished(),
                "the call does not wait for the lock"
            );
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        let answer = waiting.await.unwrap();
        assert!(
            matches!(&answer, HandlerAnswer::Failed(failure) if failure.error == "Sql.57014"),
            "{answer:?}"
        );
        other.run("COMMIT").await.unwrap();
        assert_eq!(call(&upsert, "uid,name,n\n1,a,1\n", identity(0, 0)).await, HandlerAnswer::Succeeded);
        assert_eq!(users(&server), ["1|6"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_forgets_what_is_older_than_its_retention() {
    for kind in BOTH {
        let server = DatabaseServer::start(kind);
        server.execute(USERS);
        let keeps = handler(&server, &UPSERT.replace("[columns]", "ledger_retention = '0s'\n[columns]"));
        call(&keeps, "uid,name,n\n1,a,1\n", identity(0, 0)).await;
        call(&keeps, "uid,name,n\n1,a,1\n", identity(1, 0)).await;
        server.execute(
            "UPDATE warifu_ledger SET recorded_at = '2020-01-01T00:00:00.000Z' WHERE batch_number = 0",
        );
        let prunes = handler(&server, UPSERT);
        prunes.check().await.unwrap();
        let give_up_at = Instant::now() + Duration::from_secs(20);
        while server.count("SELECT count(*) FROM warifu_ledger") != 1 {
            assert!(Instant::now() < give_up_at, "the ledger is not pruned");
            tokio::task::yield_now().await;
        }
        assert_eq!(server.count("SELECT min(batch_number) FROM warifu_ledger"), 1, "{kind:?}");
    }
}
