//! `warifu watch`: draws a map run's progress until it ends. Ctrl-C detaches; the run goes on.

use clap::Args;

use crate::args::{GlobalArgs, parse_map_run_name};
use crate::client::Client;
use crate::commands::get;
use crate::ending::{self, Next};
use crate::exit::Exit;
use crate::follow::{Followed, follow};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::progress::Progress;
use crate::text;

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The run: ID or mapRuns/ID
    #[arg(value_name = "ID", value_parser = parse_map_run_name)]
    name: String,
}

/// Watches a map run.
pub(crate) async fn watch(args: WatchArgs, global: &GlobalArgs, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::connect(global).await?;
    get::fetch(&client, &args.name).await?;
    watch_to_end(&client, &args.name, Progress::on_stderr(), output).await
}

/// Draws `progress` until the run ends, then tells what it came to.
pub(crate) async fn watch_to_end(
    client: &Client,
    name: &str,
    mut progress: Progress,
    output: &Output,
) -> anyhow::Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    match follow(client, name, &mut progress, &mut interrupts).await? {
        Followed::Ended(run) => {
            progress.finish(&run);
            ending::tell(&run, Next::Server);
            output.message(&*run, String::new)?;
            Ok(Exit::of_run(&run))
        }
        Followed::Interrupted => {
            progress.note(&format!("detached; {name} goes on: `warifu watch {}`", text::id_of(name)));
            Ok(Exit::Interrupted)
        }
    }
}
