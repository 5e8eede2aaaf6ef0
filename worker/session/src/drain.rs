//! Drain: nothing new, what is not begun goes back, what runs may end, then Goodbye.

use warifu_model::Timestamp;
use warifu_model::protocol::WorkerMessage;

use crate::connection::Connection;
use crate::event::{SessionEffect, SessionEffects};
use crate::state::SessionState;

/// Whether the worker is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It takes work.
    No,
    /// The coordinator asked for it; it may take that back.
    Ordered { deadline: Timestamp },
    /// The process was told to stop.
    Requested { deadline: Timestamp },
    /// Goodbye is said.
    Done,
}

impl SessionState {
    pub(crate) fn on_drain_requested(&mut self, deadline: Timestamp, effects: &mut SessionEffects) {
        if self.drain != Drain::Done {
            self.drain = Drain::Requested { deadline };
            self.say(WorkerMessage::Draining, effects);
        }
    }

    pub(crate) fn on_drain_order(&mut self, deadline: Timestamp) {
        if self.drain == Drain::No {
            self.drain = Drain::Ordered { deadline };
        }
    }

    pub(crate) fn on_uncordon(&mut self) {
        if let Drain::Ordered { .. } = self.drain {
            self.drain = Drain::No;
        }
    }

    pub(crate) fn drain_deadline(&self) -> Option<Timestamp> {
        match self.drain {
            Drain::Ordered { deadline } | Drain::Requested { deadline } => Some(deadline),
            Drain::No | Drain::Done => None,
        }
    }

    /// Returns what is not begun; past the deadline also what runs, cancelled.
    pub(crate) fn drain_leases(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        let Some(deadline) = self.drain_deadline() else { return };
        if !self.is_live() {
            return;
        }
        for id in self.leases.keys().copied().collect::<Vec<_>>() {
            let Some(lease) = self.leases.get(&id) else { continue };
            let mut returned = lease.not_begun.clone();
            if now >= deadline {
                returned.union_with(&lease.running);
            }
            if !returned.is_empty() {
                self.drop_batches(id, &returned, effects);
                self.say(WorkerMessage::Returned { lease: id, batches: returned }, effects);
            }
        }
    }

    /// Says Goodbye once nothing is held. Without a coordinator nobody waits longer than the deadline.
    pub(crate) fn finish_drain(&mut self, now: Timestamp, effects: &mut SessionEffects) {
        let Some(deadline) = self.drain_deadline() else { return };
        let nothing_held = self.leases.is_empty() && self.running.is_empty();
        let said_goodbye = nothing_held && self.is_live();
        let out_of_patience = now >= deadline && !self.is_live();
        let never_spoke = nothing_held && self.session.is_none() && !self.is_live();
        if said_goodbye || out_of_patience || never_spoke {
            self.say(WorkerMessage::Goodbye, effects);
            self.drain = Drain::Done;
            self.session = None;
            self.forget_everything(effects);
            self.connection = Connection::Over;
            effects.push(SessionEffect::Finished);
        }
    }
}
