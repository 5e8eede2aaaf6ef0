//! The proof at the end of the quick start: the file is read again and compared with the table, row by row.
//!
//! It deliberately shares nothing with the way that the rows went: its own CSV reader, its own connection, no state of
//! the run but which items it rejected.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use tokio_stream::StreamExt as _;

/// What comparing file and table gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// Rows of the file.
    pub(super) rows_in_file: u64,
    /// Rows of the table.
    pub(super) rows_in_table: u64,
    /// Rows that the run rejected, with the reason.
    pub(super) rejected: u64,
    /// Rows of the table that are there twice or stand in no row of the file, and items that were applied twice.
    pub(super) duplicates: u64,
    /// Rows of the file that were not rejected and are not in the table, or with other values.
    pub(super) missing: u64,
}

impl Proof {
    /// Whether every row is where it should be, once.
    pub(super) fn holds(&self) -> bool {
        self.duplicates == 0 && self.missing == 0 && self.rows_in_file == self.rows_in_table + self.rejected
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows in file {} · rows in table {}", self.rows_in_file, self.rows_in_table)?;
        if self.rejected > 0 {
            write!(f, " · rejected {}", self.rejected)?;
        }
        write!(f, " · duplicates {} · missing {}", self.duplicates, self.missing)
    }
}

/// A user: ID and the two counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    id: String,
    login_count: String,
    post_count: String,
}

/// Compares the CSV file, whose IDs ascend, with the table `user_stats`. `rejected` holds the indexes of rejected items.
pub(super) async fn prove(
    csv_file: &Path,
    database: &mut SqliteConnection,
    rejected: &BTreeSet<u64>,
) -> anyhow::Result<Proof> {
    let mut comparison = Comparison { proof: Proof::default(), rejected };
    let mut reader = csv::Reader::from_path(csv_file)
        .with_context(|| format!("cannot read {} again", csv_file.display()))?;
    let mut file_rows = reader.records().enumerate();
    let mut file_row = next_of_file(&mut file_rows)?;

    let query = "SELECT user_id, CAST(login_count AS TEXT), CAST(post_count AS TEXT) FROM user_stats \
                 ORDER BY user_id";
    let mut table_rows = sqlx::query(query).fetch(&mut *database);
    while let Some(row) = table_rows.next().await {
        let row = row.context("cannot read the table user_stats")?;
        let user = User { id: row.try_get(0)?, login_count: row.try_get(1)?, post_count: row.try_get(2)? };
        comparison.proof.rows_in_table += 1;
        while file_row.as_ref().is_some_and(|(_, in_file)| in_file.id < user.id) {
            comparison.only_in_file(file_row.take());
            file_row = next_of_file(&mut file_rows)?;
        }
        match file_row.as_ref().map(|(_, in_file)| in_file.id.cmp(&user.id)) {
            Some(Ordering::Equal) => {
                comparison.in_both(file_row.take(), &user);
                file_row = next_of_file(&mut file_rows)?;
            }
            Some(Ordering::Less | Ordering::Greater) | None => comparison.proof.duplicates += 1,
        }
    }
    drop(table_rows);
    while file_row.is_some() {
        comparison.only_in_file(file_row.take());
        file_row = next_of_file(&mut file_rows)?;
    }
    comparison.proof.duplicates += items_applied_twice(database).await?;
    Ok(comparison.proof)
}

type FileRow = (u64, User);

fn next_of_file(
    rows: &mut impl Iterator<Item = (usize, csv::Result<csv::StringRecord>)>,
) -> anyhow::Result<Option<FileRow>> {
    let Some((index, record)) = rows.next() else { return Ok(None) };
    let record = record.context("cannot read the file again")?;
    let field = |position: usize| record.get(position).unwrap_or_default().to_owned();
    Ok(Some((index as u64, User { id: field(0), login_count: field(1), post_count: field(2) })))
}

struct Comparison<'a> {
    proof: Proof,
    rejected: &'a BTreeSet<u64>,
}

impl Comparison<'_> {
    fn only_in_file(&mut self, row: Option<FileRow>) {
        let Some((index, _)) = row else { return };
        self.proof.rows_in_file += 1;
        if self.rejected.contains(&index) {
            self.proof.rejected += 1;
        } else {
            self.proof.missing += 1;
        }
    }

    fn in_both(&mut self, row: Option<FileRow>, in_table: &User) {
        let Some((_, in_file)) = row else { return };
        self.proof.rows_in_file += 1;
        if in_file != *in_table {
            self.proof.missing += 1;
        }
    }
}

/// Items that the audit table shows as applied more than once.
async fn items_applied_twice(database: &mut SqliteConnection) -> anyhow::Result<u64> {
    let query = "SELECT COUNT(*) FROM (SELECT item_index FROM audit_log WHERE status = 'SUCCEEDED' \
                 GROUP BY map_run_id, item_index HAVING COUNT(*) > 1)";
    let row = sqlx::query(query).fetch_one(database).await.context("cannot read the table audit_log")?;
    let count: i64 = row.try_get(0)?;
    Ok(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    const FILE: &str = "id,logins,posts\na,1,10\nb,2,20\nc,x,30\n";

    async fn proof_of(statements: &str, rejected: &[u64]) -> Proof {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("users.csv");
        std::fs::write(&file, FILE).unwrap();
        let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let schema = "CREATE TABLE user_stats (user_id TEXT, login_count INTEGER, post_count INTEGER);
                      CREATE TABLE audit_log (map_run_id TEXT, item_index INTEGER, status TEXT);";
        let script = format!("{schema}{statements}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut database).await.unwrap();
        prove(&file, &mut database, &rejected.iter().copied().collect()).await.unwrap()
    }

    #[tokio::test]
    async fn a_table_that_holds_every_row_once_is_proved() {
        let proof = proof_of("INSERT INTO user_stats VALUES ('a',1,10),('b',2,20);", &[2]).await;
        assert!(proof.holds(), "{proof:?}");
        assert_eq!(
            proof.to_string(),
            "rows in file 3 · rows in table 2 · rejected 1 · duplicates 0 · missing 0"
        );
    }

    #[tokio::test]
    async fn a_lost_row_and_a_wrong_value_are_missing() {
        let proof = proof_of("INSERT INTO user_stats VALUES ('b',2,99);", &[2]).await;
        assert_eq!((proof.missing, proof.duplicates), (2, 0));
        assert!(!proof.holds());
    }

    #[tokio::test]
    async fn a_row_that_is_there_twice_or_not_in_the_file_is_a_duplicate() {
        let rows = "INSERT INTO user_stats VALUES ('a',1,10),('a',1,10),('b',2,20),('z',9,9);";
        let proof = proof_of(rows, &[2]).await;
        assert_eq!((proof.missing, proof.duplicates), (0, 2));
    }

    #[tokio::test]
    async fn an_item_that_was_applied_twice_is_a_duplicate_though_the_table_hides_it() {
        let rows = "INSERT INTO user_stats VALUES ('a',1,10),('b',2,20);
                    INSERT INTO audit_log VALUES ('r',0,'SUCCEEDED'),('r',0,'SUCCEEDED'),('r',1,'SUCCEEDED');";
        let proof = proof_of(rows, &[2]).await;
        assert_eq!((proof.missing, proof.duplicates), (0, 1));
    }

    #[test]
    fn without_rejected_rows_the_line_does_not_mention_them() {
        let proof = Proof { rows_in_file: 5, rows_in_table: 5, ..Proof::default() };
        assert_eq!(proof.to_string(), "rows in file 5 · rows in table 5 · duplicates 0 · missing 0");
    }
}
