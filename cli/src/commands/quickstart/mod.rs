//! `warifu quickstart`: everything working on real input, in one process, with a proof at the end.

mod casualty;
mod database;
mod proof;
mod report;
mod users;

use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use warifu_common::model::spec::DEFAULT_SHARD_BYTES;
use warifu_common::object_store::{ObjectLocation, ObjectStore as _};
use warifu_common::wire::v1::{
    CreateMapRunRequest, ItemBatcher, ItemFailure, ItemProcessor, ItemReader, ListItemFailuresRequest,
    MapRun, MapRunSpec, ReaderConfig, ResultWriter, input_type,
};

use super::quickstart_worker::QuickstartWorkerArgs;
use crate::all_in_one::{AllInOne, Ports, Settings, object_stores};
use crate::client::Client;
use crate::data_dir::DataDir;
use crate::exit::Exit;
use crate::handlers::Handlers;
use crate::interrupts::Interrupts;
use crate::local_run::{self, LocalRun};
use crate::output::Output;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::{describe, local_worker, text};
use casualty::{Casualty, Killed};
use database::Database;
use report::Report;

/// The run's ID: the data directory is new, so it is free.
const RUN_ID: &str = "quickstart";
/// Where the users are put, and where the results go.
const INPUT: (&str, &str) = ("input", "users.csv");
const OUTPUT: (&str, &str) = ("output", "results/");
/// Items of a batch: enough for SQLite to write them in one go, few enough for many batches.
const BATCH_ITEMS: u32 = 100;
/// Batches in progress at once; SQLite writes one at a time anyway.
const CONCURRENCY: u32 = 4;
/// Most rows: the file is put in one request.
const MOST_ROWS: u64 = 2_000_000;
/// Most bad rows: so many failures the coordinator keeps.
const MOST_BAD_ROWS: u64 = 10_000;
/// Failures fetched in one page.
const FAILURES_PAGE: i32 = 1_000;

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Rows of the file
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(1..=MOST_ROWS))]
    rows: u64,
    /// Rows among them that the table does not take
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=MOST_BAD_ROWS))]
    bad_rows: u64,
    /// Where everything is kept; absent: a new temporary directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Workers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,
    /// Run one of the workers as a process of its own, and kill it (SIGKILL) in the middle of its work
    #[arg(long)]
    kill_worker: bool,
}

/// What happened, before it is proved.
struct Story {
    ended: LocalRun,
    failures: Vec<ItemFailure>,
    /// With `--kill-worker`: the worker that was killed.
    killed: Option<Killed>,
}

/// Runs the quick start.
pub(crate) async fn quickstart(args: QuickstartArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut data_dir = match &args.data_dir {
        Some(path) => DataDir::fresh_at(path)?,
        None => DataDir::temporary()?,
    };
    let mut interrupts = Interrupts::listen()?;
    let database = Database::create(data_dir.path()).await?;
    let worker_config = database.write_worker_config(data_dir.path())?;
    let settings = Settings {
        ports: Ports::default(),
        s3: true,
        workers: args.workers - u32::from(args.kill_worker),
        slots: CONCURRENCY,
        shard_bytes: DEFAULT_SHARD_BYTES,
        handlers: Handlers::from_worker_config(Some(&worker_config))?,
    };
    let process = AllInOne::start(&data_dir, settings).await?;
    let story = Box::pin(tell_story(&args, &process, &data_dir, &worker_config, &mut interrupts)).await;
    process.shut_down().await;
    let story = story?;
    if story.ended.interrupted {
        return Ok(Exit::Interrupted);
    }
    data_dir.keep();
    conclude(story, &database, &data_dir, output).await
}

