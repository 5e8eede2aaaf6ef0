//! One process of a function, from its start to its end.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use warifu_common::config::handlers::LambdaConfig;
use warifu_common::model::CallFailure;

use super::endpoint::{Api, Endpoint};
use super::environment;
use super::exchange::{Answer, Event, Exchange};
use super::failure;
use super::log::Log;
use super::pool::Member;
use crate::handler::process::Group;

/// Time between SIGTERM and SIGKILL: runtime clients end at once, and nobody waits for what a function still does.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How the end of a process is known; `None` inside: it cannot be waited for.
type End = watch::Receiver<Option<Option<ExitStatus>>>;

/// A process of a function. It and what it started are killed when the value goes.
pub(super) struct Runtime {
    exchange: Arc<Exchange>,
    log: Arc<Log>,
    end: End,
    stop: CancellationToken,
    _endpoint: Endpoint,
    _watching: AbortOnDropHandle<()>,
    member: Member,
}

/// What became of an event.
pub(super) enum Invoked {
    /// The function answered, or raised an error. The process can be used again.
    Answered(Answer),
    /// The process ended before it took the event, which can go to another one.
    NotDelivered,
    /// The process ended without an answer.
    Ended(CallFailure),
    /// Nobody waits any more. The process is still at it.
    Cancelled,
}

impl Runtime {
    /// Starts a process and waits until it asks for its first event. Dropping the future kills it.
    pub(super) async fn start(config: &LambdaConfig, member: Member) -> Result<Self, CallFailure> {
        let runtime = Self::spawn(config, member).await?;
        let started = tokio::select! {
            // What the process says of itself counts before its end.
            biased;
            initialised = runtime.exchange.initialised() => initialised,
            status = runtime.ended() => {
                Err(failure::ended(status, "before it asked for an event", &runtime.log.last_lines()))
            }
            () = sleep(config.init_timeout) => {
                Err(failure::init_timeout(config.init_timeout, &runtime.log.last_lines()))
            }
        };
        match started {
            Ok(()) => Ok(runtime),
            Err(failure) => {
                runtime.stop().await;
                Err(failure)
            }
        }
    }

    async fn spawn(config: &LambdaConfig, member: Member) -> Result<Self, CallFailure> {
        let program = config.command.first().map_or("", String::as_str);
        let exchange = Arc::new(Exchange::new());
        let api = Api {
            exchange: Arc::clone(&exchange),
            max_response_bytes: config.max_response_bytes,
            function_arn: environment::function_arn(config),
        };
        let endpoint = Endpoint::start(api).await.map_err(|error| failure::not_started(program, &error))?;
        let child = command(config, &endpoint).spawn();
        let child = child.map_err(|error| failure::not_started(program, &error))?;
        let log = Arc::new(Log::new(&config.handler));
        let stop = CancellationToken::new();
        let (ended, end) = watch::channel(None);
        let (pumped, stopped, told) = (Arc::clone(&log), stop.clone(), member.clone_bell());
        let watching = tokio::spawn(async move {
            let status = watch_over(child, &pumped, &stopped).await;
            // The receiver goes with the value that owns this task.
            _ = ended.send(Some(status));
            told.ring();
        });
        let watching = AbortOnDropHandle::new(watching);
        Ok(Self { exchange, log, end, stop, _endpoint: endpoint, _watching: watching, member })
    }

    /// Gives the process an event, and waits for what becomes of it.
    ///
    /// After `Answered` alone may it be given another one. Dropping the future leaves the process at work: drop it, too.
    pub(super) async fn invoke(&self, event: Event, cancel: &CancellationToken) -> Invoked {
        self.log.begin(&event.id);
        let mut answer = self.exchange.offer(event);
        let status = tokio::select! {
            // An answer counts before the end of the process, and before a cancellation that comes with it.
            biased;
            Ok(answer) = &mut answer => return Invoked::Answered(answer),
            status = self.ended() => status,
            () = cancel.cancelled() => return Invoked::Cancelled,
        };
        if self.exchange.withdraw() {
            return Invoked::NotDelivered;
        }
        match answer.try_recv() {
            Ok(answer) => Invoked::Answered(answer),
            Err(_) => {
                let when = "before it answered the event";
                Invoked::Ended(failure::ended(status, when, &self.log.last_lines()))
            }
        }
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Ends the process and all that it started, and waits for that: SIGTERM, and SIGKILL a little later.
    pub(super) async fn stop(self) {
        let Self { end, stop, _watching: watching, member, .. } = self;
        // From now on it does not count: another one may take its place.
        drop(member);
        stop.cancel();
        let mut end = end;
        // An error means that nobody watches it any more: then it has been killed.
        _ = end.wait_for(Option::is_some).await;
        drop(watching);
    }

    /// Waits for the end of the process.
    async fn ended(&self) -> Option<ExitStatus> {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| (*status).flatten())
    }
}

fn command(config: &LambdaConfig, endpoint: &Endpoint) -> Command {
    let (program, arguments) = config.command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).kill_on_drop(true);
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(environment::is_hidden) {
            command.env_remove(variable);
        }
    }
    command.envs(environment::variables(config, endpoint.address()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(workdir) = &config.workdir {
        command.current_dir(workdir);
    }
    command
}

/// Takes in what a process prints and waits for its end, or brings it about. `None`: it cannot be waited for.
async fn watch_over(mut child: Child, log: &Log, stop: &CancellationToken) -> Option<ExitStatus> {
    let group = Group::of(&child);
    let pipes = (child.stdout.take(), child.stderr.take());
    let pump = async {
        tokio::join!(log.pump(pipes.0), log.pump(pipes.1));
    };
    let pump = pump.fuse();
    tokio::pin!(pump);
    let status = {
        let waiting = wait(&mut child, &group, stop);
        tokio::pin!(waiting);
        // Both futures are owned here and hold nothing that the other needs.
        tokio::select! {
            status = &mut waiting => status,
            () = &mut pump => waiting.await,
        }
    };
    group.end_leftovers(pump).await;
    status.inspect_err(|error| warn!(%error, "a function's process cannot be waited for")).ok()
}

async fn wait(child: &mut Child, group: &Group, stop: &CancellationToken) -> std::io::Result<ExitStatus> {
    // Cancel-safe: `Child::wait` may be called again.
    tokio::select! {
        status = child.wait() => return status,
        () = stop.cancelled() => group.signal(Signal::SIGTERM),
    }
    if let Ok(status) = timeout(STOP_PATIENCE, child.wait()).await {
        return status;
    }
    group.signal(Signal::SIGKILL);
    child.wait().await
}
