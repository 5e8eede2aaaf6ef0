//! One term of leadership: from a snapshot of the store until the process stops or steps down.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use warifu_model::{LeaderTerm, Timestamp};
use warifu_scheduler::record::Snapshot;
use warifu_scheduler::{CommitOutcome, Effect, Effects, Event, Rejection, Reply, RequestId, Scheduler};

use super::alerts::tell;
use super::background::{self, Finished};
use super::handle::{Request, RequestError, StreamEvent};
use super::streams::{Stalled, Streams};
use super::{Driver, Leadership};

/// The longest sleep. The scheduler's clock also goes on while the machine is suspended, the sleep's does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How long a stopping process waits for the transaction in flight.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a term ended.
pub(super) enum TermEnd {
    /// The process stops.
    Stopped,
    /// The scheduler cannot be sure of its state any more.
    SteppedDown(&'static str),
}

/// Everything that lives and dies with one scheduler.
pub(super) struct Term<'a> {
    driver: &'a mut Driver,
    scheduler: Scheduler,
    effects: Effects,
    /// Events that came of carrying out effects.
    followups: VecDeque<Event>,
    streams: Streams,
    waiting: BTreeMap<RequestId, oneshot::Sender<Result<Reply, RequestError>>>,
    last_request: u64,
    tasks: JoinSet<Finished>,
    /// Transactions in a row that the store refused.
    refusals: u32,
    stepping_down: Option<&'static str>,
}

impl<'a> Term<'a> {
    pub(super) fn begin(driver: &'a mut Driver, term: LeaderTerm, snapshot: Snapshot) -> Self {
        let mut effects = Effects::new();
        // Fresh randomness for jitter and placement; nothing secret rests on it.
        let seed = ulid::Ulid::new().random() as u64;
        let now = driver.clock.now();
        let scheduler = Scheduler::new(driver.config.clone(), term, snapshot, now, seed, &mut effects);
        driver.watchers.begin_term(&scheduler);
        driver.leading.send_replace(Leadership::Here(term));
        Self {
            driver,
            scheduler,
            effects,
            followups: VecDeque::new(),
            streams: Streams::default(),
            waiting: BTreeMap::new(),
            last_request: 0,
            tasks: JoinSet::new(),
            refusals: 0,
            stepping_down: None,
        }
    }

    pub(super) async fn run(mut self) -> TermEnd {
        self.carry_out();
        loop {
            if let Some(reason) = self.stepping_down {
                return self.step_down(reason);
            }
            let wake_at = self.wake_at();
            let look_at = self.driver.watchers.next_look().unwrap_or(wake_at);
            // Every arm receives, joins or waits, and loses nothing when it is dropped.
            tokio::select! {
                Some(finished) = self.tasks.join_next() => self.on_finished(finished),
                Some(event) = self.driver.stream_events.recv() => self.on_stream_event(event),
                Some(request) = self.driver.requests.recv() => self.on_request(request),
                () = tokio::time::sleep_until(wake_at) => self.on_time(),
                () = tokio::time::sleep_until(look_at), if look_at < wake_at => {
                    self.driver.watchers.look(&self.scheduler);
                }
                () = self.driver.shutdown.cancelled() => return self.stop().await,
            }
        }
    }

    /// When the scheduler wants to be called, on the clock that can be slept on.
    fn wake_at(&self) -> Instant {
        let now = self.driver.clock.now().at;
        let deadline = self.scheduler.next_deadline().unwrap_or(Timestamp::NEVER);
        Instant::now() + deadline.since(now).min(LONGEST_SLEEP)
    }

    fn on_time(&mut self) {
        let due =
            self.scheduler.next_deadline().is_some_and(|deadline| deadline <= self.driver.clock.now().at);
        if due {
            self.step(Event::DeadlineReached);
        }
    }

