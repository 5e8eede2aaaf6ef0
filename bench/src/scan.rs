//! The scan beside counting line feeds, over a file in memory on one core; and exact counts in shards of every size.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use memchr::{memchr_iter, memchr2_iter};
use warifu_bench::scanned::Scanned;

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Shard sizes in which the count must be exact: 4 KiB to 64 MiB.
const SHARD_SIZES: [u64; 8] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 64 << 20];

/// The size at which the speed is measured: the default.
const SHARD_BYTES: u64 = 8 << 20;

/// Measures one kind of file.
pub(crate) fn measure(kind: Kind, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let file = kind.file(settings)?;
    let bytes = std::fs::read(&file.path)?;
    for shard_bytes in SHARD_SIZES {
        let scanned = Scanned::new(&bytes, shard_bytes)?;
        let counted = scanned.compose(&scanned.scan_all())?;
        ensure!(
            counted == file.rows,
            "{} has {} records, and {counted} in shards of {shard_bytes} bytes",
            file.name,
            file.rows
        );
    }
    let scanned = Scanned::new(&bytes, SHARD_BYTES)?;
    let (mut lines, mut parity, mut scans) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.repeat {
        lines.push(speed(&file, || memchr_iter(b'\n', &bytes).count()));
        parity.push(speed(&file, || count_by_parity(&bytes)));
        scans.push(speed(&file, || scanned.scan_all()));
    }
    let (lines, scans) = (Summary::of(lines), Summary::of(scans));
    table.add(row(&file, scans, ("memchr line feeds", lines), Some(Wanted::AtLeast(0.4, 0.5))));
    table.add(row(&file, scans, ("bare quote parity", Summary::of(parity)), Some(Wanted::AtLeast(0.0, 0.9))));
    Ok(())
}

fn row(file: &DataFile, value: Summary, limit: (&str, Summary), wanted: Option<Wanted>) -> Row {
    let what = format!("scan of {}, one core", file.name);
    Row { what, unit: "GB/s", value, limit: Some((limit.0.to_owned(), limit.1)), wanted }
}

/// GB in a second.
fn speed<T>(file: &DataFile, work: impl FnOnce() -> T) -> f64 {
    let started = Instant::now();
    black_box(work());
    file.bytes as f64 / started.elapsed().as_secs_f64() / 1e9
}

/// Line feeds outside of quotes: what any reader that is right must at least find out.
fn count_by_parity(bytes: &[u8]) -> usize {
    let (mut quoted, mut lines) = (false, 0);
    for at in memchr2_iter(b'"', b'\n', bytes) {
        if bytes[at] == b'"' {
            quoted = !quoted;
        } else {
            lines += usize::from(!quoted);
        }
    }
    lines
}
