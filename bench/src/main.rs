//! What a batch costs, beside the limits of the same machine in the same run.
//!
//! `cargo run --release -p warifu-bench -- all` prints a table with ratios, and writes it to `target/bench` as Markdown and
//! JSON. Every measurement checks the answer first: a fast wrong one is an error. Start reading in [`table`], which has the
//! rows, and [`limit`], which has the program that they are held against.

#![allow(clippy::print_stdout, reason = "it reports to the terminal")]
#![allow(clippy::disallowed_methods, reason = "what it measures is time on this machine")]

mod cluster;
mod counted;
mod data;
mod fleet;
mod latency;
mod limit;
mod matrix;
mod peers;
mod programs;
mod ranged;
mod readers;
mod running;
mod s3;
mod s3_server;
mod scale;
mod scan;
mod sql;
mod summary;
mod table;
mod whole;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::data::Kind;

/// That of the programs which it measures: the limit program has it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "What a batch costs, beside the limits of the same machine in the same run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything
    All(Settings),
    /// Scan and exact counts alone
    Scan(Settings),
    /// The limit program alone
    Limit(Settings),
    /// Whole runs alone
    Runs(Settings),
    /// From creation to the first handler call, and from the last one's return to the end
    Latency(Settings),
    /// What a run reads from an S3 server beside ranged GETs of the same object
    Ranged(Settings),
    /// The run with `noop` as a cluster: a coordinator over etcd, two workers, the source in S3
    Cluster(Settings),
    /// Durable upserts into PostgreSQL beside pgbench with the same statement
    Sql(Settings),
    /// Ten times as many records beside the same run over all of them
    Growth(Settings),
    /// How many records other readers count in the files, where `--python` has them
    Readers(Settings),
    /// Items of 100 to 10,000 with a concurrency of 1, 3 and 5, as a table and a plot
    Matrix(Settings),
    /// The scheduler core alone with up to 10,000 slots and 1e9 items, in simulated time
    Scale {
        #[command(flatten)]
        settings: Settings,
        /// The most items
        #[arg(long, default_value_t = 1_000_000_000, conflicts_with = "quick")]
        most_items: u64,
    },
    /// One world of the scale simulation; started by `scale`
    #[command(hide = true)]
    ScaleWorld {
        /// Items of its run
        items: u64,
        /// Its workers; 0: one with a single slot
        workers: u32,
    },
    /// A worker of the limit program; started by the others
    #[command(hide = true)]
    LimitWorker {
        /// Where the coordinator of the limit program listens
        address: String,
    },
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy)]
enum Part {
    Scan,
    Limit,
    Runs,
    Latency,
    Ranged,
    Cluster,
    Sql,
    Growth,
    Scale,
    Matrix,
}

/// Items of the scale simulation among everything else: its last step alone takes longer than all the others.
const MOST_ITEMS: u64 = 100_000_000;

/// Records of each file, and items of the scale simulation, where only a look is wanted.
const QUICK_ROWS: u64 = 10_000;
const QUICK_ITEMS: u64 = 100_000;

/// How much is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Records of each file
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) rows: u64,
    /// Measurements of each kind, of which the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) repeat: u32,
    /// Small files, measured once: whether everything works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where files are made and tables written
    #[arg(long, default_value = "target/bench")]
    pub(crate) directory: PathBuf,
    /// Python with the packages of bench/peers/requirements.txt, as far as they are wanted
    #[arg(long, default_value = "python3")]
    pub(crate) python: String,
    /// Where the programs are that are measured; absent: beside this one
    #[arg(long)]
    pub(crate) programs: Option<PathBuf>,
}

impl Settings {
    fn adjusted(&self) -> Self {
        if self.quick { Self { rows: QUICK_ROWS, repeat: 1, ..self.clone() } } else { self.clone() }
    }
}

fn main() -> anyhow::Result<()> {
    let (settings, parts, most_items) = match Cli::parse().command {
        Command::LimitWorker { address } => return limit::work(&address),
        Command::ScaleWorld { items, workers } => return scale::simulate(items, workers),
        Command::Readers(settings) => return readers::compare(&settings.adjusted()),
        Command::All(settings) => (settings, &Part::ALL[..], MOST_ITEMS),
        Command::Scan(settings) => (settings, &[Part::Scan][..], 0),
        Command::Limit(settings) => (settings, &[Part::Limit][..], 0),
        Command::Runs(settings) => (settings, &[Part::Runs][..], 0),
        Command::Latency(settings) => (settings, &[Part::Latency][..], 0),
        Command::Ranged(settings) => (settings, &[Part::Ranged][..], 0),
        Command::Cluster(settings) => (settings, &[Part::Cluster][..], 0),
        Command::Sql(settings) => (settings, &[Part::Sql][..], 0),
        Command::Growth(settings) => (settings, &[Part::Growth][..], 0),
        Command::Matrix(settings) => (settings, &[Part::Matrix][..], 0),
        Command::Scale { settings, most_items } => (settings, &[Part::Scale][..], most_items),
    };
    let most_items = if settings.quick { QUICK_ITEMS } else { most_items };
    let settings = settings.adjusted();
    std::fs::create_dir_all(&settings.directory)?;
    let mut table = table::Table::default();
    for part in parts {
        part.measure(&settings, most_items, &mut table)?;
    }
    table.write(&settings)
}

impl Part {
    /// A limit stands beside each whole run already.
    const ALL: [Self; 9] = [
        Self::Scan,
        Self::Runs,
        Self::Latency,
        Self::Ranged,
        Self::Cluster,
        Self::Sql,
        Self::Growth,
        Self::Scale,
        Self::Matrix,
    ];

    fn measure(self, settings: &Settings, most_items: u64, table: &mut table::Table) -> anyhow::Result<()> {
        match self {
            Self::Scan => Kind::ALL.into_iter().try_for_each(|kind| scan::measure(kind, settings, table)),
            Self::Limit => whole::measure_limit(settings, table),
            Self::Runs => whole::measure(settings, table),
            Self::Latency => latency::measure(settings, table),
            Self::Ranged => ranged::measure(settings, table),
            Self::Cluster => cluster::measure(settings, table),
            Self::Sql => sql::measure(settings, table),
            Self::Growth => whole::measure_growth(settings, table),
            Self::Scale => scale::measure(settings, most_items, table),
            Self::Matrix => matrix::measure(settings),
        }
    }
}
