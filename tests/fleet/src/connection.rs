//! One stream to the coordinator, over a connection of its own.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use warifu_common::model::protocol::WorkerMessage;
use warifu_common::timing::HANDSHAKE_TIMEOUT;
use warifu_common::transport;
use warifu_common::wire::lease_stream::FromCoordinator;
use warifu_common::wire::v1;
use warifu_session::{ConnectionId, SessionEvent};

/// Messages that wait for the network: as many as a worker of the product lets wait.
const MAX_WAITING_MESSAGES: usize = 1024;

/// What a connection tells its worker.
pub(crate) enum Happening {
    /// It stands; messages go in here.
    Opened(ConnectionId, mpsc::Sender<WorkerMessage>),
    /// Something for the session.
    Session(SessionEvent),
}

/// Opens a stream after `delay`, serves it until it ends, and then says `Disconnected`.
pub(crate) async fn serve(
    id: ConnectionId,
    endpoint: String,
    delay: Duration,
    events: mpsc::Sender<Happening>,
) {
    sleep_until(Instant::now() + delay).await;
    if let Ok(mut stream) = open(id, &endpoint, &events).await {
        receive(id, &mut stream, &events).await;
    }
    // The worker is gone only if the test is over.
    _ = events.send(Happening::Session(SessionEvent::Disconnected(id))).await;
}

async fn open(
    id: ConnectionId,
    endpoint: &str,
    events: &mpsc::Sender<Happening>,
) -> anyhow::Result<Streaming<v1::ConnectResponse>> {
    let channel = transport::endpoint(endpoint)?.connect().await?;
    let (outbox, mut messages) = mpsc::channel(MAX_WAITING_MESSAGES);
    events.send(Happening::Opened(id, outbox)).await?;
    let handshake = async {
        let first = messages.recv().await.ok_or_else(|| anyhow::anyhow!("the session gave the stream up"))?;
        let requests = stream::iter([first]).chain(ReceiverStream::new(messages));
        let requests = requests.map(|message| v1::ConnectRequest::from(&message));
        anyhow::Ok(transport::worker_client(channel).connect(requests).await?.into_inner())
    };
    timeout(HANDSHAKE_TIMEOUT, handshake).await?
}

async fn receive(
    id: ConnectionId,
    stream: &mut Streaming<v1::ConnectResponse>,
    events: &mpsc::Sender<Happening>,
) {
    while let Ok(Some(message)) = stream.message().await {
        let message = match FromCoordinator::try_from(message) {
            Ok(FromCoordinator::Message(message)) => message,
            Ok(FromCoordinator::Unknown) => continue,
            Ok(FromCoordinator::NotLeader(_)) | Err(_) => return,
        };
        if events.send(Happening::Session(SessionEvent::Received(id, message))).await.is_err() {
            return;
        }
    }
}
