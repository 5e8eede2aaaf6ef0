//! How long an idle fleet takes from a run's creation to its first handler call, and from the last return to its end.
//!
//! The handler is a program that notes its own times, so that the start of its process counts as ours.

use std::path::Path;

use anyhow::Context;

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::limit::BATCH;
use crate::programs::{self, Measured};
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Records of the file: a single batch.
const ROWS: u64 = BATCH as u64;

/// Measures both.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let file = Kind::Ordinary.file(&Settings { rows: ROWS, ..settings.clone() })?;
    let seen: Result<Vec<_>, _> = (0..settings.repeat).map(|_| one(settings, &file)).collect();
    let (begun, ended): (Vec<_>, Vec<_>) = seen?.into_iter().unzip();
    for (what, times) in [
        ("from CreateMapRun to the first handler call, `exec`", begun),
        ("from the last handler's return to SUCCEEDED", ended),
    ] {
        table.add(Row {
            what: what.to_owned(),
            unit: "ms",
            value: Summary::of(times),
            limit: Some(("100 ms".to_owned(), Summary::of(vec![100.0]))),
            wanted: Some(Wanted::AtMost(1.0, 0.2)),
        });
    }
    Ok(())
}

/// Milliseconds of one run.
fn one(settings: &Settings, file: &DataFile) -> anyhow::Result<(f64, f64)> {
    let directory = tempfile::tempdir_in(&settings.directory)?;
    let times = std::fs::canonicalize(directory.path())?.join("times");
    let program = format!("date +%s%N >>{0}; cat >/dev/null; date +%s%N >>{0}", times.display());
    let Measured { created_ms, stopped_ms, .. } = programs::run(settings, file, &["--exec", &program])?;
    let (begun, ended) = read(&times)?;
    Ok((begun - created_ms, stopped_ms - ended))
}

/// Milliseconds since the epoch of the first line and the last.
fn read(times: &Path) -> anyhow::Result<(f64, f64)> {
    let text = std::fs::read_to_string(times)?;
    let times: Vec<f64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    let (first, last) = times.first().zip(times.last()).context("the handler was not called")?;
    Ok((first / 1e6, last / 1e6))
}
