//! `warifu redrive`: runs the items of an ended map run that did not succeed again.

use clap::Args;
use ulid::Ulid;
use warifu_common::wire::v1::{MapRun, RedriveMapRunRequest};

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::limits::LimitArgs;
use crate::commands::watch::watch_to_end;
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Progress;
use crate::{describe, text};

/// Arguments of `redrive`.
#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Change nothing; tell how many items would run again
    #[arg(long)]
    dry_run: bool,
    /// Draw the progress until the run ends; the exit status is then the run's
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// The new limits.
    #[command(flatten)]
    limits: LimitArgs,
}

/// Redrives a map run.
pub(crate) async fn redrive(args: RedriveArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let (spec, update_mask) = args.limits.to_update().unzip();
    let request = RedriveMapRunRequest {
        name: args.name,
        validate_only: args.dry_run,
        spec,
        update_mask,
        request_id: Ulid::new().to_string(),
    };
    let run = client.map_runs().redrive_map_run(request).await?.into_inner();
    if args.watch {
        return watch_to_end(&client, &run.name, Progress::on_stderr(), output).await;
    }
    output.message(&run, || if args.dry_run { preview(&run) } else { describe::full(&run) })?;
    Ok(Exit::Succeeded)
}

fn preview(run: &MapRun) -> String {
    let counts = run.item_counts.unwrap_or_default();
    // What never started is pending still.
    let to_run = counts.pending_redrive + counts.pending;
    format!("{} of {} would run\n", text::counted(to_run, "item"), run.name)
}
