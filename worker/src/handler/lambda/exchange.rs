//! What a runtime process and its caller tell each other: one event at a time one way, its answer the other way.
//!
//! The endpoint calls the process's side (`next`, `answer`, `init_failed`), the worker the other one (`initialised`,
//! `offer`, `withdraw`). Nothing here knows HTTP or processes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use warifu_common::model::{CallFailure, TraceParent, WallTime};

/// One invocation.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Its request ID.
    pub(super) id: String,
    /// When nobody waits for the answer any more.
    pub(super) deadline: WallTime,
    /// The trace that the call is part of.
    pub(super) trace_parent: Option<TraceParent>,
    /// JSON.
    pub(super) body: Bytes,
}

/// What came of an event: the function's JSON, not yet looked at, or why there is none.
pub(super) type Answer = Result<Bytes, CallFailure>;

/// How far the process is.
#[derive(Debug, Clone)]
enum Init {
    /// It has not asked for an event yet.
    Starting,
    /// It has.
    Ready,
    /// It said that it cannot.
    Failed(CallFailure),
}

/// Why the process was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names an event that it does not have.
    UnknownId,
    /// It is not in the state for that.
    WrongState,
}

/// An event, and who waits for its answer.
struct Pending {
    event: Event,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    /// The process has not taken it yet.
    offered: Option<Pending>,
    /// It has, and has not answered yet.
    running: Option<Pending>,
}

/// Between one process and its caller.
pub(super) struct Exchange {
    init: watch::Sender<Init>,
    state: Mutex<State>,
    offered: Notify,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self { init: watch::Sender::new(Init::Starting), state: Mutex::default(), offered: Notify::new() }
    }

    /// The process asks for an event, and waits for as long as there is none.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Result<Event, Refusal> {
        if self.state().running.is_some() {
            return Err(Refusal::WrongState);
        }
        self.init.send_if_modified(|init| {
            let starting = matches!(init, Init::Starting);
            if starting {
                *init = Init::Ready;
            }
            starting
        });
        loop {
            if let Some(event) = self.take_offered() {
                return Ok(event);
            }
            self.offered.notified().await;
        }
    }

    fn take_offered(&self) -> Option<Event> {
        let mut state = self.state();
        let pending = state.offered.take()?;
        let event = pending.event.clone();
        state.running = Some(pending);
        Some(event)
    }

    /// Whether the process has the event `id` and has not answered it.
    pub(super) fn is_running(&self, id: &str) -> bool {
        self.state().running.as_ref().is_some_and(|pending| pending.event.id == id)
    }

    /// The process answers the event `id`.
    pub(super) fn answer(&self, id: &str, answer: Answer) -> Result<(), Refusal> {
        let pending = self.state().running.take_if(|pending| pending.event.id == id);
        // An error means that the caller does not wait any more.
        pending.map(|pending| drop(pending.answer.send(answer))).ok_or(Refusal::UnknownId)
    }

    /// The process says why it cannot start.
    pub(super) fn init_failed(&self, failure: CallFailure) -> Result<(), Refusal> {
        let noted = self.init.send_if_modified(|init| {
            let starting = matches!(init, Init::Starting);
            if starting {
                *init = Init::Failed(failure);
            }
            starting
        });
        if noted { Ok(()) } else { Err(Refusal::WrongState) }
    }

    /// Waits until the process asks for its first event, or says why it cannot.
    pub(super) async fn initialised(&self) -> Result<(), CallFailure> {
        let mut init = self.init.subscribe();
        let decided = init.wait_for(|init| !matches!(init, Init::Starting)).await;
        match decided.as_deref() {
            Ok(Init::Failed(failure)) => Err(failure.clone()),
            // The sender is in `self`.
            Ok(Init::Starting | Init::Ready) | Err(_) => Ok(()),
        }
    }

    /// Gives the process its next event, for which it may not have asked yet. It must have none.
    pub(super) fn offer(&self, event: Event) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.state().offered = Some(Pending { event, answer });
        self.offered.notify_one();
        answered
    }

    /// Takes back an event; false if the process has taken it.
    pub(super) fn withdraw(&self) -> bool {
        self.state().offered.take().is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is written under it is one assignment each: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        Event {
            id: id.to_owned(),
            deadline: WallTime(0),
            trace_parent: None,
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn an_event_goes_one_way_and_its_answer_the_other() {
        let exchange = Exchange::new();
        let answered = exchange.offer(event("a"));
        assert_eq!(exchange.next().await.unwrap().id, "a");
        assert!(exchange.is_running("a") && !exchange.is_running("b"));
        assert_eq!(exchange.answer("b", Ok(Bytes::new())), Err(Refusal::UnknownId));
        assert_eq!(exchange.next().await.unwrap_err(), Refusal::WrongState);
        assert_eq!(exchange.answer("a", Ok(Bytes::from_static(b"1"))), Ok(()));
        assert_eq!(answered.await.unwrap().unwrap(), "1");
        assert_eq!(exchange.answer("a", Ok(Bytes::new())), Err(Refusal::UnknownId), "once is enough");
    }

    #[tokio::test]
    async fn what_was_not_taken_can_be_taken_back() {
        let exchange = Exchange::new();
        let _answered = exchange.offer(event("a"));
        assert!(exchange.withdraw() && !exchange.withdraw());
        let _answered = exchange.offer(event("b"));
        assert_eq!(exchange.next().await.unwrap().id, "b");
        assert!(!exchange.withdraw());
    }

    #[tokio::test]
    async fn a_start_ends_with_the_first_question_or_with_a_reason() {
        let ready = Exchange::new();
        tokio::select! {
            biased;
            event = ready.next() => panic!("{event:?}"),
            started = ready.initialised() => started.unwrap(),
        }
        assert_eq!(ready.init_failed(CallFailure::system("E", "")), Err(Refusal::WrongState));
        let broken = Exchange::new();
        assert_eq!(broken.init_failed(CallFailure::system("E", "why")), Ok(()));
        assert_eq!(broken.initialised().await.unwrap_err().cause, "why");
    }
}
