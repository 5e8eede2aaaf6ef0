//! `warifu batches`: single batches of a map run, by number.

use clap::{Args, ValueEnum};
use warifu_common::wire::v1::{Batch, ListBatchesRequest, batch};

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Output;
use crate::table::Table;
use crate::text;

/// What the server returns at most in one page.
const LARGEST_PAGE: u32 = 1_000;
/// Characters of a cause in the table.
const CAUSE_LIMIT: usize = 100;

/// Arguments of `batches`.
#[derive(Debug, Args)]
pub(crate) struct BatchesArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Only batches in this state; may be repeated
    #[arg(long = "state", value_enum, ignore_case = true, value_name = "STATE")]
    states: Vec<StateArg>,
    /// Show at most so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// States as they are written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    Pending,
    Running,
    Succeeded,
    Failed,
    #[value(alias = "timed_out")]
    TimedOut,
    Aborted,
    #[value(alias = "pending_redrive")]
    PendingRedrive,
}

impl From<StateArg> for batch::State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Running => Self::Running,
            StateArg::Succeeded => Self::Succeeded,
            StateArg::Failed => Self::Failed,
            StateArg::TimedOut => Self::TimedOut,
            StateArg::Aborted => Self::Aborted,
            StateArg::PendingRedrive => Self::PendingRedrive,
        }
    }
}

/// Lists batches.
pub(crate) async fn batches(args: BatchesArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let (batches, has_more) = fetch(&client, &args).await?;
    output.list("batches", &batches, || table(&batches))?;
    if has_more {
        eprintln!("there are more; raise --limit");
    }
    Ok(Exit::Succeeded)
}

async fn fetch(client: &Client, args: &BatchesArgs) -> anyhow::Result<(Vec<Batch>, bool)> {
    let limit = args.limit as usize;
    let mut request = ListBatchesRequest {
        parent: args.name.clone(),
        states: args.states.iter().map(|state| batch::State::from(*state).into()).collect(),
        ..ListBatchesRequest::default()
    };
    let mut batches = Vec::new();
    loop {
        request.page_size = (args.limit - batches.len() as u32).min(LARGEST_PAGE) as i32;
        let page = client.map_runs().list_batches(request.clone()).await?.into_inner();
        batches.extend(page.batches);
        if page.next_page_token.is_empty() || batches.len() >= limit {
            return Ok((batches, !page.next_page_token.is_empty()));
        }
        request.page_token = page.next_page_token;
    }
}

fn table(batches: &[Batch]) -> String {
    let mut table =
        Table::new(["BATCH", "STATE", "ITEMS", "FAILED", "ATTEMPTS", "LOST", "WORKER", "TIME", "ERROR"]);
    for batch in batches {
        table.row([
            batch.number.to_string(),
            batch.state().as_str_name().to_owned(),
            items(batch),
            some(batch.failed_item_count),
            some(batch.attempts.into()),
            some(batch.loss_count.into()),
            text::id_of(&batch.worker).to_owned(),
            time(batch),
            error(batch),
        ]);
    }
    table.render()
}

/// A count that says something.
fn some(count: u64) -> String {
    if count == 0 { String::new() } else { text::grouped(count) }
}

/// First and last item.
fn items(batch: &Batch) -> String {
    match (batch.first_index, batch.item_count) {
        (Some(first), Some(count @ 1..)) => format!("{first}-{}", first + u64::from(count) - 1),
        _ => String::new(),
    }
}

/// When it failed, may run again, or was leased: the first of these that is known.
fn time(batch: &Batch) -> String {
    let times =
        [("failed", &batch.fail_time), ("again at", &batch.next_attempt_time), ("leased", &batch.lease_time)];
    let known = times.into_iter().find_map(|(what, time)| Some((what, time.as_ref()?)));
    known.map(|(what, time)| format!("{what} {}", text::moment(Some(time)))).unwrap_or_default()
}

fn error(batch: &Batch) -> String {
    if batch.error.is_empty() {
        return String::new();
    }
    format!("{}: {}", batch.error, text::one_line(&batch.cause, CAUSE_LIMIT))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn batches_are_shown_with_what_is_known_of_them() {
        let time = Some(Timestamp { seconds: 1_764_000_000, nanos: 0 });
        let batches = [
            Batch { number: 0, state: batch::State::Succeeded.into(), ..Batch::default() },
            Batch {
                number: 1,
                state: batch::State::Running.into(),
                first_index: Some(25),
                item_count: Some(25),
                attempts: 2,
                loss_count: 1,
                worker: "workers/w1".into(),
                lease_time: time,
                ..Batch::default()
            },
            Batch {
                number: 2,
                state: batch::State::Failed.into(),
                failed_item_count: 25,
                attempts: 3,
                worker: "workers/w2".into(),
                error: "Exec.Exit.3".into(),
                cause: "no such user\nmore".into(),
                fail_time: time,
                ..Batch::default()
            },
        ];
        assert_eq!(
            table(&batches),
            "BATCH  STATE      ITEMS  FAILED  ATTEMPTS  LOST  WORKER  TIME                         ERROR\n\
             0      SUCCEEDED  -      -       -         -     -       -                            -\n\
             1      RUNNING    25-49  -       2         1     w1      leased 2025-11-24T16:00:00Z  -\n\
             2      FAILED     -      25      3         -     w2      failed 2025-11-24T16:00:00Z  \
             Exec.Exit.3: no such user\n"
        );
    }
}
