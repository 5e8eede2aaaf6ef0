//! `warifu wait`: waits until a map run ends.

use std::time::Duration;

use clap::Args;

use crate::args::{GlobalArgs, parse_duration, parse_map_run_name};
use crate::client::Client;
use crate::ending::{self, Next};
use crate::exit::Exit;
use crate::follow::{wait_at_most, wait_for_end};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::text;

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
    /// Give up after this time with exit status 4; the run goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// Waits for a map run.
pub(crate) async fn wait(args: WaitArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    let mut interrupts = Interrupts::listen()?;
    let ended = async {
        match args.timeout {
            Some(limit) => wait_at_most(&client, &args.name, limit).await,
            None => wait_for_end(&client, &args.name).await.map(Some),
        }
    };
    tokio::select! {
        run = ended => match run? {
            Some(run) => {
                ending::tell(&run, Next::Server);
                output.message(&run, String::new)?;
                Ok(Exit::of_run(&run))
            }
            None => {
                let limit = text::time_span(args.timeout.unwrap_or_default());
                eprintln!("{} has not ended after {limit}; it goes on", args.name);
                Ok(Exit::TimedOut)
            }
        },
        () = interrupts.next() => Ok(Exit::Interrupted),
    }
}
