//! `warifu run`: one run over one file or object, everything in this process.

mod input;
mod job;
mod lambda;
mod sql;

use std::path::PathBuf;

use clap::Args;
use ulid::Ulid;
use warifu_common::model::spec::DEFAULT_SHARD_BYTES;
use warifu_common::wire::v1::{CreateMapRunRequest, MapRun, MapRunSpec};
use warifu_worker::handler::exec::Exec;

use crate::all_in_one::{AllInOne, Ports, Settings};
use crate::client::Client;
use crate::data_dir::DataDir;
use crate::ending::{self, Next};
use crate::exit::Exit;
use crate::handlers::Handlers;
use crate::interrupts::Interrupts;
use crate::local_run::{self, LocalRun};
use crate::output::Output;
use crate::problem::Problem;
use crate::progress::Progress;
use job::JobArgs;
use sql::SqlArgs;

/// Names of the handlers that flags make.
const EXEC_HANDLER: &str = "exec";
const LAMBDA_HANDLER: &str = "lambda";
const SQL_HANDLER: &str = "sql";
/// Slots of a worker unless the concurrency asks for more.
const DEFAULT_SLOTS: u32 = 8;
/// Slots that --max-concurrency may bring about by itself.
const MOST_IMPLIED_SLOTS: u32 = 256;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A file, or s3://bucket/key: CSV, or what its end says (.jsonl, .json; .gz and .zst around them)
    #[arg(value_name = "INPUT")]
    input: String,
    /// What handles the batches.
    #[command(flatten)]
    handler: HandlerArgs,
    /// Fields of the specification.
    #[command(flatten)]
    job: JobArgs,
    /// Workers in this process
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Batches that a worker may run at once; absent: 8, or as many as --max-concurrency needs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    slots: Option<u32>,
    /// Bytes of a shard, the unit of planning
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SHARD_BYTES,
          value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    shard_size: u64,
    /// Keep the state here: the same command then goes on where a killed process was
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The run's ID; absent: generated
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// What handles the batches: exactly one of these.
#[derive(Debug, Args)]
struct HandlerArgs {
    /// A handler: echo, noop, or one of the worker configuration
    #[arg(long, value_name = "NAME", conflicts_with_all = ["exec", "lambda", "sql"],
          required_unless_present_any = ["exec", "lambda", "sql"])]
    handler: Option<String>,
    /// A command for each batch, run by `sh -c`: items come as JSON lines on stdin
    #[arg(long, value_name = "CMD", conflicts_with_all = ["lambda", "sql"])]
    exec: Option<String>,
    /// An AWS Lambda function in Python, of the current directory; needs `pip install awslambdaric`
    #[arg(long, value_name = "MODULE.FUNCTION", conflicts_with = "sql")]
    lambda: Option<String>,
    /// A table of a database.
    #[command(flatten)]
    sql: SqlArgs,
    /// Where handlers are configured; absent: ./worker.toml, if there is one
    #[arg(long, value_name = "FILE")]
    worker_config: Option<PathBuf>,
}

impl RunArgs {
    fn slots(&self) -> u32 {
        self.slots.unwrap_or_else(|| {
            let wanted = self.job.max_concurrency.div_ceil(self.workers);
            wanted.clamp(DEFAULT_SLOTS, MOST_IMPLIED_SLOTS)
        })
    }
}

/// Runs a handler over one file or object.
pub(crate) async fn run(args: RunArgs, output: &Output) -> anyhow::Result<Exit> {
    let location = input::locate(&args.input)?;
    let (handler, handlers) = handlers_of(&args.handler).await?;
    let spec = args.job.to_spec(&location, &handler)?;

    let data_dir = match &args.data_dir {
        Some(path) => DataDir::at(path)?,
        None => DataDir::temporary()?,
    };
    let request = create_request(&args, &data_dir, spec)?;
    let settings = Settings {
        ports: Ports::default(),
        s3: false,
        workers: args.workers,
        slots: args.slots(),
        shard_bytes: args.shard_size,
        handlers,
    };
    let mut interrupts = Interrupts::listen()?;
    let process = AllInOne::start(&data_dir, settings).await?;
    let ended = Box::pin(follow_run(&process, request, &mut interrupts, &data_dir)).await;
    process.shut_down().await;
    let ended = ended?;
    tell(&ended, &data_dir);
    output.message(&ended.run, String::new)?;
    Ok(ended.exit())
}

/// The handler's name, and everything that workers can do.
async fn handlers_of(choice: &HandlerArgs) -> anyhow::Result<(String, Handlers)> {
    let (name, handlers) = if let Some(command) = &choice.exec {
        (EXEC_HANDLER.to_owned(), Handlers::built_in().with(EXEC_HANDLER, Exec::shell(command)))
    } else if let Some(function) = &choice.lambda {
        let lambda = lambda::to_handler(LAMBDA_HANDLER, function).await?;
        (LAMBDA_HANDLER.to_owned(), Handlers::built_in().with(LAMBDA_HANDLER, lambda))
    } else if let Some(url) = &choice.sql.sql {
        (SQL_HANDLER.to_owned(), Handlers::built_in().with(SQL_HANDLER, choice.sql.to_handler(url)?))
    } else {
        (
            choice.handler.clone().unwrap_or_default(),
            Handlers::from_worker_config(choice.worker_config.as_deref())?,
        )
    };
    handlers.check(&name).await?;
    Ok((name, handlers))
}

fn create_request(
    args: &RunArgs,
    data_dir: &DataDir,
    spec: MapRunSpec,
) -> anyhow::Result<CreateMapRunRequest> {
    let wanted =
        || args.id.clone().unwrap_or_else(|| format!("run-{}", Ulid::new().to_string().to_lowercase()));
    let id = if data_dir.is_temporary() { wanted() } else { data_dir.run_id(wanted)? };
    if let Some(asked) = args.id.as_ref().filter(|asked| **asked != id) {
        let problem =
            Problem::new(format!("{} holds the run `{id}`, not `{asked}`", data_dir.path().display()));
        return Err(problem
            .advise("name another --data-dir, or leave --id out to go on with that run")
            .into());
    }
    let map_run = MapRun { spec: Some(spec), ..MapRun::default() };
    Ok(CreateMapRunRequest {
        map_run_id: id,
        map_run: Some(map_run),
        require_handler: false,
        ..CreateMapRunRequest::default()
    })
}

async fn follow_run(
    process: &AllInOne,
    request: CreateMapRunRequest,
    interrupts: &mut Interrupts,
    data_dir: &DataDir,
) -> anyhow::Result<LocalRun> {
    let client = Client::connect_within_process(process.endpoint()).await?;
    let run = match client.create_map_run(request).await {
        Ok(run) => run,
        Err(status) if status.code() == tonic::Code::AlreadyExists && !data_dir.is_temporary() => {
            let what = format!("{} holds a run with other settings", data_dir.path().display());
            let problem = Problem::new(what).advise("repeat its command exactly, or name another --data-dir");
            return Err(problem.caused_by(status).into());
        }
        Err(status) => return Err(status.into()),
    };
    local_run::follow_or_stop(&client, run, Progress::on_stderr(), interrupts).await
}

fn tell(ended: &LocalRun, data_dir: &DataDir) {
    let next = if data_dir.is_temporary() { Next::Nothing } else { Next::DataDirectory(data_dir.text()) };
    ending::tell(&ended.run, next);
}

#[cfg(test)]
mod tests;
