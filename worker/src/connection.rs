//! One stream to a coordinator: `WorkerService.Connect`, opened once, never repaired. The session decides when there is to
//! be another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{info, warn};
use warifu_common::timing::HANDSHAKE_TIMEOUT;
use warifu_common::transport::{self, Dial};
use warifu_common::wire::lease_stream::FromCoordinator;
use warifu_common::wire::v1;
use warifu_session::{ConnectionId, SessionEvent};

use crate::events::{EventSender, MAX_WAITING_MESSAGES, ShellEvent};

/// Where coordinators are, and which of them said last that it leads.
#[derive(Debug)]
pub(crate) struct Coordinators {
    endpoints: Vec<String>,
    dial: Arc<dyn Dial>,
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
    pub(crate) fn new(endpoints: Vec<String>, dial: Arc<dyn Dial>) -> Self {
        Self { endpoints, dial, next: Mutex::default() }
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
    match open(id, &*coordinators.dial, &endpoint, &events).await {
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
    dial: &dyn Dial,
    endpoint: &str,
    events: &EventSender,
) -> anyhow::Result<Streaming<v1::ConnectResponse>> {
    let channel = dial.dial(&transport::endpoint(endpoint)?).await?;
    let (outbox, mut messages) = mpsc::channel(MAX_WAITING_MESSAGES);
    events.send(ShellEvent::Opened(id, outbox)).await?;
    let handshake = async {
        // The call resolves only with the answer's headers, and a server may wait for the first message before it sends
        // them: so the first message is in the request before the call is made.
        let first = messages.recv().await.ok_or_else(|| anyhow::anyhow!("the session gave the stream up"))?;
        let requests = stream::iter([first]).chain(ReceiverStream::new(messages));
        let requests = requests.map(|message| v1::ConnectRequest::from(&message));
        let mut request = tonic::Request::new(requests);
        if let Some(authorization) = dial.authorization() {
            request.metadata_mut().insert("authorization", authorization);
        }
        anyhow::Ok(transport::worker_client(channel).connect(request).await?.into_inner())
    };
    timeout(HANDSHAKE_TIMEOUT, handshake).await?
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
