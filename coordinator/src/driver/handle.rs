//! How everything else talks to the driver.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use warifu_model::protocol::WorkerMessage;
use warifu_model::{MapRunId, MapRunView};
use warifu_scheduler::{Event, Rejection, Reply, RequestId, Scheduler, StreamId};

use super::{Leadership, Numbers, StreamOutlet};

/// Why a request has no answer from the scheduler, or which one it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The scheduler refused it. Nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nobody leads at the moment, or the process stops. Nothing changed; try again soon.
    #[error("the coordinator is not ready")]
    NotReady,
    /// Nobody leads because of a problem with the state store. Nothing changed; try again later.
    #[error("{0}")]
    StoreProblem(Arc<str>),
    /// Too many requests wait already. Nothing changed.
    #[error("too many requests wait for the coordinator")]
    Overloaded,
    /// The coordinator stepped down before it knew: the change may have been made or not.
    #[error("the coordinator stepped down before the change was confirmed")]
    OutcomeUnknown,
}

/// What is asked of the driver.
pub(super) enum Request {
    /// Something that changes state, durably, before it is answered.
    Change { event: EventOf, answer: oneshot::Sender<Result<Reply, RequestError>> },
    /// A look at the state between two steps, or why there is none.
    Query(Look),
    /// Snapshots of a run, now and later.
    Watch { map_run: MapRunId, answer: oneshot::Sender<Result<RunWatch, RequestError>> },
}

/// Makes the event once the request has its number.
pub(super) type EventOf = Box<dyn FnOnce(RequestId) -> Event + Send>;

/// Looks at the scheduler, or hears why it cannot.
pub(super) type Look = Box<dyn FnOnce(Result<&Scheduler, RequestError>) + Send>;

/// The latest snapshot of a run. The sender goes when the run is deleted or the process stops.
pub(crate) type RunWatch = watch::Receiver<Arc<MapRunView>>;

impl Request {
    /// Answers that this process does not lead.
    pub(super) fn refuse(self, leadership: &Leadership) {
        let error = match leadership {
            Leadership::Nobody { problem: Some(problem) } => RequestError::StoreProblem(problem.clone()),
            Leadership::Nobody { problem: None } | Leadership::Here(_) | Leadership::Elsewhere(_) => {
                RequestError::NotReady
            }
        };
        // Callers that went away do not want it.
        match self {
            Request::Change { answer, .. } => drop(answer.send(Err(error))),
            Request::Watch { answer, .. } => drop(answer.send(Err(error))),
            Request::Query(query) => query(Err(error)),
        }
    }
}

/// What happened on a worker's stream.
pub(super) enum StreamEvent {
    Opened { stream: StreamId, outlet: StreamOutlet },
    Received { stream: StreamId, message: WorkerMessage },
    Closed { stream: StreamId },
}

impl StreamEvent {
    /// Nobody leads: a new stream is closed, and what old ones say belongs to a term that is over.
    pub(super) fn refuse(self) {
        match self {
            StreamEvent::Opened { outlet, .. } => outlet.abort(),
            StreamEvent::Received { .. } | StreamEvent::Closed { .. } => {}
        }
    }
}

/// A way to talk to the driver; cheap to clone.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    requests: mpsc::Sender<Request>,
    stream_events: mpsc::Sender<StreamEvent>,
    leading: watch::Receiver<Leadership>,
    stream_numbers: Arc<Numbers>,
}

impl DriverHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        stream_events: mpsc::Sender<StreamEvent>,
        leading: watch::Receiver<Leadership>,
    ) -> Self {
        Self { requests, stream_events, leading, stream_numbers: Arc::default() }
    }

    /// Asks for a change, and waits until it is durable or refused.
    pub(crate) async fn change(
        &self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<Reply, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Change { event: Box::new(event), answer })?;
        // The driver answers every request that it drops; if it is gone itself, nobody can know.
        answered.await.unwrap_or(Err(RequestError::OutcomeUnknown))
    }

    /// Looks at the state between two steps. `query` should take well under a millisecond.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Scheduler) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (answer, answered) = oneshot::channel();
        let look = move |leading: Result<&Scheduler, RequestError>| drop(answer.send(leading.map(query)));
        self.send(Request::Query(Box::new(look)))?;
        answered.await.unwrap_or(Err(RequestError::NotReady))
    }

    /// Snapshots of a run: the latest at any time, at most some ten a second, the terminal one at once.
    pub(crate) async fn watch(&self, map_run: MapRunId) -> Result<RunWatch, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Watch { map_run, answer })?;
        answered.await.unwrap_or(Err(RequestError::NotReady))
    }

    /// Tells of a new stream of a worker.
    pub(crate) async fn open_stream(&self, outlet: StreamOutlet) -> Result<StreamId, RequestError> {
        let stream = StreamId(self.stream_numbers.next());
        let event = StreamEvent::Opened { stream, outlet };
        self.stream_events.send(event).await.map_err(|_| RequestError::NotReady)?;
        Ok(stream)
    }

    /// Passes a worker's message on; waits while the driver has too many.
    pub(crate) async fn receive(&self, stream: StreamId, message: WorkerMessage) -> Result<(), RequestError> {
        let event = StreamEvent::Received { stream, message };
        self.stream_events.send(event).await.map_err(|_| RequestError::NotReady)
    }

    /// Tells that a stream has ended.
    pub(crate) async fn close_stream(&self, stream: StreamId) {
        // Without a driver there is nobody who could care.
        let _ = self.stream_events.send(StreamEvent::Closed { stream }).await;
    }

    /// Who leads.
    pub(crate) fn leading(&self) -> watch::Receiver<Leadership> {
        self.leading.clone()
    }

    fn send(&self, request: Request) -> Result<(), RequestError> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RequestError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => RequestError::NotReady,
        })
    }
}
