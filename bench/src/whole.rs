//! Whole runs of the release programs, beside the limit program: each kind once in every round, so that what else the
//! machine does meets all of them.

use anyhow::Context;

use crate::Settings;
use crate::data::{DataFile, Kind};
use crate::limit::{self, BATCH};
use crate::peers;
use crate::programs::{self, Measured};
use crate::summary::Summary;
use crate::table::{Row, Table, Wanted};

/// Unanswered batches per worker of the limit program.
pub(crate) const WINDOW: usize = 16;

/// Ticks in a second, in which the kernel tells times to programs: the same on every machine.
const TICKS: f64 = 100.0;

/// A kind of run: its name, what of the command line makes it, and what its ratio must and should be.
struct Story {
    what: &'static str,
    arguments: &'static [&'static str],
    /// It writes results, into a directory of its own.
    results: bool,
    wanted: Option<Wanted>,
}

const STORIES: [Story; 5] = [
    Story {
        what: "`run --handler noop`, 2 workers, durable state",
        arguments: &["--handler", "noop"],
        results: false,
        wanted: Some(Wanted::AtMost(1.0, 0.6)),
    },
    Story {
        what: "the same with --max-concurrency 2",
        arguments: &["--handler", "noop", "--max-concurrency", "2"],
        results: false,
        wanted: Some(Wanted::AtMost(1.5, 1.0)),
    },
    Story {
        what: "`run --handler echo` with gzip results of every item",
        arguments: &["--handler", "echo", "--output-compression", "gzip"],
        results: true,
        wanted: Some(Wanted::AtMost(3.0, 2.0)),
    },
    Story {
        what: "the same with plain results",
        arguments: &["--handler", "echo"],
        results: true,
        wanted: None,
    },
    Story {
        what: "`run --exec 'cat >/dev/null'`, 1,000 items a batch",
        arguments: &["--exec", "cat >/dev/null; exit 0", "--batch-size", "1000"],
        results: false,
        wanted: None,
    },
];

/// Measures the limit program alone.
pub(crate) fn measure_limit(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let file = Kind::Ordinary.file(settings)?;
    let seconds = (0..settings.repeat).map(|_| limit::ship(&file, WINDOW, &settings.directory));
    let seconds = Summary::of(seconds.collect::<Result<_, _>>()?);
    table.add(Row {
        what: format!("limit program, at most {WINDOW} batches unanswered by each of 2 workers"),
        unit: "µs for 25 records",
        value: seconds.map(|seconds| seconds * 1e6 / (file.rows as f64 / BATCH as f64)),
        limit: None,
        wanted: None,
    });
    Ok(())
}

/// Measures all of them.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let file = Kind::Ordinary.file(settings)?;
    let (mut limits, mut limit_cpu, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let mut runs: Vec<Vec<Measured>> = STORIES.iter().map(|_| Vec::new()).collect();
    for _ in 0..settings.repeat {
        let (seconds, busy) = with_cpu(|| limit::ship(&file, WINDOW, &settings.directory))?;
        limits.push(seconds);
        limit_cpu.push(busy);
        for (place, (story, runs)) in STORIES.iter().zip(&mut runs).enumerate() {
            let (measured, busy) = with_cpu(|| story.run(settings, &file))?;
            runs.push(measured);
            cpu.extend((place == 0).then_some(busy));
        }
    }
    let per_batch = |seconds: f64| seconds * 1e6 / (file.rows as f64 / BATCH as f64);
    let limit = Summary::of(limits).map(per_batch);
    for (story, runs) in STORIES.iter().zip(&runs) {
        let seconds = Summary::of(runs.iter().map(|run| run.seconds).collect());
        table.add(Row {
            what: story.what.to_owned(),
            unit: "µs for 25 records",
            value: seconds.map(per_batch),
            limit: Some(("limit program".to_owned(), limit)),
            wanted: story.wanted,
        });
    }
    table.add(Row {
        what: "CPU time of the first, all threads and processes".to_owned(),
        unit: "µs for 25 records",
        value: Summary::of(cpu).map(per_batch),
        limit: Some(("limit program".to_owned(), Summary::of(limit_cpu).map(per_batch))),
        wanted: None,
    });
    let ours = Summary::of(runs[0].iter().map(|run| run.seconds).collect()).map(per_batch);
    peers::measure(settings, ours, table)?;
    let memory = Summary::of(runs[0].iter().map(|run| run.peak_mib).collect());
    table.add(Row {
        what: "memory of the first: coordinator, 2 workers and store in one process".to_owned(),
        unit: "MiB",
        value: memory,
        limit: None,
        wanted: None,
    });
    Ok(())
}

/// Measures the first story over ten times as many records beside the same over as many as usual.
pub(crate) fn measure_growth(settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let file = Kind::Ordinary.file(settings)?;
    let large = Kind::Ordinary.file(&Settings { rows: settings.rows * 10, ..settings.clone() })?;
    let (mut usual, mut grown, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.repeat {
        usual.push(STORIES[0].run(settings, &file)?.seconds * 10.0);
        let measured = STORIES[0].run(settings, &large)?;
        grown.push(measured.seconds);
        memory.push(measured.peak_mib);
    }
    let per_batch = |seconds: f64| seconds * 1e6 / (large.rows as f64 / BATCH as f64);
    table.add(Row {
        what: format!("{} over {} records", STORIES[0].what, large.rows),
        unit: "µs for 25 records",
        value: Summary::of(grown).map(per_batch),
        limit: Some((format!("over {}", file.rows), Summary::of(usual).map(per_batch))),
        wanted: Some(Wanted::AtMost(1.1, 1.0)),
    });
    table.add(Row {
        what: "its memory, everything in one process".to_owned(),
        unit: "MiB",
        value: Summary::of(memory),
        limit: None,
        wanted: None,
    });
    Ok(())
}

/// What `work` gives, and the CPU seconds that this process and its children took for it. Unlike the time on the wall they hardly
/// depend on what else the machine does.
fn with_cpu<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let before = cpu_seconds()?;
    let result = work()?;
    Ok((result, cpu_seconds()? - before))
}

/// User and system time of this process and of its children that have ended.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold spaces; the times are the 14th to the 17th field, 12 after it.
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat has another form")?;
    let ticks = fields.split(' ').skip(11).take(4).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / TICKS)
}

impl Story {
    fn run(&self, settings: &Settings, file: &DataFile) -> anyhow::Result<Measured> {
        if !self.results {
            return programs::run(settings, file, self.arguments);
        }
        let results = tempfile::tempdir_in(&settings.directory)?;
        let output = format!("--output={}", results.path().display());
        let arguments: Vec<&str> = self.arguments.iter().copied().chain([output.as_str()]).collect();
        programs::run(settings, file, &arguments)
    }
}
