//! `WorkerService`: workers' streams, as events and messages. The protocol itself is the scheduler's.
//!
//! The end of a stream is not the end of its worker: a connection that died reads as a clean end here. What a stream's end
//! means, only the scheduler decides.
//!
//! **Invariant:** the call returns its stream at once; everything else happens in a task of the session's own. Nothing waits for
//! a worker that does not read: its queue fills, and the driver ends the stream.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;
use warifu_common::timing::HANDSHAKE_TIMEOUT;
use warifu_common::wire::lease_stream::{InvalidMessage, not_leader};
use warifu_common::wire::v1;
use warifu_common::wire::v1::worker_service_server::WorkerService;
use warifu_model::protocol::{CoordinatorMessage, WorkerMessage};
use warifu_scheduler::StreamId;

use crate::api::ApiError;
use crate::driver::{DriverHandle, Leadership, StreamOutlet};
use crate::security::{Principal, WorkerGuard};
use crate::state_store::Leader;

/// Messages that may wait for a worker to read. A grant is the largest, far below 64 KiB.
const QUEUED_MESSAGES: usize = 256;

/// Streams that are open at once: four for each of the 5,000 workers would be a storm of reconnects.
const MAX_STREAMS: usize = 20_000;

/// When to try again while they are too many.
const STREAMS_RETRY: Duration = Duration::from_secs(5);

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    driver: DriverHandle,
    workers: WorkerGuard,
    shutdown: CancellationToken,
    room: std::sync::Arc<tokio::sync::Semaphore>,
}

impl Sessions {
    pub(crate) fn new(driver: DriverHandle, workers: WorkerGuard, shutdown: CancellationToken) -> Self {
        Self {
            driver,
            workers,
            shutdown,
            room: std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_STREAMS)),
        }
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<v1::ConnectResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Sessions {
    type ConnectStream = Messages;

    async fn connect(
        &self,
        request: Request<Streaming<v1::ConnectRequest>>,
    ) -> Result<Response<Messages>, Status> {
        if let Leadership::Elsewhere(leader) = &*self.driver.leading().borrow() {
            return Ok(Response::new(way_to(leader)));
        }
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            return Err(too_many_streams().into());
        };
        let (queue, queued) = mpsc::channel(QUEUED_MESSAGES);
        let (refusal, refused) = mpsc::channel(1);
        let aborted = self.shutdown.child_token();
        let principal = request.extensions().get::<Principal>().cloned();
        let session = Session {
            principal: principal.unwrap_or_else(Principal::nobody),
            workers: self.workers.clone(),
            incoming: request.into_inner(),
            deaf: aborted.child_token(),
            aborted: aborted.clone(),
            driver: self.driver.clone(),
        };
        tokio::spawn(
            async move {
                if let Err(status) = session.run(queue).await {
                    // The stream may be gone already.
                    let _ = refusal.try_send(Err(status));
                }
                drop(permit);
            }
            .in_current_span(),
        );
        let messages = ReceiverStream::new(queued).map(|message| Ok(v1::ConnectResponse::from(&message)));
        // Why the stream ends comes last, after everything that was sent.
        let stream = messages.take_until(aborted.cancelled_owned()).chain(ReceiverStream::new(refused));
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The reading side of a stream.
struct Session {
    /// Who opened the stream.
    principal: Principal,
    workers: WorkerGuard,
    incoming: Streaming<v1::ConnectRequest>,
    deaf: CancellationToken,
    aborted: CancellationToken,
    driver: DriverHandle,
}

impl Session {
    /// Reads until the stream ends, from either side. An error is the status that the worker is told.
    async fn run(mut self, queue: mpsc::Sender<CoordinatorMessage>) -> Result<(), Status> {
        let hello = timeout(HANDSHAKE_TIMEOUT, self.next()).await;
        let hello =
            hello.map_err(|_| Status::deadline_exceeded("the first message, Hello, did not come"))??;
        let Some(hello) = hello else { return Ok(()) };
        let WorkerMessage::Hello(greeting) = &hello else { return Err(not_hello().into()) };
        self.workers.admit(&self.principal, greeting).await?;
        let span = tracing::info_span!("session", worker_id = %greeting.worker);
        self.serve(queue, hello).instrument(span).await
    }

    /// A session that has said Hello.
    async fn serve(
        mut self,
        queue: mpsc::Sender<CoordinatorMessage>,
        hello: WorkerMessage,
    ) -> Result<(), Status> {
        let outlet = StreamOutlet { queue, deaf: self.deaf.clone(), aborted: self.aborted.clone() };
        let stream = self.driver.open_stream(outlet).await.map_err(ApiError::from)?;
        let end = self.pass_on(stream, hello).await;
        self.driver.close_stream(stream).await;
        if self.aborted.is_cancelled() {
            // The process stops or does not lead, or the worker does not read: it should come again.
            return Err(ApiError::NotReady { doing: "ending this stream" }.into());
        }
        end
    }

    async fn pass_on(&mut self, stream: StreamId, hello: WorkerMessage) -> Result<(), Status> {
        let WorkerMessage::Hello(greeting) = &hello else { return Err(not_hello().into()) };
        let speaker = (greeting.worker.clone(), greeting.incarnation);
        let mut message = hello;
        loop {
            self.driver.receive(stream, message).await.map_err(ApiError::from)?;
            match self.next().await? {
                Some(next) => {
                    // Nobody is another than it said first, and nobody speaks of what another holds.
                    self.workers.allow(&self.principal, (&speaker.0, speaker.1), &next).await?;
                    message = next;
                }
                None => return Ok(()),
            }
        }
    }

    /// The next message; `None` at the stream's end, whoever ended it.
    async fn next(&mut self) -> Result<Option<WorkerMessage>, Status> {
        // Dropping the read loses nothing: the stream is not read again.
        let message = tokio::select! {
            message = self.incoming.message() => message,
            () = self.deaf.cancelled() => return Ok(None),
        };
        match message {
            Ok(None) => Ok(None),
            Ok(Some(message)) => match WorkerMessage::try_from(message) {
                Ok(message) => Ok(Some(message)),
                Err(invalid) => Err(ApiError::InvalidMessage(invalid).into()),
            },
            // The connection failed, which says as little about the worker as a clean end does.
            Err(status) => {
                tracing::debug!(error = status.message(), "a worker's stream broke");
                Ok(None)
            }
        }
    }
}

/// A stream that says where the leader is, and ends.
fn way_to(leader: &Leader) -> Messages {
    Box::pin(stream::iter([Ok(not_leader(Some(leader)))]))
}

fn not_hello() -> ApiError {
    InvalidMessage { field: "message", reason: "must be Hello on a new stream".into() }.into()
}

fn too_many_streams() -> ApiError {
    ApiError::Overloaded { what: "too many workers' streams are open".into(), retry_after: STREAMS_RETRY }
}
