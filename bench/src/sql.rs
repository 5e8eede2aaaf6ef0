//! Upserts of the SQL handler into PostgreSQL, beside pgbench with the statement that the handler sent.
//!
//! The statement is read from the server while the run goes on, so it is the same: the ledger's row and the rows of the batch at
//! once, durably. pgbench lets the server make the values, since its own variables are numbers; so its client does less.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use warifu_test_database::{DatabaseServer, ServerKind};

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::limit::BATCH;
use crate::programs::{self, Measured};
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Records that are written at most: so many take seconds already.
const MOST_ROWS: u64 = 500_000;

/// Connections of handler and pgbench.
const CONNECTIONS: [u32; 3] = [1, 2, 5];

/// Where Debian puts PostgreSQL's programs.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// Between two looks at what the server does.
const PAUSE: Duration = Duration::from_millis(5);

const TABLE: &str =
    "CREATE TABLE users (user_id text PRIMARY KEY, login_count bigint NOT NULL, post_count bigint NOT NULL)";

/// What the handler does, or did last.
const SEEN: &str =
    "SELECT query FROM pg_stat_activity WHERE query LIKE 'WITH claimed AS (INSERT INTO warifu_ledger%'";

/// What stands for the handler's parameters: those of the ledger's row, then an array for each column of the table.
fn pgbench_values() -> [String; 11] {
    let array = |value: &str| {
        format!(
            "ARRAY(SELECT {value} FROM generate_series(:batch * {BATCH}, :batch * {BATCH} + {}) AS g)",
            BATCH - 1
        )
    };
    [
        "'pgbench'".to_owned(),
        ":batch".to_owned(),
        "0".to_owned(),
        "1".to_owned(),
        BATCH.to_string(),
        "NULL".to_owned(),
        "'pgbench'".to_owned(),
        "'2026-01-01T00:00:00.000000Z'".to_owned(),
        array("'U' || lpad(g::text, 7, '0')"),
        array("(g % 1009)::text"),
        array("(g * 31 % 9973)::text"),
    ]
}

/// Measures each number of connections.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let Some(pgbench) = pgbench() else {
        println!("sql: skipped, PostgreSQL is not installed");
        return Ok(());
    };
    let rows = settings.rows.min(MOST_ROWS);
    let file = Kind::Ordinary.file(&Settings { rows, ..settings.clone() })?;
    let server = DatabaseServer::start(ServerKind::Postgres);
    for connections in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..settings.repeat {
            let (seconds, statement) = write(settings, &server, &file, connections)?;
            ours.push(seconds);
            theirs.push(bench(settings, &server, &pgbench, &file, connections, &statement)?);
        }
        let speed = |seconds: f64| rows as f64 / seconds;
        let s = if connections == 1 { "" } else { "s" };
        table.add(Row {
            what: format!(
                "durable upserts into PostgreSQL with a ledger, {connections} connection{s}, 25 a batch"
            ),
            unit: "records/s",
            value: Summary::of(ours).map(speed),
            limit: Some(("pgbench, same statement".to_owned(), Summary::of(theirs).map(speed))),
            wanted: Some(Wanted::AtLeast(0.8, 0.95)),
        });
    }
    Ok(())
}

/// Seconds from the creation of a run to its end, and the statement that its handler sent.
fn write(
    settings: &Settings,
    server: &DatabaseServer,
    file: &DataFile,
    connections: u32,
) -> anyhow::Result<(f64, String)> {
    begin(server);
    let directory = tempfile::tempdir_in(&settings.directory)?;
    let config = directory.path().join("worker.toml");
    let handler = format!(
        "[handlers.users]\ntype = \"sql\"\nurl = \"{}\"\npool_size = {connections}\n\
         upsert = {{ table = \"users\", key = [\"user_id\"] }}\n[handlers.users.columns]\n\
         user_id = {{ from = \"user_id\" }}\nlogin_count = {{ from = \"login_count\", type = \"int8\" }}\n\
         post_count = {{ from = \"post_count\", type = \"int8\" }}\n",
        server.url()
    );
    std::fs::write(&config, handler)?;
    let config = config.to_str().context("the directory's name is no text")?;
    let ended = AtomicBool::new(false);
    let (run, statement) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(server, &ended));
        let arguments = ["--handler", "users", "--worker-config", config, "--workers", "1"];
        let run = programs::run(settings, file, &arguments);
        ended.store(true, Ordering::Relaxed);
        (run, watching.join())
    });
    let Measured { created_ms, stopped_ms, batches, .. } = run?;
    let statement = statement.ok().flatten().context("the handler was never seen writing")?;
    check(server, file, batches)?;
    Ok(((stopped_ms - created_ms) / 1e3, statement))
}

