//! The ledger and the audit table.

use crate::handler::sql::dialect::Dialect;

/// Columns of the ledger, in the order of [`claim_in_ledger`]. The first three are its key.
pub(in crate::handler::sql) const LEDGER_COLUMNS: [&str; 8] =
    ["map_run_id", "batch_number", "round", "attempt", "item_count", "failures", "worker", "recorded_at"];

/// Columns of the audit table, in the order of [`write_audit`]. The first three are its key.
pub(in crate::handler::sql) const AUDIT_COLUMNS: [&str; 11] = [
    "map_run_id",
    "item_index",
    "round",
    "batch_number",
    "attempt",
    "status",
    "error_type",
    "error_message",
    "item_key",
    "worker",
    "recorded_at",
];

/// Which of them are numbers.
const NUMBERS: [&str; 5] = ["batch_number", "item_index", "round", "attempt", "item_count"];

const LEDGER: &str = "warifu_ledger";

/// Takes the ledger's row of a call. If somebody did before, it changes no row; MySQL, which cannot tell the two apart by
/// the number of rows, says that the key is there.
pub(in crate::handler::sql) fn claim_in_ledger(dialect: Dialect) -> String {
    let values: Vec<String> =
        LEDGER_COLUMNS.iter().zip(1..).map(|(name, n)| parameter(dialect, name, n)).collect();
    let unless_there = match dialect {
        Dialect::Sqlite | Dialect::Postgres => " ON CONFLICT DO NOTHING",
        Dialect::MySql => "",
    };
    format!("INSERT INTO {LEDGER} ({}) VALUES ({}){unless_there}", LEDGER_COLUMNS.join(","), values.join(","))
}

/// Adds the failures of a call to its row: their JSON, then the key.
pub(in crate::handler::sql) fn write_failures(dialect: Dialect) -> String {
    format!(
        "UPDATE {LEDGER} SET failures = {} WHERE {}",
        parameter(dialect, "failures", 1),
        key_is(dialect, 2)
    )
}

/// Reads what an earlier call under the same key did.
pub(in crate::handler::sql) fn read_ledger(dialect: Dialect) -> String {
    format!("SELECT failures FROM {LEDGER} WHERE {}", key_is(dialect, 1))
}

/// Deletes a bounded number of rows that were written before a time.
pub(in crate::handler::sql) fn prune_ledger(dialect: Dialect, most: usize) -> String {
    let before = parameter(dialect, "recorded_at", 1);
    match dialect {
        Dialect::MySql => format!("DELETE FROM {LEDGER} WHERE recorded_at < {before} LIMIT {most}"),
        Dialect::Sqlite | Dialect::Postgres => format!(
            "DELETE FROM {LEDGER} WHERE (map_run_id, batch_number, round) IN \
             (SELECT map_run_id, batch_number, round FROM {LEDGER} WHERE recorded_at < {before} LIMIT {most})"
        ),
    }
}

/// Writes audit rows. A row can be there only if its ledger row was deleted; then the newer one is true.
///
/// PostgreSQL's takes arrays from parameter `first` on, under `condition` unless it is empty.
pub(in crate::handler::sql) fn write_audit(
    dialect: Dialect,
    table: &str,
    rows: usize,
    first: usize,
    condition: &str,
) -> String {
    let (table, names) = (dialect.quoted_table(table), AUDIT_COLUMNS.join(","));
    let row = format!("({})", ["?"; AUDIT_COLUMNS.len()].join(","));
    let values = vec![row; rows].join(",");
    match dialect {
        Dialect::Sqlite => format!("INSERT OR REPLACE INTO {table} ({names}) VALUES {values}"),
        Dialect::MySql => format!("REPLACE INTO {table} ({names}) VALUES {values}"),
        Dialect::Postgres => {
            let arrays: Vec<String> =
                (0..AUDIT_COLUMNS.len()).map(|n| format!("${}::text[]", first + n)).collect();
            let cast =
                |name: &&str| if is_number(name) { format!("{name}::bigint") } else { (*name).to_owned() };
            let casts: Vec<String> = AUDIT_COLUMNS.iter().map(cast).collect();
            let sets: Vec<String> =
                AUDIT_COLUMNS[3..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
            let condition = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
            format!(
                "INSERT INTO {table} ({names}) SELECT {} FROM unnest({}) AS rows ({names}){condition} \
                 ON CONFLICT (map_run_id, item_index, round) DO UPDATE SET {}",
                casts.join(","),
                arrays.join(","),
                sets.join(",")
            )
        }
    }
}

/// Creates the ledger and, if it is named, the audit table, unless they are there.
pub fn schema(dialect: Dialect, audit_table: Option<&str>) -> Vec<String> {
    let Types { key, number, text, end, ledger_index } = Types::of(dialect);
    let ledger = format!(
        "CREATE TABLE IF NOT EXISTS {LEDGER} (map_run_id {key} NOT NULL, batch_number {number} NOT NULL, \
         round {number} NOT NULL, attempt {number} NOT NULL, item_count {number} NOT NULL, failures {text}, \
         worker {key} NOT NULL, recorded_at {key} NOT NULL, PRIMARY KEY (map_run_id, batch_number, round){ledger_index}){end}"
    );
    // Pruning must not read the whole ledger; blocks that were written together are one entry of this index.
    let by_time = (dialect == Dialect::Postgres)
        .then(|| format!("CREATE INDEX IF NOT EXISTS {LEDGER}_by_time ON {LEDGER} USING brin (recorded_at)"));
    let audit = audit_table.map(|table| {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (map_run_id {key} NOT NULL, item_index {number} NOT NULL, \
             round {number} NOT NULL, batch_number {number} NOT NULL, attempt {number} NOT NULL, \
             status {key} NOT NULL, error_type {text}, error_message {text}, item_key {text}, worker {key} NOT NULL, \
             recorded_at {key} NOT NULL, PRIMARY KEY (map_run_id, item_index, round)){end}",
            dialect.quoted_table(table)
        )
    });
    [ledger].into_iter().chain(by_time).chain(audit).collect()
}

struct Types {
    /// Texts of ours: ids, words, times.
    key: &'static str,
    number: &'static str,
    text: &'static str,
    end: &'static str,
    /// Part of the ledger's definition, for pruning. A SQLite file is small enough to be read through.
    ledger_index: &'static str,
}

impl Types {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => {
                Self { key: "TEXT", number: "INTEGER", text: "TEXT", end: " WITHOUT ROWID", ledger_index: "" }
            }
            Dialect::Postgres => {
                Self { key: "text", number: "bigint", text: "text", end: "", ledger_index: "" }
            }
            Dialect::MySql => Self {
                key: "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                number: "BIGINT",
                text: "LONGTEXT CHARACTER SET utf8mb4",
                end: " ENGINE=InnoDB",
                ledger_index: ", INDEX by_time (recorded_at)",
            },
        }
    }
}

fn is_number(name: &str) -> bool {
    NUMBERS.contains(&name)
}

/// The n-th value; PostgreSQL's are all bound as text.
fn parameter(dialect: Dialect, name: &str, n: usize) -> String {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => "?".to_owned(),
        Dialect::Postgres if is_number(name) => format!("${n}::text::bigint"),
        Dialect::Postgres => format!("${n}::text"),
    }
}

fn key_is(dialect: Dialect, first: usize) -> String {
    let part = |(name, n): (&&str, usize)| format!("{name} = {}", parameter(dialect, name, n));
    let parts: Vec<String> = LEDGER_COLUMNS[..3].iter().zip(first..).map(part).collect();
    parts.join(" AND ")
}