/// Puts the users into S3, runs the map, and fetches what was rejected.
async fn tell_story(
    args: &QuickstartArgs,
    process: &AllInOne,
    data_dir: &DataDir,
    worker_config: &Path,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Story> {
    let s3 = process.s3().map(|s3| s3.endpoint.as_str());
    let objects = object_stores(s3)?;
    let csv = users::users_csv(args.rows, args.bad_rows);
    eprintln!(
        "putting {} ({}) into the embedded S3",
        text::counted(args.rows, "user"),
        text::size(csv.len() as u64)
    );
    let location = ObjectLocation::new(INPUT.0, INPUT.1);
    objects.put(&location, Bytes::from(csv), "text/csv").await.context("cannot put the users into S3")?;

    let mut casualty = match (args.kill_worker, s3) {
        (true, Some(s3)) => Some(start_casualty(args, process, s3, data_dir, worker_config).await?),
        (true, None) | (false, _) => None,
    };
    let client = Client::connect_within_process(process.endpoint()).await?;
    let ended = Box::pin(run_to_end(&client, args.bad_rows, casualty.as_mut(), interrupts)).await;
    if let Some(casualty) = &mut casualty {
        casualty.stop().await;
    }
    let ended = ended?;
    if ended.interrupted {
        return Ok(Story { ended, failures: Vec::new(), killed: None });
    }
    let failures = fetch_failures(&client, &ended.run.name).await?;
    Ok(Story { ended, failures, killed: casualty.map(Casualty::into_killed).transpose()? })
}

/// Starts the last worker as a process of its own, and waits until all workers are there.
async fn start_casualty(
    args: &QuickstartArgs,
    process: &AllInOne,
    s3: &str,
    data_dir: &DataDir,
    worker_config: &Path,
) -> anyhow::Result<Casualty> {
    let worker = local_worker::id(args.workers);
    let arguments = QuickstartWorkerArgs {
        id: worker.clone(),
        coordinator: process.endpoint().to_owned(),
        s3: s3.to_owned(),
        data_dir: data_dir.path().to_owned(),
        worker_config: worker_config.to_owned(),
        slots: CONCURRENCY,
    };
    let casualty = Casualty::start(worker, arguments.to_command_line())?;
    process.wait_for_workers(args.workers).await?;
    Ok(casualty)
}

/// Creates the run and follows it to its end; kills the casualty on the way.
async fn run_to_end(
    client: &Client,
    bad_rows: u64,
    casualty: Option<&mut Casualty>,
    interrupts: &mut Interrupts,
) -> anyhow::Result<LocalRun> {
    let run = client.map_runs().create_map_run(create_request(bad_rows)).await?.into_inner();
    let progress = Progress::on_stderr();
    let notes = progress.notes();
    let mut following = pin!(local_run::follow_or_stop(client, run, progress, interrupts));
    if let Some(casualty) = casualty {
        // Following is not cancelled by the kill; the kill is by the run's end, and the casualty knows how far it came.
        tokio::select! {
            ended = &mut following => return ended,
            killed = casualty.kill_on_the_way(&notes) => killed?,
        }
    }
    following.await
}

fn create_request(tolerated_failures: u64) -> CreateMapRunRequest {
    let spec = MapRunSpec {
        item_reader: Some(ItemReader {
            bucket: INPUT.0.to_owned(),
            key: INPUT.1.to_owned(),
            reader_config: Some(ReaderConfig {
                input_type: input_type::Type::Csv.into(),
                ..ReaderConfig::default()
            }),
            ..ItemReader::default()
        }),
        item_batcher: Some(ItemBatcher { max_items_per_batch: BATCH_ITEMS, ..ItemBatcher::default() }),
        item_processor: Some(ItemProcessor {
            handler: database::HANDLER.to_owned(),
            ..ItemProcessor::default()
        }),
        max_concurrency: CONCURRENCY,
        tolerated_failure_count: Some(tolerated_failures),
        result_writer: Some(ResultWriter {
            bucket: OUTPUT.0.to_owned(),
            prefix: OUTPUT.1.to_owned(),
            writer_config: None,
        }),
        ..MapRunSpec::default()
    };
    CreateMapRunRequest {
        map_run_id: RUN_ID.to_owned(),
        map_run: Some(MapRun { spec: Some(spec), ..MapRun::default() }),
        ..CreateMapRunRequest::default()
    }
}

async fn fetch_failures(client: &Client, name: &str) -> anyhow::Result<Vec<ItemFailure>> {
    let mut request = ListItemFailuresRequest {
        parent: name.to_owned(),
        page_size: FAILURES_PAGE,
        ..ListItemFailuresRequest::default()
    };
    let mut failures = Vec::new();
    loop {
        let page = client.map_runs().list_item_failures(request.clone()).await?.into_inner();
        failures.extend(page.item_failures);
        if page.next_page_token.is_empty() {
            failures.sort_by_key(|failure: &ItemFailure| failure.index);
            return Ok(failures);
        }
        request.page_token = page.next_page_token;
    }
}

/// Proves where every row is, and says what can be done next.
async fn conclude(
    story: Story,
    database: &Database,
    data_dir: &DataDir,
    output: &Output,
) -> anyhow::Result<Exit> {
    let csv_file = data_dir.s3_root().join(INPUT.0).join(INPUT.1);
    let rejected = story.failures.iter().map(|failure| failure.index).collect();
    let proof = proof::prove(&csv_file, &mut database.open().await?, &rejected).await?;
    eprint!("{}", describe::summary(&story.ended.run));
    let report =
        Report { story: &story, proof: &proof, csv_file: &csv_file, database: database.file(), data_dir };
    output.value(|| report.to_json(), || report.to_text())?;
    let exit = story.ended.exit();
    if exit == Exit::Succeeded && !proof.holds() {
        return Err(Problem::new("the proof does not hold: file and table differ").into());
    }
    Ok(exit)
}
