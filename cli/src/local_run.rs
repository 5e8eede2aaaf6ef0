//! A run of the coordinator in this process: Ctrl-C stops it, and what it came to is waited for.

use warifu_common::wire::v1::{MapRun, StopMapRunRequest};

use crate::client::Client;
use crate::commands::get;
use crate::exit::Exit;
use crate::follow::{Followed, follow};
use crate::interrupts::Interrupts;
use crate::progress::Progress;

/// How a run of this process ended.
pub(crate) struct LocalRun {
    /// The run as it was last seen: terminal, unless Ctrl-C was pressed twice.
    pub(crate) run: MapRun,
    /// Ctrl-C was pressed.
    pub(crate) interrupted: bool,
}

impl LocalRun {
    /// The exit status of the command.
    pub(crate) fn exit(&self) -> Exit {
        if self.interrupted { Exit::Interrupted } else { Exit::of_run(&self.run) }
    }
}

/// Draws the progress until the run ends. Ctrl-C stops the run, Ctrl-C once more gives up waiting for that.
pub(crate) async fn follow_or_stop(
    client: &Client,
    run: MapRun,
    mut progress: Progress,
    interrupts: &mut Interrupts,
) -> anyhow::Result<LocalRun> {
    if let Followed::Ended(run) = follow(client, &run.name, &mut progress, interrupts).await? {
        progress.finish(&run);
        return Ok(LocalRun { run: *run, interrupted: false });
    }
    progress.note("stopping; Ctrl-C once more ends at once");
    let request = StopMapRunRequest { name: run.name.clone(), cause: String::new() };
    if let Err(status) = client.map_runs().stop_map_run(request).await {
        // It may just have ended by itself; the wait below tells.
        tracing::debug!(error = %status, "the run was not stopped");
    }
    match follow(client, &run.name, &mut progress, interrupts).await? {
        Followed::Ended(run) => {
            progress.finish(&run);
            Ok(LocalRun { run: *run, interrupted: true })
        }
        Followed::Interrupted => {
            let run = get::fetch(client, &run.name).await.unwrap_or(run);
            Ok(LocalRun { run, interrupted: true })
        }
    }
}
