//! The connection to a coordinator: Hello and Welcome, heartbeats, silence, and coming back.

use std::time::Duration;

use warifu_model::Timestamp;
use warifu_model::protocol::{Hello, Welcome, WorkerMessage};

use crate::drain::Drain;
use crate::event::{ConnectionId, SessionEffect, SessionEffects};
use crate::state::SessionState;

/// Heartbeats without an answer that are remembered.
const MAX_HEARTBEATS: usize = 64;

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// One is to be asked for.
    Wanted { from: Timestamp },
    /// One was asked for.
    Asked,
    /// Hello is sent; nothing counts before Welcome.
    Greeting { connection: ConnectionId, sent_at: Timestamp },
    /// The session speaks.
    Live { connection: ConnectionId },
    /// None is wanted any more.
    Over,
}

impl SessionState {
    pub(crate) fn is_current(&self, id: ConnectionId) -> bool {
        self.current() == Some(id)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.connection, Connection::Live { .. })
    }

    fn current(&self) -> Option<ConnectionId> {
        match self.connection {
            Connection::Greeting { connection, .. } | Connection::Live { connection } => Some(connection),
            Connection::Wanted { .. } | Connection::Asked | Connection::Over => None,
        }
    }

    /// Sends a message of the session; without a live one it is lost, and Hello makes up for it.
    pub(crate) fn say(&self, message: WorkerMessage, effects: &mut SessionEffects) {
        if let Connection::Live { connection } = self.connection {
            effects.push(SessionEffect::Send(connection, message));
        }
    }

    pub(crate) fn on_connected(&mut self, now: Timestamp, id: ConnectionId, effects: &mut SessionEffects) {
        if self.connection != Connection::Asked {
            return effects.push(SessionEffect::Disconnect(id));
        }
        self.hello_number += 1;
        self.untold.clear(); // Hello tells what is running
        self.connection = Connection::Greeting { connection: id, sent_at: now };
        effects.push(SessionEffect::Send(id, WorkerMessage::Hello(self.hello())));
    }

    fn hello(&self) -> Hello {
        Hello {
            worker: self.identity.worker.clone(),
            incarnation: self.identity.incarnation,
            hello_number: self.hello_number,
            dead_incarnation: self.identity.dead_incarnation,
            version: self.identity.version.clone(),
            slots: self.identity.slots,
            handlers: self.identity.handlers.clone(),
            cache_bytes: self.identity.cache_bytes,
            cut_versions: warifu_dataset::CUT_VERSIONS.collect(),
            draining: self.drain != Drain::No,
            held_slots: self.held.clone(),
            leases: self
                .leases
                .values()
                .map(crate::lease::Lease::held)
                .filter(|held| !held.batches.is_empty())
                .collect(),
            compensates: true,
        }
    }

    pub(crate) fn on_welcome(&mut self, now: Timestamp, welcome: Welcome, effects: &mut SessionEffects) {
        let Connection::Greeting { connection, sent_at } = self.connection else { return };
        if welcome.hello_number != self.hello_number {
            return;
        }
        if welcome.session.term < self.highest_term {
            return self.give_up_connection(now, effects); // a leader of the past
        }
        self.highest_term = welcome.session.term;
        self.session = Some(welcome.session);
        self.ttl = welcome.ttl;
        self.prolong(sent_at);
        self.connection = Connection::Live { connection };
        self.heartbeats.clear();
        // At once: it tells the leader that its Welcome has come.
        self.next_heartbeat_at = now;
        self.keep_what_lives(&welcome, effects);
        self.report_again(effects);
        for (map_run, (redrive, fault)) in &self.faults {
            let (map_run, redrive, fault) = (map_run.clone(), *redrive, fault.clone());
            self.say(WorkerMessage::Fault { map_run, redrive, fault }, effects);
        }
        if self.drain != Drain::No {
            self.say(WorkerMessage::Draining, effects);
        }
    }

    /// Batches that the leader did not confirm are dropped; reports already made stand, and are judged.
    fn keep_what_lives(&mut self, welcome: &Welcome, effects: &mut SessionEffects) {
        if !welcome.slots_kept {
            self.held.clear();
        }
        for id in self.leases.keys().copied().collect::<Vec<_>>() {
            let kept = welcome.kept.iter().find(|(lease, _)| *lease == id).map(|(_, batches)| batches);
            let Some(lease) = self.leases.get(&id) else { continue };
            let mut dropped = lease.not_in_a_report();
            if let Some(kept) = kept {
                dropped.subtract(kept);
            }
            if !dropped.is_empty() {
                self.drop_batches(id, &dropped, effects);
            }
        }
        self.return_what_is_gone(welcome, effects);
    }

    /// What went between Hello and Welcome, because its result files could not be written or it was cancelled unread, the
    /// leader takes for held: nobody has told it.
    fn return_what_is_gone(&mut self, welcome: &Welcome, effects: &mut SessionEffects) {
        for (id, kept) in &welcome.kept {
            let mut batches = kept.clone();
            if let Some(lease) = self.leases.get(id) {
                batches.subtract(&lease.batches());
            }
            if !batches.is_empty() {
                self.say(WorkerMessage::Returned { lease: *id, batches }, effects);
            }
        }
    }

    /// The session lives on from the sending of what was answered (P1), by the slowest clock.
    fn prolong(&mut self, sent_at: Timestamp) {
        self.valid_until = sent_at + self.ttl * (100 - self.settings.drift_percent) / 100;
    }

    pub(crate) fn on_heartbeat_ack(&mut self, nonce: u64) {
        while let Some((sent, sent_at)) = self.heartbeats.front().copied() {
            if sent > nonce {
                return;
            }
            self.heartbeats.pop_front();
            if sent == nonce {
                self.prolong(sent_at);
            }
        }
    }

    pub(crate) fn on_disconnected(&mut self, now: Timestamp, id: ConnectionId, effects: &mut SessionEffects) {
        if self.is_current(id) || (self.connection == Connection::Asked) {
            self.connect_again(now, self.settings.reconnect_delay);
            self.keep_connection(now, effects);
        }
    }

    pub(crate) fn on_superseded(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        effects.push(SessionEffect::Refused);
        self.give_up_connection(now, effects);
        self.connect_again(now, self.settings.reconnect_delay * 10);
    }

    pub(crate) fn give_up_connection(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        if let Some(connection) = self.current() {
            effects.push(SessionEffect::Disconnect(connection));
            self.connect_again(now, self.settings.reconnect_delay);
        }
    }

    fn connect_again(&mut self, now: Timestamp, delay: Duration) {
        if self.connection != Connection::Over {
            // Half to one and a half of the delay, so that a fleet does not come back in step.
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let spread = f64::from((self.random >> 33) as u32) / f64::from(1_u32 << 31);
            self.connection = Connection::Wanted { from: now + delay.mul_f64(0.5 + spread) };
        }
    }

    /// Asks for a connection, sends heartbeats, and gives up on silence.
    pub(crate) fn keep_connection(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        match self.connection {
            Connection::Wanted { from } => {
                self.connection = Connection::Asked;
                effects.push(SessionEffect::Connect { not_before: from });
            }
            Connection::Greeting { sent_at, .. } if now >= sent_at + self.settings.answer_timeout => {
                self.give_up_connection(now, effects);
            }
            Connection::Live { .. }
                if self.silent_since().is_some_and(|at| now >= at + self.settings.answer_timeout) =>
            {
                self.give_up_connection(now, effects);
            }
            Connection::Live { .. } if now >= self.next_heartbeat_at => self.send_heartbeat(now, effects),
            Connection::Greeting { .. } | Connection::Live { .. } | Connection::Asked | Connection::Over => {}
        }
    }

    fn silent_since(&self) -> Option<Timestamp> {
        self.heartbeats.front().map(|(_, sent_at)| *sent_at)
    }

    fn send_heartbeat(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        self.next_nonce += 1;
        self.next_heartbeat_at = now + self.settings.heartbeat_interval;
        self.heartbeats.push_back((self.next_nonce, now));
        if self.heartbeats.len() > MAX_HEARTBEATS {
            self.heartbeats.pop_front();
        }
        self.say(WorkerMessage::Heartbeat { nonce: self.next_nonce }, effects);
    }

    pub(crate) fn connection_deadline(&self) -> Option<Timestamp> {
        match self.connection {
            Connection::Wanted { from } => Some(from),
            Connection::Greeting { sent_at, .. } => Some(sent_at + self.settings.answer_timeout),
            Connection::Live { .. } => {
                let silence = self.silent_since().map(|at| at + self.settings.answer_timeout);
                silence.into_iter().chain([self.next_heartbeat_at]).min()
            }
            Connection::Asked | Connection::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use warifu_model::{RangeSet, ReportNumber};

    use super::*;
    use crate::event::SessionEvent;
    use crate::testing::{self, LEASE};

    #[test]
    fn what_goes_between_hello_and_welcome_is_returned() {
        let mut state = testing::new_session();
        let (old, new) = (testing::FIRST, ConnectionId(2));
        let kept = vec![(LEASE, RangeSet::from_range(0..1))];
        let events = [
            SessionEvent::DeadlineReached,
            SessionEvent::Connected(old),
            SessionEvent::Received(old, testing::welcome(1, Vec::new())),
            testing::granted(1, 1),
            SessionEvent::BatchFinished(testing::finished(0)),
            SessionEvent::Disconnected(old),
            SessionEvent::Connected(new),
            // Its Hello told of the batch; nobody can be told of this.
            SessionEvent::PartsFailed { lease: LEASE, number: ReportNumber(1) },
            SessionEvent::Received(new, testing::welcome(2, kept)),
        ];
        let mut effects = SessionEffects::new();
        for event in events {
            effects = SessionEffects::new();
            state.step(Timestamp(0), event, &mut effects);
        }
        let returned = effects.drain().any(|effect| match effect {
            SessionEffect::Send(connection, WorkerMessage::Returned { lease, batches }) => {
                connection == new && lease == LEASE && batches == RangeSet::from_range(0..1)
            }
            _ => false,
        });
        assert!(returned);
    }
}