/// Looks at what the server does until the handler writes; `None`: the run ended before.
fn watch(server: &DatabaseServer, ended: &AtomicBool) -> Option<String> {
    while !ended.load(Ordering::Relaxed) {
        if let Some(statement) = server.texts(SEEN).into_iter().next() {
            return Some(statement);
        }
        std::thread::park_timeout(PAUSE);
    }
    None
}

/// Seconds that pgbench takes for the same batches.
fn bench(
    settings: &Settings,
    server: &DatabaseServer,
    pgbench: &Path,
    file: &DataFile,
    connections: u32,
    statement: &str,
) -> anyhow::Result<f64> {
    begin(server);
    // The handler has made the ledger.
    let batches = file.rows.div_ceil(BATCH as u64);
    let each = batches.div_ceil(u64::from(connections));
    let script = tempfile::NamedTempFile::new_in(&settings.directory)?;
    let text =
        format!("\\set batch :i * {connections} + :client_id\n\\set i :i + 1\n{};\n", with_values(statement));
    std::fs::write(script.path(), text)?;
    let mut command = Command::new(pgbench);
    command.args(["--no-vacuum", "--protocol=prepared", "-D", "i=0", "--jobs", "1"]);
    command.args(["--client", &connections.to_string(), "--transactions", &each.to_string()]);
    command.arg("--file").arg(script.path()).arg(server.url());
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let speed =
        said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    let speed = speed.with_context(|| format!("pgbench says no speed: {said}"))?;
    let written = (each * u64::from(connections) * BATCH as u64) as f64;
    let found = server.count("SELECT count(*) FROM users") as f64;
    ensure!(found == written, "pgbench wrote {found} rows; {written} were expected");
    let sum = format!("SELECT sum(post_count)::bigint FROM users WHERE user_id < 'U{:07}'", file.rows);
    let found = server.count(&sum);
    ensure!(found == file.post_count, "pgbench's rows come to {found}, not to {}", file.post_count);
    // It may have written up to one batch more for each connection.
    Ok(file.rows as f64 / (speed * BATCH as f64))
}

/// The statement with values in place of its parameters, the last ones first: `$1` begins `$10`, too.
fn with_values(statement: &str) -> String {
    let values = pgbench_values();
    (1..=values.len())
        .rev()
        .fold(statement.to_owned(), |text, n| text.replace(&format!("${n}"), &values[n - 1]))
}

fn begin(server: &DatabaseServer) {
    server.execute(&format!("DROP TABLE IF EXISTS users; {TABLE}"));
    server.execute(
        "DO $$ BEGIN IF to_regclass('warifu_ledger') IS NOT NULL THEN TRUNCATE warifu_ledger; END IF; END $$",
    );
    // What an earlier measurement left to be written is not this one's.
    server.execute("CHECKPOINT");
}

/// Every record is in the table, and every batch in the ledger.
fn check(server: &DatabaseServer, file: &DataFile, batches: u64) -> anyhow::Result<()> {
    for (query, expected) in [
        ("SELECT count(*) FROM users", file.rows),
        ("SELECT sum(post_count)::bigint FROM users", file.post_count),
        ("SELECT sum(item_count)::bigint FROM warifu_ledger", file.rows),
        ("SELECT count(*) - count(failures) FROM warifu_ledger", batches),
    ] {
        let found = server.count(query);
        ensure!(found == expected, "{query} gives {found}; expected {expected}");
    }
    Ok(())
}

/// The newest that is installed.
fn pgbench() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PROGRAMS).ok()?.flatten();
    let newest = versions.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok()).max()?;
    Some(Path::new(PROGRAMS).join(newest.to_string()).join("bin/pgbench")).filter(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_two_digits_are_not_taken_for_others() {
        let text = with_values("VALUES ($1,$2,$8) unnest(($10::text[]),($11::text[]))");
        assert!(!text.contains('$') && text.contains("(ARRAY(SELECT (g % 1009)::text FROM"), "{text}");
    }
}
