//! `warifu update`: changes limits of a map run that has not ended.

use clap::Args;
use warifu_common::wire::v1::{MapRun, UpdateMapRunRequest};

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::limits::LimitArgs;
use crate::describe;
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;

/// Arguments of `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// The new limits.
    #[command(flatten)]
    limits: LimitArgs,
}

/// Updates a map run.
pub(crate) async fn update(args: UpdateArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let Some((spec, update_mask)) = args.limits.to_update() else {
        return Err(Problem::new("nothing to change")
            .advise("name a limit, such as --max-concurrency 8")
            .into());
    };
    let client = Client::connect(global).await?;
    let map_run = MapRun { name: args.name, spec: Some(spec), ..MapRun::default() };
    let request = UpdateMapRunRequest { map_run: Some(map_run), update_mask: Some(update_mask) };
    let run = client.map_runs().update_map_run(request).await?.into_inner();
    output.message(&run, || describe::full(&run))?;
    Ok(Exit::Succeeded)
}
