//! Peers over the same records, where they are installed: `bench/peers` has a script for each.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::limit::BATCH;
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Records that a peer which tracks each batch gets: more would take it minutes.
const TRACKED_ROWS: u64 = 100_000;

/// What the error of a script says when it lacks something: a package, or Redis for Celery.
const ABSENT: [&str; 2] = ["ModuleNotFoundError", "KeyError: 'REDIS_URL'"];

/// A peer, and how many times faster we must and should be.
struct Peer {
    script: &'static str,
    /// It keeps track of each batch.
    tracks: bool,
    wanted: Wanted,
}

const PEERS: [Peer; 5] = [
    Peer { script: "pool.py", tracks: false, wanted: Wanted::AtLeast(5.0, 10.0) },
    Peer { script: "ray_data.py", tracks: true, wanted: Wanted::AtLeast(20.0, 40.0) },
    Peer { script: "dask_map.py", tracks: true, wanted: Wanted::AtLeast(80.0, 150.0) },
    Peer { script: "celery_group.py", tracks: true, wanted: Wanted::AtLeast(80.0, 150.0) },
    Peer { script: "hyperqueue_tasks.py", tracks: true, wanted: Wanted::AtLeast(80.0, 150.0) },
];

/// What came of a script.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// The last line that it printed.
    Answer(Value),
    /// What it needs is not installed.
    Absent,
    /// A signal ended it: it took too long, or too much memory.
    Killed,
}

/// Measures those that are there against `ours`, microseconds for a batch.
pub(crate) fn measure(settings: &Settings, ours: Summary, table: &mut Table) -> anyhow::Result<()> {
    for peer in &PEERS {
        let rows = if peer.tracks { settings.rows.min(TRACKED_ROWS) } else { settings.rows };
        let file = Kind::Ordinary.file(&Settings { rows, ..settings.clone() })?;
        let runs: Result<Vec<_>, _> = (0..settings.repeat).map(|_| run(settings, peer, &file)).collect();
        match runs? {
            runs if runs.iter().any(Option::is_none) => {
                println!("{}: skipped, it is not installed", peer.script)
            }
            runs => {
                let (names, seconds): (Vec<_>, Vec<_>) = runs.into_iter().flatten().unzip();
                let per_batch = |seconds: f64| seconds * 1e6 / (file.rows as f64 / BATCH as f64);
                table.add(Row {
                    what: names.into_iter().next().unwrap_or_default(),
                    unit: "µs for 25 records",
                    value: Summary::of(seconds).map(per_batch),
                    limit: Some(("`run --handler noop`".to_owned(), ours)),
                    wanted: Some(peer.wanted),
                });
            }
        }
    }
    Ok(())
}

/// The peer's name and its seconds; `None`: it is not installed.
fn run(settings: &Settings, peer: &Peer, file: &DataFile) -> anyhow::Result<Option<(String, f64)>> {
    match ask(settings, peer.script, &[], file)? {
        Said::Answer(answer) => checked(&answer, file).map(Some),
        Said::Absent => Ok(None),
        Said::Killed => bail!("{} was killed", peer.script),
    }
    .with_context(|| format!("{} is not to be measured", peer.script))
}

/// The name and the seconds of an answer that is right.
fn checked(answer: &Value, file: &DataFile) -> anyhow::Result<(String, f64)> {
    ensure!(
        answer["rows"] == file.rows && answer["sum"] == file.post_count,
        "its answer is wrong: {answer}; there are {} records that come to {}",
        file.rows,
        file.post_count
    );
    let text = |field: &str| answer[field].as_str().with_context(|| format!("no {field} in {answer}"));
    Ok((format!("{} {}", text("name")?, text("version")?), answer["seconds"].as_f64().context("no seconds")?))
}

/// Runs a script of `bench/peers` with these arguments and the file.
pub(crate) fn ask(
    settings: &Settings,
    script: &str,
    arguments: &[&str],
    file: &DataFile,
) -> anyhow::Result<Said> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
    let mut command = Command::new(&settings.python);
    command.arg(path).args(arguments).arg(std::fs::canonicalize(&file.path)?);
    let output = command.output().with_context(|| format!("cannot start {}", settings.python))?;
    understood(&output).with_context(|| format!("{script} {} failed", arguments.join(" ")))
}

fn understood(output: &Output) -> anyhow::Result<Said> {
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        None => Ok(Said::Killed),
        // Some print more before: banners, progress.
        Some(0) => {
            let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
            let answer = serde_json::from_slice(last.unwrap_or_default());
            let text = || format!("no answer: {:?}", String::from_utf8_lossy(&output.stdout));
            Ok(Said::Answer(answer.with_context(text)?))
        }
        Some(_) if ABSENT.iter().any(|absent| said.contains(absent)) => Ok(Said::Absent),
        Some(code) => bail!("exit code {code}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use serde_json::json;

    use super::*;

    /// What a process would leave behind that ended with this status of `wait`.
    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { status: ExitStatus::from_raw(status), stdout: stdout.into(), stderr: stderr.into() }
    }

    fn file() -> DataFile {
        DataFile { name: "ordinary", path: "ordinary.csv".into(), rows: 3, post_count: 93, bytes: 100 }
    }

    #[test]
    fn the_answer_is_the_last_line_whatever_was_printed_before() {
        let said = understood(&output(0, "a banner\n{\"rows\": 3}\n", "a warning")).expect("it answers");
        assert_eq!(said, Said::Answer(json!({"rows": 3})));
        assert!(understood(&output(0, "no JSON\n", "")).is_err());
        assert!(understood(&output(0, "", "")).is_err());
    }

    #[test]
    fn a_missing_package_or_redis_is_absent_and_any_other_failure_is_an_error() {
        let failed = |stderr| understood(&output(1 << 8, "", stderr));
        assert_eq!(failed("ModuleNotFoundError: No module named 'ray'").expect("absent"), Said::Absent);
        assert_eq!(failed("KeyError: 'REDIS_URL'").expect("absent"), Said::Absent);
        let error = failed("ValueError: quotes").expect_err("it failed");
        assert!(error.to_string().contains("ValueError: quotes"), "{error}");
        assert_eq!(understood(&output(14, "", "")).expect("known"), Said::Killed);
    }

    #[test]
    fn a_wrong_count_or_sum_is_an_error_however_fast() {
        let answer = |rows: u64, sum: u64| json!({"name": "Peer", "version": "1", "rows": rows, "sum": sum, "seconds": 0.5});
        assert_eq!(checked(&answer(3, 93), &file()).expect("right"), ("Peer 1".to_owned(), 0.5));
        for wrong in [answer(4, 93), answer(3, 92), json!({"name": "Peer", "version": "1", "seconds": 0.5})] {
            assert!(
                checked(&wrong, &file()).is_err_and(|error| error.to_string().contains("wrong")),
                "{wrong}"
            );
        }
    }
}
