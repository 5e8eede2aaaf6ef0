//! The command line: what every command takes, and which commands there are. Each command's own arguments stand in its
//! file under `commands/`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Where `warifu dev` and a coordinator with its defaults listen.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7400";

/// Runs a handler over every item of a data set: a distributed map.
#[derive(Debug, Parser)]
#[command(name = "warifu", version, arg_required_else_help = true, max_term_width = 110)]
#[command(
    after_help = "Exit status: 0 the run succeeded (or the call did), 1 the run failed or was aborted, 2 usage, \
                        invalid or refused, 3 unreachable, 4 --timeout passed, 130 Ctrl-C."
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The coordinator's gRPC endpoint.
    #[arg(long, global = true, value_name = "URL", env = "WARIFU_ENDPOINT", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
    /// How long a connection may take to open.
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) connect_timeout: Duration,
    /// Certificates (PEM) that the coordinator's is checked against.
    #[arg(long, global = true, value_name = "FILE", alias = "ca-file", env = "WARIFU_CA_FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// This client's certificate (PEM).
    #[arg(long, global = true, value_name = "FILE", alias = "cert-file", env = "WARIFU_CERT_FILE")]
    pub(crate) cert: Option<PathBuf>,
    // `run` has a flag of the same name and type in its place: the column that tells rows apart.
    /// The key of this client's certificate (PEM) [env: WARIFU_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Vec<String>,
    /// A file with the bearer token, in place of the variable WARIFU_TOKEN.
    #[arg(long, global = true, value_name = "FILE", env = "WARIFU_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Form of the output on stdout; `csv` only for `failures`.
    #[arg(short = 'o', long = "format", global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) format: Format,
}

/// Form of the output on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Table,
    /// JSON, counts as numbers.
    Json,
    /// YAML.
    Yaml,
    /// Rejected records as they stand in the source.
    Csv,
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show everything working, in one process, with a proof at the end
    Quickstart(commands::quickstart::QuickstartArgs),
    /// The worker that `quickstart --kill-worker` kills
    #[command(hide = true)]
    QuickstartWorker(commands::quickstart_worker::QuickstartWorkerArgs),
    /// Run a handler over one file or object, in one process, without any server
    Run(Box<commands::run::RunArgs>),
    /// Start coordinator, workers and S3 in one process, for development
    Dev(commands::dev::DevArgs),
    /// Create a map run from a job file
    Submit(commands::submit::SubmitArgs),
    /// Print a Step Functions Distributed Map state as a job file
    Convert(commands::convert::ConvertArgs),
    /// List map runs, newest first
    List(commands::list::ListArgs),
    /// Show a map run
    Get(commands::get::GetArgs),
    /// Draw a map run's progress until it ends
    Watch(commands::watch::WatchArgs),
    /// Wait until a map run ends
    Wait(commands::wait::WaitArgs),
    /// Stop a map run
    Stop(commands::stop::StopArgs),
    /// Change limits of a map run that has not ended
    Update(commands::update::UpdateArgs),
    /// Run the items of an ended map run that did not succeed again
    Redrive(commands::redrive::RedriveArgs),
    /// Delete an ended map run's record; its results stay
    Delete(commands::delete::DeleteArgs),
    /// List failed items with place and reason
    Failures(commands::failures::FailuresArgs),
    /// List single batches with state, attempts, worker and error
    Batches(commands::batches::BatchesArgs),
    /// Show what handlers said last in failed attempts
    Logs(commands::logs::LogsArgs),
    /// List or download result files
    Results(commands::results::ResultsArgs),
    /// List workers
    Workers,
    /// Give a worker nothing new; it finishes what it holds and leaves
    Drain(commands::drain::DrainArgs),
    /// Let a draining worker take work again
    Uncordon(commands::uncordon::UncordonArgs),
    /// Show coordinators and the state store
    Cluster,
    /// Print the tables of its own that SQL handlers write to
    SqlSchema(commands::sql_schema::SqlSchemaArgs),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(commands::man::ManArgs),
}

/// Reads `500ms`, `30s`, `5m`, `1h30m`, or seconds without a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write 500ms, 30s, 5m or 1h");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(unit_length);
        let number: u32 = number.parse().map_err(|_| wrong())?;
        total += number * unit_of_time(unit).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

fn unit_of_time(unit: &str) -> Option<Duration> {
    match unit {
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_secs(60)),
        "h" => Some(Duration::from_secs(3_600)),
        _ => None,
    }
}

/// Takes `mapRuns/ID` for `ID`, so that names can be pasted as they are shown.
pub(crate) fn parse_map_run_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("mapRuns/").unwrap_or(text) {
        "" => Err("an ID is missing".to_owned()),
        id if id.contains('/') => Err(format!("`{text}` is no map run; write ID or mapRuns/ID")),
        id => Ok(format!("mapRuns/{id}")),
    }
}

/// Takes `workers/ID` for `ID`.
pub(crate) fn parse_worker_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("workers/").unwrap_or(text) {
        "" => Err("an ID is missing".to_owned()),
        id if id.contains('/') => Err(format!("`{text}` is no worker; write ID or workers/ID")),
        id => Ok(format!("workers/{id}")),
    }
}
