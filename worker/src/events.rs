//! What the shell's tasks tell the session.

use tokio::sync::mpsc;
use warifu_common::model::protocol::{RunFault, WorkerMessage};
use warifu_common::model::{LeaseId, ReportNumber};
use warifu_session::{ConnectionId, SessionEvent};

use crate::lines::BatchLines;

/// Events that may wait for the session. Senders wait beyond it; the session never waits for them, so it drains.
pub(crate) const MAX_WAITING_EVENTS: usize = 1024;

/// Messages that may wait for a stream. When they do not fit the stream is given up, never waited for.
pub(crate) const MAX_WAITING_MESSAGES: usize = 1024;

/// Where the session puts messages for one stream.
pub(crate) type Outbox = mpsc::Sender<WorkerMessage>;

/// Where tasks send their events.
pub(crate) type EventSender = mpsc::Sender<ShellEvent>;

/// One thing that happened in the shell.
#[derive(Debug)]
pub(crate) enum ShellEvent {
    /// Of no interest to the shell itself.
    Session(SessionEvent),
    /// A stream is about to be opened; its first message is awaited.
    Opened(ConnectionId, Outbox),
    /// A handler call ended; its lines are kept until they are stored.
    BatchEnded(Box<EndedBatch>),
    /// A lease's bytes cannot be read.
    LeaseFailed(LeaseId, RunFault),
    /// The results of a report cannot be written.
    PartsFailed(LeaseId, ReportNumber, RunFault),
}

/// A batch that ended, with what result files will hold of it.
#[derive(Debug)]
pub(crate) struct EndedBatch {
    /// For the session.
    pub(crate) finished: warifu_session::FinishedBatch,
    /// For the result writer.
    pub(crate) lines: BatchLines,
    /// The handler asked to end the run.
    pub(crate) fault: Option<RunFault>,
}
