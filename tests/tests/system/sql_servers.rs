//! SQL handlers over real servers: each row's effect is there once, whatever dies; refused rows fail alone.

use std::time::{Duration, Instant};

use serde_json::Value;
use warifu_test_database::{DatabaseServer, ServerKind};

use crate::harness::{Fleet, FleetSettings, Random, eventually, text, warifu};

/// Far beyond what any of it takes.
const DEADLINE: Duration = Duration::from_secs(240);
/// A killed worker starts again on the same host, so sessions need not be short.
const SETTINGS: FleetSettings<'static> =
    FleetSettings { coordinators: 1, etcd_members: 1, etcd_options: &[], leases: "", s3_past_network: false };

/// Every user is in the file twice; what is written to a row is noted in the same transaction.
fn schema(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Postgres => {
            "CREATE TABLE users (user_id text PRIMARY KEY, post_count bigint NOT NULL);
             CREATE TABLE effects (user_id text NOT NULL);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO effects VALUES (NEW.user_id); RETURN NULL; END $$;
             CREATE TRIGGER noted AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note();"
        }
        ServerKind::MariaDb => {
            "CREATE TABLE users (user_id VARCHAR(20) PRIMARY KEY, post_count BIGINT NOT NULL);
             CREATE TABLE effects (n BIGINT AUTO_INCREMENT PRIMARY KEY, user_id VARCHAR(20) NOT NULL);
             CREATE TRIGGER inserted AFTER INSERT ON users FOR EACH ROW INSERT INTO effects (user_id) VALUES (NEW.user_id);
             CREATE TRIGGER updated AFTER UPDATE ON users FOR EACH ROW INSERT INTO effects (user_id) VALUES (NEW.user_id);"
        }
    }
}

fn handler(server: &DatabaseServer) -> String {
    format!(
        "[handlers.users]\ntype = \"sql\"\nurl = \"{}\"\n\
         upsert = {{ table = \"users\", key = [\"user_id\"] }}\naudit = {{ table = \"audit_log\" }}\n\
         [handlers.users.columns]\nuser_id = {{ from = \"user_id\" }}\n\
         post_count = {{ from = \"post_count\", type = \"int8\", on_conflict = \"add\" }}\n",
        server.url()
    )
}

/// Kills a worker ten times, and restarts the database as often as told, while a run of `rows` writes.
fn disturb(kind: ServerKind, rows: u64, restarts: u64) {
    const KILLS: u64 = 10;
    let started = Instant::now();
    let mut server = DatabaseServer::start(kind);
    server.execute(schema(kind));
    let mut fleet = Fleet::start(&SETTINGS);
    for id in ["w0", "w1"] {
        fleet.start_worker(id, 4, &handler(&server));
    }
    let users = rows / 2;
    let lines: String = (0..rows).map(|row| format!("U{:07},{row}\n", row % users)).collect();
    fleet.s3().put("input", "in.csv", format!("user_id,post_count\n{lines}"));
    fleet.submit(
        "r",
        "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
         itemBatcher: {maxItemsPerBatch: 100}\nitemProcessor: {handler: users}\nresultWriter: {bucket: output, prefix: r/}\n",
    );
    let effects = |server: &DatabaseServer| server.count("SELECT count(*) FROM effects");
    let mut random = Random::new(7);
    for kill in 1..=KILLS {
        let least = kill * rows / (KILLS + 2);
        eventually("rows are written", DEADLINE, || (effects(&server) >= least).then_some(()));
        let worker = usize::try_from(random.below(2)).unwrap();
        fleet.kill_worker(worker);
        fleet.spawn_worker(worker);
        if kill % (KILLS / 2) == 0 && kill / (KILLS / 2) <= restarts {
            if kill == KILLS {
                server.kill()
            } else {
                server.stop()
            }
            server.start_again();
        }
    }
    let run = fleet.wait("r", DEADLINE);
    let items = &run["itemCounts"];
    assert_eq!((&items["total"], &items["succeeded"]), (&rows.into(), &rows.into()), "{items}");
    for (query, expected) in [
        ("SELECT count(*) FROM users", users),
        ("SELECT count(*) FROM effects", rows),
        (
            "SELECT count(*) FROM (SELECT user_id FROM effects GROUP BY user_id HAVING count(*) = 2) AS twice",
            users,
        ),
        ("SELECT CAST(sum(post_count) AS DECIMAL(20)) = CAST(EXPECTED AS DECIMAL(20)) FROM users", 1),
        ("SELECT count(*) FROM audit_log WHERE status = 'SUCCEEDED'", rows),
        ("SELECT count(*) FROM audit_log", rows),
    ] {
        let query = query.replace("EXPECTED", &(rows * (rows - 1) / 2).to_string());
        let query = if query.contains(" = CAST") {
            format!("SELECT CASE WHEN ({query}) THEN 1 ELSE 0 END")
        } else {
            query
        };
        assert_eq!(server.count(&query), expected, "{kind:?}: {query}");
    }
    eprintln!("{kind:?}: {rows} rows, {KILLS} kills, {restarts} restarts in {:?}", started.elapsed());
    fleet.stop();
}

