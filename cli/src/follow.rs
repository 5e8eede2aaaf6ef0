//! Following a map run to its end: the progress is drawn from the watch, the end is taken from the wait, and a
//! coordinator that goes away for a while is waited for.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tonic::{Status, Streaming};
use warifu_common::status::CallError;
use warifu_common::wire::v1::{MapRun, WaitMapRunRequest, WatchMapRunRequest, WatchMapRunResponse};

use crate::client::Client;
use crate::interrupts::Interrupts;
use crate::progress::Progress;

/// One long poll; the server takes at most 300 s.
const WAIT_STEP: Duration = Duration::from_secs(60);
/// A coordinator that does not answer for longer is given up: longer than a change of leader takes.
const UNREACHABLE_FOR: Duration = Duration::from_secs(60);
/// Pause before a coordinator that does not answer is asked again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How often the progress may repeat itself.
const TICK: Duration = Duration::from_secs(1);

/// How following ended.
pub(crate) enum Followed {
    /// The run is terminal.
    Ended(Box<MapRun>),
    /// Ctrl-C was pressed; the run goes on.
    Interrupted,
}

/// Follows a run until it ends or Ctrl-C is pressed.
pub(crate) async fn follow(
    client: &Client,
    name: &str,
    progress: &mut Progress,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Followed> {
    let ended = wait_for_end(client, name);
    tokio::pin!(ended);
    let drawn = draw(client, name, progress);
    tokio::pin!(drawn);
    tokio::select! {
        run = &mut ended => Ok(Followed::Ended(Box::new(run?))),
        never = &mut drawn => match never {},
        () = interrupts.next() => Ok(Followed::Interrupted),
    }
}

/// Waits until a run is terminal, whatever happens to the connection.
pub(crate) async fn wait_for_end(client: &Client, name: &str) -> anyhow::Result<MapRun> {
    let mut patience = Patience::default();
    loop {
        match wait_once(client, name, WAIT_STEP).await {
            Ok(run) if is_terminal(&run) => return Ok(run),
            Ok(_) => patience.renew(),
            Err(status) => {
                let borne = patience.bear(status.into());
                borne.with_context(|| format!("wait for {name} at {}", client.endpoint()))?;
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}

/// Patience with a coordinator that does not answer for a while.
#[derive(Default)]
pub(crate) struct Patience {
    give_up_at: Option<Instant>,
}

impl Patience {
    /// It has answered.
    pub(crate) fn renew(&mut self) {
        self.give_up_at = None;
    }

    /// The error is given back unless the call may be repeated after a pause.
    pub(crate) fn bear(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let status = error.downcast_ref::<Status>();
        if !status.is_some_and(|status| CallError::from(status).is_unreachable()) {
            return Err(error);
        }
        let give_up_at = *self.give_up_at.get_or_insert_with(|| Instant::now() + UNREACHABLE_FOR);
        if Instant::now() < give_up_at { Ok(()) } else { Err(error) }
    }
}

/// Waits until a run is terminal or `limit` passes, which is `None`.
pub(crate) async fn wait_at_most(
    client: &Client,
    name: &str,
    limit: Duration,
) -> anyhow::Result<Option<MapRun>> {
    timeout_at(Instant::now() + limit, wait_for_end(client, name)).await.ok().transpose()
}

async fn wait_once(client: &Client, name: &str, step: Duration) -> Result<MapRun, Status> {
    let request =
        WaitMapRunRequest { name: name.to_owned(), timeout: prost_types::Duration::try_from(step).ok() };
    Ok(client.map_runs().wait_map_run(request).await?.into_inner())
}

/// Draws snapshots for as long as it is polled.
async fn draw(client: &Client, name: &str, progress: &mut Progress) -> std::convert::Infallible {
    loop {
        let request = WatchMapRunRequest { name: name.to_owned() };
        if let Ok(answer) = client.map_runs().watch_map_run(request).await {
            draw_stream(answer.into_inner(), progress).await;
        }
        // What is wrong with the connection or the run, the wait beside this one finds out and says.
        progress.tick();
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn draw_stream(mut snapshots: Streaming<WatchMapRunResponse>, progress: &mut Progress) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Both arms are cancel-safe: neither a snapshot nor a tick is lost when the other is ready first.
        tokio::select! {
            snapshot = snapshots.message() => match snapshot {
                Ok(Some(WatchMapRunResponse { map_run: Some(run) })) => progress.show(&run),
                Ok(Some(WatchMapRunResponse { map_run: None })) => {}
                Ok(None) | Err(_) => return,
            },
            _ = ticks.tick() => progress.tick(),
        }
    }
}

/// Whether a run has ended.
pub(crate) fn is_terminal(run: &MapRun) -> bool {
    use warifu_common::wire::v1::map_run::State;
    match run.state() {
        State::Succeeded | State::Failed | State::Aborted => true,
        State::Unspecified | State::Queued | State::Running | State::Stopping => false,
    }
}
