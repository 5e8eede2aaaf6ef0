//! Watching a run, and waiting for its end.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use warifu_common::wire::v1;
use warifu_model::MapRunId;

use super::{ApiError, Context, stopping};
use crate::driver::RunWatch;

/// Least time between two snapshots on a stream.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// Time that `WaitMapRun` takes if the caller says none, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));

pub(super) type Snapshots = Pin<Box<dyn Stream<Item = Result<v1::WatchMapRunResponse, Status>> + Send>>;

/// Streams snapshots of a run until it is terminal.
pub(super) async fn watch(context: &Context, map_run: MapRunId) -> Result<Snapshots, ApiError> {
    let run = context.driver.watch(map_run.clone()).await?;
    // One waits while another is sent: the sender is paced by the reader.
    let (snapshots, stream) = mpsc::channel(1);
    let shutdown = context.shutdown.clone();
    tokio::spawn(async move {
        // Each future owns or only borrows what lives on; dropping them ends the stream.
        tokio::select! {
            () = send_snapshots(run, map_run, &snapshots) => {}
            () = shutdown.cancelled() => drop(snapshots.try_send(Err(stopping().into()))),
            () = snapshots.closed() => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

async fn send_snapshots(
    mut run: RunWatch,
    map_run: MapRunId,
    snapshots: &mpsc::Sender<Result<v1::WatchMapRunResponse, Status>>,
) {
    loop {
        let view = run.borrow_and_update().clone();
        let next_at = Instant::now() + SNAPSHOT_INTERVAL;
        let snapshot = v1::WatchMapRunResponse { map_run: Some(v1::MapRun::from(&*view)) };
        if snapshots.send(Ok(snapshot)).await.is_err() || view.state.is_terminal() {
            return;
        }
        if run.changed().await.is_err() {
            let _ = snapshots.send(Err(ApiError::NoSuchMapRun(map_run).into())).await;
            return;
        }
        // The last snapshot need not wait.
        while !run.borrow_and_update().state.is_terminal() {
            match timeout_at(next_at, run.changed()).await {
                Ok(Ok(())) => {}
                // Time is over, or there will be no other snapshot.
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }
}

/// Waits until a run is terminal or the time is over.
pub(super) async fn wait(context: &Context, request: v1::WaitMapRunRequest) -> Result<v1::MapRun, ApiError> {
    let map_run = super::map_run_id("name", &request.name)?;
    let timeout = match request.timeout {
        None => WAIT.0,
        Some(timeout) => super::source::duration("timeout", timeout)?.min(WAIT.1),
    };
    let mut run = context.driver.watch(map_run.clone()).await?;
    let ended = run.wait_for(|view| view.state.is_terminal());
    // Owned or borrowed from this call: dropping them loses nothing.
    tokio::select! {
        ended = tokio::time::timeout(timeout, ended) => match ended {
            Ok(Ok(view)) => return Ok(v1::MapRun::from(&**view)),
            Ok(Err(_)) => return Err(ApiError::NoSuchMapRun(map_run)),
            Err(_) => {}
        },
        () = context.shutdown.cancelled() => return Err(stopping()),
    }
    context.map_run(map_run).await
}