#[test]
fn rows_arrive_once_in_postgresql_though_workers_are_killed_and_it_restarts_twice() {
    disturb(ServerKind::Postgres, 200_000, 2);
}

#[test]
fn rows_arrive_once_in_mariadb_though_workers_are_killed_and_it_restarts_twice() {
    disturb(ServerKind::MariaDb, 100_000, 2);
}

/// What is wrong with a row, if anything: a hundredth of them, spread.
fn poison(row: u64) -> Option<&'static str> {
    (row % 100 == 37).then(|| ["negative", "text", "long"][usize::try_from(row / 100 % 3).unwrap()])
}

#[test]
fn a_thousand_poisoned_rows_fail_alone_and_say_why() {
    const ROWS: u64 = 100_000;
    for kind in [ServerKind::Postgres, ServerKind::MariaDb] {
        let server = DatabaseServer::start(kind);
        server.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, points INTEGER CHECK (points >= 0), name VARCHAR(8))",
        );
        let directory = crate::harness::scratch();
        let path = |name: &str| directory.path().join(name);
        let run = |name: &str, rows: &dyn Fn(u64) -> String, status: i32| {
            let csv: String = (0..ROWS).map(rows).collect();
            std::fs::write(path(name), format!("id,points,name\n{csv}")).unwrap();
            // Untyped columns: the database itself finds the texts.
            let toml = format!(
                "[handlers.t]\ntype = \"sql\"\nurl = \"{}\"\nupsert = {{ table = \"t\", key = [\"id\"] }}\n\
                 [handlers.t.columns]\nid = {{ from = \"id\" }}\npoints = {{ from = \"points\" }}\nname = {{ from = \"name\" }}\n",
                server.url()
            );
            std::fs::write(path("worker.toml"), toml).unwrap();
            let output = path(&format!("out-{name}"));
            let started = Instant::now();
            let arguments = [
                "run",
                text(&path(name)),
                "--handler",
                "t",
                "--worker-config",
                text(&path("worker.toml")),
                "--tolerated-failure-percentage",
                "2",
                "--output",
                text(&output),
                "-o",
                "json",
            ]
            .map(str::to_owned);
            let finished = crate::harness::Process::start(warifu(arguments.iter().map(String::as_str)))
                .finish_within(DEADLINE);
            (finished.expect(status).json(), crate::harness::read_results(&output), started.elapsed())
        };
        let (_, _, clean) = run("clean.csv", &|row| format!("{row},{row},n{}\n", row % 1000), 0);
        server.execute("DELETE FROM t");
        let poisoned = |row: u64| match poison(row) {
            None => format!("{row},{row},n{}\n", row % 1000),
            Some("negative") => format!("{row},-1,n\n"),
            Some("text") => format!("{row},many,n\n"),
            Some(_) => format!("{row},{row},much too long\n"),
        };
        let (state, results, took) = run("bad.csv", &poisoned, 0);
        assert_eq!(state["itemCounts"]["failed"], Value::from(ROWS / 100), "{kind:?}: {state}");
        let expected: Vec<u64> = (0..ROWS).filter(|row| poison(*row).is_some()).collect();
        assert_eq!(results.failed.keys().copied().collect::<Vec<_>>(), expected, "{kind:?}");
        for (row, line) in &results.failed {
            let (postgres, mariadb, named) = match poison(*row).unwrap() {
                "negative" => ("Sql.23514", "Sql.23514", "points"),
                "text" => ("Sql.22P02", "Sql.22007", "many"),
                _ => ("Sql.22001", "Sql.22001", ""),
            };
            let error = if kind == ServerKind::Postgres { postgres } else { mariadb };
            assert_eq!((&line["error"], &line["kind"]), (&error.into(), &"BUSINESS".into()), "{line}");
            assert!(line["cause"].as_str().unwrap().contains(named), "{line}");
        }
        assert_eq!(server.count("SELECT count(*) FROM t"), ROWS - ROWS / 100, "{kind:?}");
        let ratio = took.as_secs_f64() / clean.as_secs_f64();
        eprintln!("{kind:?}: with a thousand refused rows the run took {ratio:.2} times as long");
    }
}
