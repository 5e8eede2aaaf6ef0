//! `warifu quickstart-worker`: the worker that `warifu quickstart --kill-worker` starts in order to kill it. Not for users.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use clap::Args;
use tokio_util::sync::CancellationToken;
use warifu_worker::handler::{BatchCall, Handler, HandlerAnswer};

use crate::all_in_one::object_stores;
use crate::data_dir::DataDir;
use crate::exit::Exit;
use crate::handlers::Handlers;
use crate::local_worker::{LocalWorker, LocalWorkerSettings};
use crate::worker_process::{BATCH_BEGAN, BATCH_ENDED, DRAIN};

/// The status with which it ends when its parent is gone. Nobody is left to see it.
const ORPHANED: i32 = 1;

/// Arguments of `quickstart-worker`.
#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct QuickstartWorkerArgs {
    /// Its name
    #[arg(long, value_name = "ID")]
    pub(crate) id: String,
    /// The quick start's gRPC endpoint
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: String,
    /// The quick start's S3
    #[arg(long, value_name = "URL")]
    pub(crate) s3: String,
    /// The quick start's data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where handlers are configured
    #[arg(long, value_name = "FILE")]
    pub(crate) worker_config: PathBuf,
    /// Batches that it may run at once
    #[arg(long, value_name = "N")]
    pub(crate) slots: u32,
}

impl QuickstartWorkerArgs {
    /// The command line that is read back as `self`.
    pub(crate) fn to_command_line(&self) -> Vec<OsString> {
        let slots = self.slots.to_string();
        let flags: [(&str, &OsStr); 6] = [
            ("--id", self.id.as_ref()),
            ("--coordinator", self.coordinator.as_ref()),
            ("--s3", self.s3.as_ref()),
            ("--data-dir", self.data_dir.as_ref()),
            ("--worker-config", self.worker_config.as_ref()),
            ("--slots", slots.as_ref()),
        ];
        flags.into_iter().flat_map(|(flag, value)| [flag.into(), value.to_owned()]).collect()
    }
}

/// Works until it is told to end, or its parent is gone.
pub(crate) async fn quickstart_worker(args: QuickstartWorkerArgs) -> anyhow::Result<Exit> {
    let drain = end_with_parent()?;
    let data_dir = DataDir::at(&args.data_dir)?;
    let handlers = Handlers::from_worker_config(Some(&args.worker_config))?;
    let worker = LocalWorker::new(LocalWorkerSettings {
        id: args.id,
        data_dir: &data_dir,
        endpoint: &args.coordinator,
        slots: args.slots,
        handlers: handlers.map(|handler| Arc::new(Watched { handler })),
        objects: Arc::new(object_stores(Some(&args.s3))?),
    })?;
    worker.run(drain).await?;
    Ok(Exit::Succeeded)
}

/// Listens to the parent in a thread of its own, so that nothing that this process is at can hold it back.
fn end_with_parent() -> anyhow::Result<CancellationToken> {
    let drain = CancellationToken::new();
    let token = drain.clone();
    let listening = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if line == DRAIN {
                token.cancel();
            }
        }
        std::process::exit(ORPHANED);
    };
    std::thread::Builder::new().name("parent".into()).spawn(listening).context("cannot start a thread")?;
    Ok(drain)
}

/// A handler that says on standard output when its calls begin and end.
struct Watched {
    handler: Arc<dyn Handler>,
}

#[async_trait]
impl Handler for Watched {
    async fn check(&self) -> Result<(), String> {
        self.handler.check().await
    }

    fn check_timeout(&self) -> Duration {
        self.handler.check_timeout()
    }

    async fn close(&self) {
        self.handler.close().await;
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let _ended = Told::began();
        self.handler.call(call, cancel).await
    }
}

/// A call in progress; says that it ended when it is dropped, which is how a call that is given up ends.
struct Told;

impl Told {
    fn began() -> Self {
        say(BATCH_BEGAN);
        Self
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        say(BATCH_ENDED);
    }
}

/// A line in one write. If nobody reads, the parent is gone, and so is this process in a moment.
fn say(line: &str) {
    _ = writeln!(io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::worker_process::COMMAND;

    #[test]
    fn the_arguments_that_it_is_started_with_are_those_that_it_reads() {
        let args = QuickstartWorkerArgs {
            id: "worker-2".into(),
            coordinator: "http://c".into(),
            s3: "http://s".into(),
            data_dir: "a dir".into(),
            worker_config: "w.toml".into(),
            slots: 4,
        };
        let line = ["warifu", COMMAND].map(OsString::from).into_iter().chain(args.to_command_line());
        let Command::QuickstartWorker(read) = Cli::parse_from(line).command else {
            panic!("another command")
        };
        assert_eq!(read, args);
    }
}