    fn on_finished(&mut self, finished: Result<Finished, JoinError>) {
        match finished {
            Ok(Finished::Event(event)) => {
                if let Event::CommitFinished { outcome, .. } = &*event {
                    self.refusals = if *outcome == CommitOutcome::Refused { self.refusals + 1 } else { 0 };
                }
                self.step(*event);
            }
            Ok(Finished::GiveUp(reason)) => self.stepping_down = Some(reason),
            // A bug: the process must not go on with a state that it does not know.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => unreachable!("tasks are aborted only with their term"),
            },
        }
    }

    fn on_stream_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { stream, outlet } => self.streams.insert(stream, outlet),
            // Streams of an earlier term, and those that were closed from this side, are not known any more.
            StreamEvent::Received { stream, message } if self.streams.contains(stream) => {
                self.step(Event::MessageReceived { stream, message });
            }
            StreamEvent::Closed { stream } if self.streams.finish(stream) => {
                self.step(Event::StreamClosed { stream });
            }
            StreamEvent::Received { .. } | StreamEvent::Closed { .. } => {}
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Change { event, answer } => {
                self.last_request += 1;
                let id = RequestId(self.last_request);
                self.waiting.insert(id, answer);
                self.step(event(id));
            }
            Request::Query(query) => query(Ok(&self.scheduler)),
            Request::Watch { map_run, answer } => {
                let watch = self.driver.watchers.subscribe(&self.scheduler, map_run.clone());
                // A caller that went away does not want it.
                let _ = answer.send(watch.ok_or(Rejection::NoSuchMapRun(map_run).into()));
            }
        }
    }

    fn step(&mut self, event: Event) {
        self.scheduler.step(self.driver.clock.now(), event, &mut self.effects);
        self.carry_out();
        while let Some(event) = self.followups.pop_front() {
            self.scheduler.step(self.driver.clock.now(), event, &mut self.effects);
            self.carry_out();
        }
        let changed = self.scheduler.take_changed();
        if !changed.is_empty() {
            self.driver.watchers.note(&self.scheduler, changed);
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            if self.stepping_down.is_none() {
                self.carry_out_one(effect);
            }
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { stream, message } => {
                if let Err(Stalled) = self.streams.send(stream, message) {
                    tracing::warn!(stream = stream.0, "a worker does not read, its stream is closed");
                    self.followups.push_back(Event::StreamClosed { stream });
                }
            }
            Effect::CloseStream { stream } => {
                self.streams.finish(stream);
            }
            Effect::Commit(commit) => {
                let (store, metrics) = (self.driver.store.clone(), self.driver.metrics.clone());
                self.tasks.spawn(background::commit(store, metrics, commit, self.refusals));
            }
            Effect::Reply { request, reply } => self.answer(request, reply),
            Effect::LoadShards { map_run } => {
                self.tasks.spawn(background::load_shards(self.driver.store.clone(), map_run));
            }
            Effect::WriteManifest(order) => {
                let (store, objects) = (self.driver.store.clone(), self.driver.objects.clone());
                self.tasks.spawn(background::write_manifest(store, objects, *order));
            }
            Effect::CleanStaged { map_run, bucket, prefix, keep } => {
                let objects = self.driver.objects.clone();
                self.tasks.spawn(background::clean_staged(objects, map_run, bucket, prefix, keep));
            }
            Effect::RaiseAlert(alert) => tell(&self.driver.metrics, &alert),
            Effect::StepDown { reason } => self.stepping_down = Some(reason),
        }
    }

    fn answer(&mut self, request: RequestId, reply: Result<Reply, Rejection>) {
        if let Some(waiting) = self.waiting.remove(&request) {
            // A caller that went away does not want it.
            let _ = waiting.send(reply.map_err(RequestError::Rejected));
        }
    }

    /// Drops everything that rests on this term. Tasks are aborted: what they write is guarded by the term.
    fn step_down(mut self, reason: &'static str) -> TermEnd {
        // Said to callers if the store does not soon tell who leads now.
        self.driver.leading.send_replace(Leadership::Nobody { problem: Some(reason.into()) });
        self.streams.abort_all();
        self.answer_all(RequestError::OutcomeUnknown);
        TermEnd::SteppedDown(reason)
    }

    /// Ends the streams, waits for the transaction in flight, and answers who waits for it.
    async fn stop(mut self) -> TermEnd {
        self.driver.leading.send_replace(Leadership::NOBODY);
        self.streams.abort_all();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Some(finished)) = timeout_at(deadline, self.tasks.join_next()).await {
            let Ok(Finished::Event(event)) = finished else { continue };
            self.scheduler.step(self.driver.clock.now(), *event, &mut self.effects);
            for effect in std::mem::take(&mut self.effects).drain() {
                // Whatever else it wants belongs to the next start.
                if let Effect::Reply { request, reply } = effect {
                    self.answer(request, reply);
                }
            }
        }
        self.answer_all(RequestError::OutcomeUnknown);
        TermEnd::Stopped
    }

    fn answer_all(&mut self, error: RequestError) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let _ = waiting.send(Err(error.clone()));
        }
    }
}
