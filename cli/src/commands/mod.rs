//! One file per command: its arguments, and what it does.

pub(crate) mod batches;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod delete;
pub(crate) mod dev;
pub(crate) mod drain;
pub(crate) mod failures;
pub(crate) mod get;
mod limits;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod quickstart;
pub(crate) mod quickstart_worker;
pub(crate) mod redrive;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod sql_schema;
pub(crate) mod stop;
pub(crate) mod submit;
pub(crate) mod uncordon;
pub(crate) mod update;
pub(crate) mod wait;
pub(crate) mod watch;
pub(crate) mod workers;

use crate::args::{Cli, Command, Format};
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Problem;

impl Command {
    /// Whether the command starts a coordinator or workers in this process.
    pub(crate) fn is_one_process(&self) -> bool {
        matches!(
            self,
            Command::Quickstart(_) | Command::QuickstartWorker(_) | Command::Run(_) | Command::Dev(_)
        )
    }

    /// Whether the command serves others until it is told to end.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Command::Dev(_))
    }
}

/// Carries out the command.
pub(crate) async fn execute(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { global, command } = cli;
    if global.format == Format::Csv && !matches!(command, Command::Failures(_)) {
        return Err(Problem::new("-o csv is only for `warifu failures`")
            .advise("use table, json or yaml")
            .into());
    }
    let output = Output::new(global.format);
    match command {
        // Whole servers live in these four: too much for the stack of a future that holds one command of many.
        Command::Quickstart(args) => Box::pin(quickstart::quickstart(args, &output)).await,
        Command::QuickstartWorker(args) => Box::pin(quickstart_worker::quickstart_worker(args)).await,
        Command::Run(args) => Box::pin(run::run(*args, &output)).await,
        Command::Dev(args) => Box::pin(dev::dev(args, &output)).await,
        Command::Submit(args) => submit::submit(args, &global, &output).await,
        Command::Convert(args) => convert::convert(args, &output),
        Command::List(args) => list::list(args, &global, &output).await,
        Command::Get(args) => get::get(args, &global, &output).await,
        Command::Watch(args) => watch::watch(args, &global, &output).await,
        Command::Wait(args) => wait::wait(args, &global, &output).await,
        Command::Stop(args) => stop::stop(args, &global, &output).await,
        Command::Update(args) => update::update(args, &global, &output).await,
        Command::Redrive(args) => redrive::redrive(args, &global, &output).await,
        Command::Delete(args) => delete::delete(args, &global).await,
        Command::Failures(args) => failures::failures(args, &global, &output).await,
        Command::Batches(args) => batches::batches(args, &global, &output).await,
        Command::Logs(args) => logs::logs(args, &global, &output).await,
        Command::Results(args) => results::results(args, &global, &output).await,
        Command::Workers => workers::workers(&global, &output).await,
        Command::Drain(args) => drain::drain(args, &global, &output).await,
        Command::Uncordon(args) => uncordon::uncordon(args, &global, &output).await,
        Command::Cluster => cluster::cluster(&global, &output).await,
        Command::SqlSchema(args) => sql_schema::sql_schema(args, &output),
        Command::Completions(args) => completions::completions(args, &output),
        Command::Man(args) => man::man(&args, &output),
    }
}
