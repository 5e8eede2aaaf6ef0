//! One stream to a coordinator: `WorkerService.Connect`, opened once, never repaired. The session decides when there is to
//! be another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};
use warifu_common::wire::lease_stream::FromCoordinator;
use warifu_common::wire::v1::{self, worker_service_client::WorkerServiceClient};
use warifu_session::{ConnectionId, SessionEvent};

use crate::events::{EventSender, MAX_WAITING_MESSAGES, ShellEvent};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Until the first message is sent and the answer's headers are here.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A partition is noticed after the sum of both, not after minutes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection's window is larger than its one stream's, so that the stream cannot stall pings and settings.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The most bytes of a message. Grants, scans and run contexts (a header of 256 KiB, a specification of as much) fit.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Where coordinators are, and which of them said last that it leads.
#[derive(Debug)]
pub(crate) struct Coordinators {
    endpoints: Vec<String>,
    /// Locked for a look only.
    next: Mutex<Next>,
}

#[derive(Debug, Default)]
struct Next {
    turn: usize,
    leader: Option<String>,
}

impl Coordinators {
    /// At least one endpoint.
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self { endpoints, next: Mutex::default() }
    }

    /// The leader once, if one was named; else each in its turn.
    fn next(&self) -> String {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = next.leader.take() {
            return leader;
        }
        let turn = next.turn;
        next.turn = (turn + 1) % self.endpoints.len();
        self.endpoints[turn].clone()
    }

    /// Tries `endpoint` first next time.
    fn prefer(&self, endpoint: String) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).leader = Some(endpoint);
    }
}

/// Opens a stream after `delay` and serves it until it ends; then says `Disconnected`, whatever happened.
pub(crate) async fn serve(
    id: ConnectionId,
    coordinators: Arc<Coordinators>,
    delay: Duration,
    events: EventSender,
) {
    tokio::time::sleep(delay).await;
    let endpoint = coordinators.next();
    match open(id, &endpoint, &events).await {
        Ok(mut stream) => {
            info!(endpoint, "connected to a coordinator");
            match receive(id, &mut stream, &events).await {
                // Whoever answered is asked first again, until it does not answer.
                StreamEnd::Ended => coordinators.prefer(endpoint),
                StreamEnd::Broken(error) => warn!(endpoint, error, "the stream to the coordinator broke"),
                StreamEnd::NotLeader(None) => info!(endpoint, "this coordinator does not lead"),
                StreamEnd::NotLeader(Some(leader)) => {
                    info!(endpoint, leader, "this coordinator does not lead, another one does");
                    coordinators.prefer(leader);
                }
            }
        }
        Err(error) => warn!(endpoint, error = format!("{error:#}"), "no stream to the coordinator"),
    }
    // The session is gone only if the worker ends.
    let _ = events.send(ShellEvent::Session(SessionEvent::Disconnected(id))).await;
}

async fn open(
    id: ConnectionId,
    endpoint: &str,
    events: &EventSender,
) -> anyhow::Result<Streaming<v1::ConnectResponse>> {
    let channel = channel(endpoint)?.connect().await?;
    let (outbox, mut messages) = mpsc::channel(MAX_WAITING_MESSAGES);
    events.send(ShellEvent::Opened(id, outbox)).await?;
    let handshake = async {
        // The call resolves only with the answer's headers, and a server may wait for the first message before it sends
        // them: so the first message is in the request before the call is made.
        let first = messages.recv().await.ok_or_else(|| anyhow::anyhow!("the session gave the stream up"))?;
        let requests = stream::iter([first]).chain(ReceiverStream::new(messages));
        let requests = requests.map(|message| v1::ConnectRequest::from(&message));
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        anyhow::Ok(client.connect(requests).await?.into_inner())
    };
    timeout(HANDSHAKE_TIMEOUT, handshake).await?
}

fn channel(endpoint: &str) -> anyhow::Result<Endpoint> {
    Ok(Channel::from_shared(endpoint.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

async fn receive(
    id: ConnectionId,
    stream: &mut Streaming<v1::ConnectResponse>,
    events: &EventSender,
) -> StreamEnd {
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return StreamEnd::Ended,
            Err(status) => return StreamEnd::Broken(status.to_string()),
        };
        let message = match FromCoordinator::try_from(message) {
            Ok(FromCoordinator::Message(message)) => message,
            Ok(FromCoordinator::NotLeader(leader)) => {
                return StreamEnd::NotLeader(leader.map(|leader| leader.endpoint));
            }
            Ok(FromCoordinator::Unknown) => continue,
            Err(error) => return StreamEnd::Broken(error.to_string()),
        };
        // The session is gone only if the worker ends.
        if events.send(ShellEvent::Session(SessionEvent::Received(id, message))).await.is_err() {
            return StreamEnd::Ended;
        }
    }
}

/// Why a stream is over.
enum StreamEnd {
    Ended,
    Broken(String),
    NotLeader(Option<String>),
}
