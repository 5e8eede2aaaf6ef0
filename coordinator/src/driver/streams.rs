//! What the driver can do with a worker's stream: put a message into its queue, or end it.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warifu_model::protocol::CoordinatorMessage;
use warifu_scheduler::StreamId;

/// The driver's end of a stream.
#[derive(Debug)]
pub(crate) struct StreamOutlet {
    /// What is to be sent. Dropping it ends the stream after what is in it.
    pub(crate) queue: mpsc::Sender<CoordinatorMessage>,
    /// Nothing more is to be read from the stream.
    pub(crate) deaf: CancellationToken,
    /// The stream is to end at once, whatever is still queued.
    pub(crate) aborted: CancellationToken,
}

impl StreamOutlet {
    /// Ends the stream at once.
    pub(crate) fn abort(&self) {
        self.deaf.cancel();
        self.aborted.cancel();
    }
}

/// The open streams of a term.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<StreamId, StreamOutlet>,
}

/// A stream's queue was full: its worker does not read. The stream is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stalled;

impl Streams {
    pub(super) fn insert(&mut self, stream: StreamId, outlet: StreamOutlet) {
        self.open.insert(stream, outlet);
    }

    /// Whether the stream is one of this term's that has not ended.
    pub(super) fn contains(&self, stream: StreamId) -> bool {
        self.open.contains_key(&stream)
    }

    /// Queues a message, without ever waiting; to a stream that is gone it is dropped.
    pub(super) fn send(&mut self, stream: StreamId, message: CoordinatorMessage) -> Result<(), Stalled> {
        let Some(outlet) = self.open.get(&stream) else { return Ok(()) };
        match outlet.queue.try_send(message) {
            Ok(()) => Ok(()),
            // The receiver is gone: the stream is ending, and its end will be told.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                outlet.abort();
                self.open.remove(&stream);
                Err(Stalled)
            }
        }
    }

    /// Ends a stream after what was sent on it.
    pub(super) fn finish(&mut self, stream: StreamId) -> bool {
        match self.open.remove(&stream) {
            Some(outlet) => {
                outlet.deaf.cancel();
                true
            }
            None => false,
        }
    }

    /// Ends all streams at once.
    pub(super) fn abort_all(&mut self) {
        for outlet in std::mem::take(&mut self.open).into_values() {
            outlet.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet(room: usize) -> (StreamOutlet, mpsc::Receiver<CoordinatorMessage>) {
        let (queue, received) = mpsc::channel(room);
        (StreamOutlet { queue, deaf: CancellationToken::new(), aborted: CancellationToken::new() }, received)
    }

    #[test]
    fn a_stream_that_is_not_read_is_closed_instead_of_waited_for() {
        let mut streams = Streams::default();
        let (outlet, _received) = outlet(1);
        let aborted = outlet.aborted.clone();
        streams.insert(StreamId(1), outlet);
        assert_eq!(streams.send(StreamId(1), CoordinatorMessage::Uncordon), Ok(()));
        assert_eq!(streams.send(StreamId(1), CoordinatorMessage::Uncordon), Err(Stalled));
        assert!(aborted.is_cancelled() && !streams.contains(StreamId(1)));
        assert_eq!(
            streams.send(StreamId(1), CoordinatorMessage::Uncordon),
            Ok(()),
            "gone streams take anything"
        );
    }

    #[tokio::test]
    async fn a_finished_stream_still_delivers_what_was_sent() {
        let mut streams = Streams::default();
        let (outlet, mut received) = outlet(4);
        streams.insert(StreamId(1), outlet);
        streams.send(StreamId(1), CoordinatorMessage::Superseded).unwrap();
        assert!(streams.finish(StreamId(1)) && !streams.finish(StreamId(1)));
        assert_eq!(received.recv().await, Some(CoordinatorMessage::Superseded));
        assert_eq!(received.recv().await, None);
    }
}
