//! How many records other readers count in the same files: `bench/peers/readers.py` asks them, this makes the table.
//!
//! Counts are no timings: they may be written down. A wrong one is no error of the bench, it is what the table shows; only
//! ours must be right.

use std::fmt::Write as _;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::peers::{self, Said};
use crate::programs;

/// A reader, and how it is asked.
struct Reader {
    name: &'static str,
    how: &'static str,
    /// Its name in `readers.py`.
    key: &'static str,
}

const fn reader(name: &'static str, how: &'static str, key: &'static str) -> Reader {
    Reader { name, how, key }
}

/// For each first what it does when it is told no more than that the file has a header, then what its documents advise.
const READERS: [Reader; 19] = [
    reader("Polars", "`scan_csv`, `len`", "polars-scan"),
    reader("Polars", "`read_csv`, every column", "polars-read"),
    reader("Spark", "`header`", "spark"),
    reader("Spark", "`quote`, `escape`, `mode=FAILFAST`", "spark-failfast"),
    reader("Spark", "the same, column pruning off", "spark-failfast-all"),
    reader("Spark", "`quote`, `escape`, `multiLine`", "spark-multiline"),
    reader("DuckDB", "defaults", "duckdb"),
    reader("DuckDB", "dialect, types, `max_line_size` of 16 MiB", "duckdb-dialect"),
    reader("DuckDB", "dialect as above, `ignore_errors`", "duckdb-ignore-errors"),
    reader("DuckDB", "dialect as above, `parallel=false`", "duckdb-sequential"),
    reader("Dask", "`dataframe.read_csv`", "dask"),
    reader("Dask", "`read_csv`, `blocksize=\"8MB\"`", "dask-small"),
    reader("Dask", "`read_csv`, `blocksize=None`", "dask-whole"),
    reader("Ray Data", "`read_csv`", "ray"),
    reader("Ray Data", "`newlines_in_values`", "ray-newlines"),
    reader("Ray Data", "`newlines_in_values`, `block_size` of 16 MiB", "ray-block"),
    reader("DataFusion", "8 partitions", "datafusion"),
    reader("DataFusion", "8 partitions, `schema`", "datafusion-schema"),
    reader("DataFusion", "8 partitions, `schema`, `newlines_in_values`", "datafusion-newlines"),
];

/// What a reader answered about one file.
#[derive(Debug, PartialEq)]
enum Answer {
    Counted {
        rows: u64,
        /// Into how many it cut the file, where it tells.
        pieces: Option<u64>,
    },
    /// The kind of error that it raised.
    Failed(String),
    Killed,
}

/// Asks those that are there about all files, and writes `readers.md`.
pub(crate) fn compare(settings: &Settings) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.directory)?;
    let files = Kind::ALL.map(|kind| kind.file(settings)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = files.iter().map(|file| file.name.to_owned()).collect();
    let mut table = line("reader", "asked for", &names);
    table += &line("---", "---", &vec!["---".to_owned(); files.len()]);
    let rows: Vec<_> = files.iter().map(|file| file.rows.to_string()).collect();
    table += &line("*records that there are*", "", &rows);
    print!("{table}");
    let ours = ours(settings, &files)?;
    for row in
        ours.into_iter().map(Ok).chain(READERS.iter().filter_map(|it| it.row(settings, &files).transpose()))
    {
        let row = row?;
        print!("{row}");
        table += &row;
    }
    let path = settings.directory.join("readers.md");
    std::fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))
}

/// Our row; a count of ours that is wrong is an error. `None`: the program is not built.
fn ours(settings: &Settings, files: &[DataFile]) -> anyhow::Result<Option<String>> {
    if let Err(error) = programs::program(settings, "warifu") {
        println!("Warifu: skipped, {error}");
        return Ok(None);
    }
    for file in files {
        programs::run(settings, file, &["--handler", "noop", "--batch-size", "1000"])?;
    }
    let name = format!("Warifu {}", env!("CARGO_PKG_VERSION"));
    Ok(Some(line(&name, "`run`, two workers", &vec!["right".to_owned(); files.len()])))
}

impl Reader {
    /// Its row; `None`: it is not installed.
    fn row(&self, settings: &Settings, files: &[DataFile]) -> anyhow::Result<Option<String>> {
        let mut version = String::new();
        let mut cells = Vec::new();
        for file in files {
            let answer = match peers::ask(settings, "readers.py", &[self.key], file)? {
                Said::Absent => {
                    println!("{}: skipped, it is not installed", self.key);
                    return Ok(None);
                }
                Said::Killed => Answer::Killed,
                Said::Answer(answer) => {
                    answer["version"].as_str().unwrap_or_default().clone_into(&mut version);
                    if let Some(message) = answer["message"].as_str() {
                        println!(
                            "{} on {}: {}",
                            self.key,
                            file.name,
                            message.lines().next().unwrap_or_default()
                        );
                    }
                    Answer::of(&answer)?
                }
            };
            cells.push(answer.cell(file.rows));
        }
        Ok(Some(line(format!("{} {version}", self.name).trim_end(), self.how, &cells)))
    }
}

impl Answer {
    fn of(answer: &Value) -> anyhow::Result<Self> {
        if let Some(error) = answer["error"].as_str() {
            return Ok(Self::Failed(error.to_owned()));
        }
        let rows = answer["rows"].as_u64();
        ensure!(rows.is_some(), "neither a count nor an error: {answer}");
        Ok(Self::Counted { rows: rows.unwrap_or_default(), pieces: answer["pieces"].as_u64() })
    }

    /// What the table shows for a file with so many records.
    fn cell(&self, records: u64) -> String {
        match self {
            Self::Failed(error) => format!("error ({error})"),
            Self::Killed => "error (killed)".to_owned(),
            Self::Counted { rows, pieces } => {
                let pieces = match pieces {
                    None => String::new(),
                    Some(1) => ", 1 piece".to_owned(),
                    Some(pieces) => format!(", {pieces} pieces"),
                };
                if *rows == records { format!("right{pieces}") } else { format!("**{rows}**{pieces}") }
            }
        }
    }
}

fn line(name: &str, how: &str, cells: &[String]) -> String {
    let mut line = format!("| {name} | {how} |");
    for cell in cells {
        let _infallible = write!(line, " {cell} |");
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_tells_right_wrong_and_failed_apart() {
        let cell = |answer: Value| Answer::of(&answer).map(|answer| answer.cell(10));
        assert_eq!(cell(json!({"rows": 10, "pieces": null})).expect("a count"), "right");
        assert_eq!(cell(json!({"rows": 10, "pieces": 1})).expect("a count"), "right, 1 piece");
        assert_eq!(cell(json!({"rows": 11, "pieces": 2})).expect("a count"), "**11**, 2 pieces");
        assert_eq!(
            cell(json!({"error": "ParserError", "message": "m"})).expect("an error"),
            "error (ParserError)"
        );
        assert!(cell(json!({"version": "1"})).is_err());
        assert_eq!(Answer::Killed.cell(10), "error (killed)");
    }
}
