//! What a leader gives and takes back: leases, slots, revocations; as `placement.rs` and `rebalance.rs` of the scheduler.
//!
//! The scheduler's choices of the best worker and span are left open: whatever the rules allow may happen.

use crate::message::Message;
use crate::mutation::Mutation;
use crate::state::{BATCHES, Bits, Lead, Place, Roster, Token, Window};
use crate::world::{Event, World};

impl World<'_> {
    /// Grants and Slots may be given at all.
    fn may_grant(&mut self, leader: usize) -> bool {
        let while_stopping = self.breaks(Mutation::GrantsWhileStopping);
        let after_stop = self.breaks(Mutation::GrantsAfterStop);
        let lead = self.lead(leader);
        let stopping = (lead.stopping || lead.staged.stop) && !after_stop;
        let suspended = lead.is_suspended() && !while_stopping;
        let waits = lead.window != Window::Shut && !lead.waited;
        !(stopping || suspended || waits)
    }

    fn may_take(&mut self, leader: usize, process: usize) -> bool {
        let early = self.breaks(Mutation::GrantsBeforeRoster);
        let lead = self.lead(leader);
        let member = lead.members[process];
        let in_roster = member.roster == Roster::Present || (member.roster == Roster::Adding && early);
        member.known && in_roster && !lead.is_leaving(process)
    }

    /// Leases the first pending batches to a process, with some slots.
    pub(crate) fn grant(&mut self, leader: usize, process: usize, length: u8, slots: u8) {
        let allowed =
            self.may_grant(leader) && self.may_take(leader, process) && self.fits(leader, process, slots);
        let span = self.span(leader, length);
        self.require(allowed && span != 0 && slots <= length);
        if self.blocked {
            return;
        }
        self.check_grant(leader, span);
        let before = self.slots_anywhere();
        let lead = self.lead(leader);
        lead.grants += 1;
        let token = Token { term: leader as u8 + 1, epoch: lead.grants };
        let mut attempts = [0; BATCHES];
        let mut second = false;
        for batch in (0..BATCHES).filter(|batch| span & 1 << batch != 0) {
            let attempt = lead.records[batch].attempts + 1;
            second |= attempt > 1;
            attempts[batch] = attempt;
            lead.places[batch] = Place::Leased { token, holder: process as u8, attempt, committing: false };
        }
        lead.members[process].held += slots;
        let hello = lead.members[process].hello;
        self.send_down(leader, process, hello, Message::Grant { token, attempts, slots });
        self.check_slots(leader, before);
        if second {
            self.saw(Event::SecondAttempt);
        }
        if slots == 0 {
            self.saw(Event::GrantedWithoutSlots);
        }
    }

    /// There is room for so many slots more, here and at all.
    fn fits(&mut self, leader: usize, process: usize, slots: u8) -> bool {
        let unlimited = self.breaks(Mutation::LimitIgnored);
        let at_worker = self.limits.slots;
        let lead = self.lead(leader);
        let held = lead.members[process].held;
        if slots == 0 {
            return held > 0 && lead.held() <= lead.max_concurrency;
        }
        held + slots <= at_worker && (slots <= lead.room() || unlimited)
    }

    /// The first pending batches: as many as wanted, without a gap.
    fn span(&mut self, leader: usize, length: u8) -> Bits {
        let leased_too = self.breaks(Mutation::LeasedGrantedAgain);
        let batches = self.batches();
        let lead: &Lead = self.lead(leader);
        let free = |batch: &usize| match lead.places[*batch] {
            Place::Pending => true,
            Place::Leased { committing, .. } => leased_too && !committing,
            Place::Orphan | Place::Decided => false,
        };
        let Some(first) = batches.clone().find(free) else { return 0 };
        let span = (first..batches.end).take(usize::from(length)).take_while(free);
        let bits: Bits = span.fold(0, |bits, batch| bits | 1 << batch);
        if bits.count_ones() == u32::from(length) { bits } else { 0 }
    }

    /// A holder gets a slot more, because there is room.
    pub(crate) fn give_slots(&mut self, leader: usize, process: usize) {
        let has_work = self.lead(leader).leased_by(process).next().is_some();
        let allowed =
            self.may_grant(leader) && self.may_take(leader, process) && self.fits(leader, process, 1);
        self.require(allowed && has_work);
        if self.blocked {
            return;
        }
        self.check_grant(leader, 0);
        let before = self.slots_anywhere();
        self.saw(Event::SlotsGiven);
        let member = &mut self.lead(leader).members[process];
        member.held += 1;
        let hello = member.hello;
        self.send_down(leader, process, hello, Message::Slots);
        self.check_slots(leader, before);
    }

    /// Asks a holder for what it has not begun of a lease, from a batch on.
    pub(crate) fn revoke(&mut self, leader: usize, batch: usize) {
        let Place::Leased { token, holder, .. } = self.lead(leader).places[batch] else {
            return self.require(false);
        };
        let frees = self.breaks(Mutation::RevokeFreesSlots);
        let requeues = self.breaks(Mutation::RevokeRequeues);
        let lead = self.lead(leader);
        let member = &mut lead.members[usize::from(holder)];
        let (known, hello) = (member.known, member.hello);
        if frees {
            member.held = 0;
        }
        if requeues {
            lead.places[batch] = Place::Pending;
        }
        self.require(known);
        self.send_down(leader, usize::from(holder), hello, Message::Revoke { token, from: batch as u8 });
    }
}
