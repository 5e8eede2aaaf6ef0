//! `warifu list`: the map runs, newest first.

use clap::{Args, ValueEnum};
use warifu_common::wire::v1::{ListMapRunsRequest, MapRun, map_run};

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Output;
use crate::table::Table;
use crate::{progress, text};

/// What the server returns at most in one page.
const LARGEST_PAGE: u32 = 1_000;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only runs in this state; may be repeated
    #[arg(long = "state", value_enum, ignore_case = true, value_name = "STATE")]
    states: Vec<StateArg>,
    /// Only runs with this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Show at most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,
}

/// States as they are written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    Queued,
    Running,
    Stopping,
    Succeeded,
    Failed,
    Aborted,
}

impl From<StateArg> for map_run::State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Queued => map_run::State::Queued,
            StateArg::Running => map_run::State::Running,
            StateArg::Stopping => map_run::State::Stopping,
            StateArg::Succeeded => map_run::State::Succeeded,
            StateArg::Failed => map_run::State::Failed,
            StateArg::Aborted => map_run::State::Aborted,
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Lists map runs.
pub(crate) async fn list(args: ListArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let (runs, has_more) = fetch(&client, &args).await?;
    if args.quiet {
        output.text(&runs.iter().map(|run| format!("{}\n", text::id_of(&run.name))).collect::<String>())?;
    } else {
        output.list("mapRuns", &runs, || table(&runs))?;
    }
    if has_more {
        eprintln!("there are more; raise --limit");
    }
    Ok(Exit::Succeeded)
}

async fn fetch(client: &Client, args: &ListArgs) -> anyhow::Result<(Vec<MapRun>, bool)> {
    let limit = args.limit as usize;
    let mut request = ListMapRunsRequest {
        states: args.states.iter().map(|state| map_run::State::from(*state).into()).collect(),
        labels: args.labels.iter().cloned().collect(),
        ..ListMapRunsRequest::default()
    };
    let mut runs = Vec::new();
    loop {
        request.page_size = (args.limit - runs.len() as u32).min(LARGEST_PAGE) as i32;
        let page = client.map_runs().list_map_runs(request.clone()).await?.into_inner();
        runs.extend(page.map_runs);
        if page.next_page_token.is_empty() || runs.len() >= limit {
            return Ok((runs, !page.next_page_token.is_empty()));
        }
        request.page_token = page.next_page_token;
    }
}

fn table(runs: &[MapRun]) -> String {
    let mut table = Table::new(["ID", "STATE", "ITEMS", "DONE", "FAILED", "RATE", "CREATED", "ERROR"]);
    for run in runs {
        let counts = run.item_counts.unwrap_or_default();
        let rate = run.progress.map(|progress| progress.items_per_second).unwrap_or_default();
        table.row([
            text::id_of(&run.name).to_owned(),
            run.state().as_str_name().to_owned(),
            text::grouped(counts.total),
            text::grouped(progress::decided(&counts)),
            text::grouped(counts.failed + counts.timed_out),
            if rate > 0.0 { text::rate(rate) } else { String::new() },
            text::moment(run.create_time.as_ref()),
            run.error.as_ref().map(|error| error.error.clone()).unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{Counts, RunError};

    use super::*;

    #[test]
    fn runs_are_shown_one_per_line() {
        let done = MapRun {
            name: "mapRuns/a".into(),
            state: map_run::State::Succeeded.into(),
            item_counts: Some(Counts { total: 20_000, succeeded: 20_000, ..Counts::default() }),
            ..MapRun::default()
        };
        let failed = MapRun {
            name: "mapRuns/b".into(),
            state: map_run::State::Failed.into(),
            item_counts: Some(Counts { total: 5, failed: 1, timed_out: 1, pending: 3, ..Counts::default() }),
            error: Some(RunError { error: "States.Timeout".into(), cause: String::new() }),
            ..MapRun::default()
        };
        assert_eq!(
            table(&[done, failed]),
            "ID  STATE      ITEMS   DONE    FAILED  RATE  CREATED  ERROR\n\
             a   SUCCEEDED  20,000  20,000  0       -     -        -\n\
             b   FAILED     5       2       2       -     -        States.Timeout\n"
        );
    }

    #[test]
    fn labels_need_a_key_and_a_value() {
        assert_eq!(parse_label("team=data"), Ok(("team".into(), "data".into())));
        assert!(parse_label("team").is_err());
    }
}
