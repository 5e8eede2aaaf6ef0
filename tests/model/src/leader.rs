//! A leader and what workers say to it: Hello, reports, what is returned; as `session.rs` and `report.rs` of the scheduler.

use crate::bounded::Bounded;
use crate::message::{Claim, Kept, Message, Packet};
use crate::mutation::Mutation;
use crate::state::{
    Bits, Commit, Connection, LEASES, Lead, Mark, Member, PROCESSES, Place, Record, Report, Roster,
    StagedReport, Token, Window,
};
use crate::world::{Event, World, members};

/// What a Hello is to a leader.
enum Greeting {
    Stale,
    TooEarly,
    Continues,
    Adoptable,
    New,
}

impl Lead {
    /// A removal from the roster is staged or on its way.
    pub(crate) fn is_leaving(&self, process: usize) -> bool {
        let removes = self.staged.removes | self.commit.map_or(0, |commit| commit.removes);
        removes & 1 << process != 0
    }

    pub(crate) fn held(&self) -> u8 {
        self.members.iter().map(|member| member.held).sum()
    }

    /// Slots that may still be given.
    pub(crate) fn room(&self) -> u8 {
        self.max_concurrency.saturating_sub(self.held()).saturating_sub(self.unknown)
    }

    pub(crate) fn leased_by(&self, process: usize) -> impl Iterator<Item = (usize, Token)> + '_ {
        self.places.iter().enumerate().filter_map(move |(batch, place)| match place {
            Place::Leased { token, holder, .. } if usize::from(*holder) == process => Some((batch, *token)),
            _ => None,
        })
    }

    fn waits_for_somebody(&self) -> bool {
        self.members.iter().any(|member| member.waited_for)
    }
}

impl World<'_> {
    /// A message arrives at a leader.
    pub(crate) fn leader_receives(&mut self, packet: Packet) {
        let (leader, process) = (usize::from(packet.leader), usize::from(packet.process));
        if !matches!(packet.message, Message::Hello { .. }) && self.is_current(&packet) {
            self.has_its_welcome(leader, process);
        }
        match packet.message {
            Message::Hello { held, claims } => self.on_hello(leader, process, packet.hello, held, &claims),
            Message::Report(report) => self.on_report(leader, process, packet.hello, report),
            Message::Returned { token, batches } if self.is_current(&packet) => {
                self.on_returned(leader, process, token, batches);
            }
            Message::Shrink { slots } if self.is_current(&packet) => {
                let member = &mut self.lead(leader).members[process];
                member.held = member.held.saturating_sub(slots);
            }
            Message::Goodbye if self.is_current(&packet) => self.start_leaving(leader, process),
            _ => {}
        }
        self.send_commit(leader);
    }

    /// What was said after Hello tells that Welcome has come: from then on the process heeds no older leader.
    fn has_its_welcome(&mut self, leader: usize, process: usize) {
        if self.lead(leader).members[process].waited_for {
            self.not_waited_for(leader, process);
        }
    }

    /// Messages that count in the current session only.
    fn is_current(&mut self, packet: &Packet) -> bool {
        let any_session = self.breaks(Mutation::AnySessionHeeded);
        let lead = self.lead(usize::from(packet.leader));
        let member = lead.members[usize::from(packet.process)];
        let current = member.hello == packet.hello || any_session;
        member.known && current && !lead.is_leaving(usize::from(packet.process))
    }

    fn on_hello(
        &mut self,
        leader: usize,
        process: usize,
        hello: u8,
        held: u8,
        claims: &Bounded<Claim, LEASES>,
    ) {
        self.release_dead(leader, process);
        let greeting = self.greet(leader, process, hello);
        let mut kept = Bounded::default();
        match greeting {
            Greeting::Stale => return,
            Greeting::TooEarly => return self.close_stream(leader, process, hello),
            Greeting::Continues => {
                kept = self.reconcile(leader, process, claims);
                let member = &mut self.lead(leader).members[process];
                (member.hello, member.held) = (hello, held);
            }
            Greeting::Adoptable => {
                self.lead(leader).members[process] =
                    Member { known: true, hello, roster: Roster::Present, held, waited_for: true };
                kept = self.adopt(leader, process, claims);
                self.lead(leader).unknown = self.lead(leader).unknown.saturating_sub(held);
                if self.breaks(Mutation::HelloIsEnough) {
                    self.not_waited_for(leader, process);
                }
            }
            Greeting::New => {
                let lead = self.lead(leader);
                let waited_for = lead.members[process].waited_for;
                lead.members[process] =
                    Member { known: true, hello, roster: Roster::Adding, held: 0, waited_for };
                lead.staged.adds |= 1 << process;
            }
        }
        let slots_kept = !matches!(greeting, Greeting::New);
        self.send_down(leader, process, hello, Message::Welcome { kept, slots_kept });
    }

    fn greet(&mut self, leader: usize, process: usize, hello: u8) -> Greeting {
        let any_number = self.breaks(Mutation::HelloNumberIgnored);
        let outside_window = self.breaks(Mutation::AdoptedAfterWindow);
        let lead = self.lead(leader);
        let member = lead.members[process];
        if lead.is_leaving(process) {
            Greeting::TooEarly
        } else if member.known {
            if hello > member.hello || any_number { Greeting::Continues } else { Greeting::Stale }
        } else if (lead.window == Window::Open && member.waited_for) || outside_window {
            Greeting::Adoptable
        } else {
            Greeting::New
        }
    }

    fn close_stream(&mut self, leader: usize, process: usize, hello: u8) {
        let receiver = &mut self.state.processes[process];
        if usize::from(receiver.leader) == leader && receiver.hello == hello {
            receiver.connection = Connection::None;
            self.drop_downward(process);
        }
    }

    /// The process holds the lock of a dead one: what that one held is free without waiting for its expiry.
    fn release_dead(&mut self, leader: usize, process: usize) {
        let Some(dead) = self.limits.predecessor(process) else { return };
        let lead = self.lead(leader);
        let known = lead.members[dead].known || lead.roster & 1 << dead != 0;
        if known && !lead.is_leaving(dead) {
            self.saw(Event::DeadReleased);
            if self.breaks(Mutation::DeadReleasedAtOnce) {
                self.lead(leader).staged.removes |= 1 << dead;
                return self.forget_member(leader, dead);
            }
            self.start_leaving(leader, dead);
        }
    }

    /// Same leader, same process: what both sides hold stays, the rest is pending.
    fn reconcile(
        &mut self,
        leader: usize,
        process: usize,
        claims: &Bounded<Claim, LEASES>,
    ) -> Bounded<Kept, LEASES> {
        let leased: Vec<_> = self.lead(leader).leased_by(process).collect();
        let mut kept = Bounded::default();
        for (batch, token) in leased {
            let claimed = claims.iter().any(|claim| claim.token == token && claim.attempts[batch] != 0);
            if claimed {
                self.saw(Event::Continued);
                keep(&mut kept, token, batch);
            } else if !self.breaks(Mutation::MissingKept) {
                self.give_back(leader, batch);
            }
        }
        kept
    }

    /// First Hello to a new leader: orphans that were granted for the durable attempt live on.
    fn adopt(
        &mut self,
        leader: usize,
        process: usize,
        claims: &Bounded<Claim, LEASES>,
    ) -> Bounded<Kept, LEASES> {
        let any_attempt = self.breaks(Mutation::AnyAttemptAdopted);
        let mut kept = Bounded::default();
        for claim in claims.iter() {
            for batch in self.batches().filter(|batch| claim.attempts[*batch] != 0) {
                let lead = self.lead(leader);
                let attempt = claim.attempts[batch];
                let durable = attempt == lead.records[batch].attempts + 1;
                if lead.places[batch] == Place::Orphan && (durable || any_attempt) {
                    lead.places[batch] = Place::Leased {
                        token: claim.token,
                        holder: process as u8,
                        attempt,
                        committing: false,
                    };
                    keep(&mut kept, claim.token, batch);
                    self.saw(Event::Adopted);
                }
            }
        }
        kept
    }

    /// A process is gone, or must be taken for gone: what it holds is free once the roster says so.
    pub(crate) fn start_leaving(&mut self, leader: usize, process: usize) {
        let lead = self.lead(leader);
        lead.members[process].roster = Roster::Removing;
        lead.staged.adds &= !(1 << process);
        lead.staged.removes |= 1 << process;
        if self.breaks(Mutation::ExpiryBeforeRoster) {
            self.forget_member(leader, process);
        }
    }

    /// The roster does not hold the process any more.
    pub(crate) fn forget_member(&mut self, leader: usize, process: usize) {
        let leased: Vec<_> = self.lead(leader).leased_by(process).collect();
        for (batch, _) in leased {
            self.give_back(leader, batch);
        }
        let waited_for = self.lead(leader).members[process].waited_for;
        self.lead(leader).members[process] = Member { waited_for, ..Member::default() };
    }

    /// A batch is pending again, unless it is being counted.
    fn give_back(&mut self, leader: usize, batch: usize) {
        let requeues_all = self.breaks(Mutation::CommittingRequeued);
        let place = &mut self.lead(leader).places[batch];
        if let Place::Leased { committing, .. } = *place
            && (!committing || requeues_all)
        {
            *place = Place::Pending;
        }
    }

    fn on_returned(&mut self, leader: usize, process: usize, token: Token, batches: Bits) {
        for batch in members(batches) {
            if self.lead(leader).leased_by(process).any(|leased| leased == (batch, token)) {
                self.saw(Event::Returned);
                self.give_back(leader, batch);
            }
        }
        if self.breaks(Mutation::ReturnFreesSlots) {
            let member = &mut self.lead(leader).members[process];
            member.held = member.held.saturating_sub(batches.count_ones() as u8);
        }
    }

    fn on_report(&mut self, leader: usize, process: usize, hello: u8, report: Report) {
        let lead = *self.lead(leader);
        if lead.records.iter().any(|record| self.counted_by(record, report.mark))
            && !self.breaks(Mutation::RepeatsCounted)
        {
            self.saw(Event::Repeated);
            self.check_accepted(&report);
            return self.send_down(leader, process, hello, Message::Accepted(report.mark));
        }
        let stages_again = self.breaks(Mutation::UnderWayRefused) || self.breaks(Mutation::StagedTwice);
        if under_way(&lead, report.mark) && !stages_again {
            return;
        }
        let foreign = self.foreign_batches(&lead, &report);
        if foreign == 0 {
            return self.stage_report(leader, process, hello, report);
        }
        let counted_elsewhere = report.batches().all(|(batch, _)| lead.records[batch].decided);
        let answer = if counted_elsewhere && self.breaks(Mutation::SupersededAccepted) {
            self.check_accepted(&report);
            Message::Accepted(report.mark)
        } else if counted_elsewhere {
            self.saw(Event::Superseded);
            self.check_not_accepted(&report);
            Message::Superseded(report.mark)
        } else {
            self.saw(Event::Refused);
            self.check_not_accepted(&report);
            Message::Refused { mark: report.mark, batches: foreign }
        };
        self.send_down(leader, process, hello, answer);
    }

    fn counted_by(&self, record: &Record, mark: Mark) -> bool {
        let counted = &record.counted[..usize::from(record.attempts)];
        if self.breaks(Mutation::TermNotCompared) {
            let blind = |mark: &Mark| (mark.token.epoch, mark.number);
            return counted.iter().any(|by| blind(by) == blind(&mark));
        }
        counted.contains(&mark)
    }

    /// The report's batches that its lease does not cover.
    fn foreign_batches(&self, lead: &Lead, report: &Report) -> Bits {
        let any_lease = self.breaks(Mutation::TokenNotCompared) || self.breaks(Mutation::AttemptNotCompared);
        let covered = |batch: usize, wanted: u8| match lead.places[batch] {
            Place::Leased { token, attempt, committing, .. } => {
                let same_lease = token == report.mark.token || any_lease;
                let same_attempt = attempt == wanted || self.breaks(Mutation::AttemptNotCompared);
                same_lease && same_attempt && (!committing || self.breaks(Mutation::StagedTwice))
            }
            Place::Pending | Place::Orphan => any_lease,
            Place::Decided => self.breaks(Mutation::RepeatsCounted),
        };
        report
            .batches()
            .filter(|(batch, entry)| !covered(*batch, entry.attempt))
            .fold(0, |bits, (batch, _)| bits | 1 << batch)
    }

    fn stage_report(&mut self, leader: usize, process: usize, hello: u8, report: Report) {
        if self.breaks(Mutation::AnsweredBeforeDurable) {
            self.check_accepted(&report);
            self.send_down(leader, process, hello, Message::Accepted(report.mark));
        }
        let lead = self.lead(leader);
        for (batch, _) in report.batches() {
            if let Place::Leased { committing, .. } = &mut lead.places[batch] {
                *committing = true;
            }
        }
        let room = lead.staged.reports.push(StagedReport { report, holder: process as u8 });
        self.require(room);
    }

    /// A process of the roster is known to heed this leader, or left the roster.
    pub(crate) fn not_waited_for(&mut self, leader: usize, process: usize) {
        let lead = self.lead(leader);
        lead.members[process].waited_for = false;
        if lead.window != Window::Shut && !lead.waits_for_somebody() {
            let event =
                if lead.window == Window::Open { Event::WindowEndedEarly } else { Event::WindowTimedOut };
            self.nobody_is_unknown(leader);
            self.saw(event);
        }
    }

    /// Every holder of leases or slots is known.
    pub(crate) fn nobody_is_unknown(&mut self, leader: usize) {
        let lead = self.lead(leader);
        (lead.window, lead.waited, lead.unknown) = (Window::Shut, true, 0);
        for place in lead.places.iter_mut().filter(|place| **place == Place::Orphan) {
            *place = Place::Pending;
        }
    }

    /// The window's time is over: whoever was not heard leaves the roster.
    pub(crate) fn close_window(&mut self, leader: usize) {
        let at_once = self.breaks(Mutation::WindowEndsWithoutRoster);
        let lead = self.lead(leader);
        lead.window = Window::Closing;
        for process in 0..PROCESSES {
            // Whoever said Hello heeds nobody else by now.
            lead.members[process].waited_for &= !lead.members[process].known;
            if lead.members[process].waited_for {
                lead.staged.removes |= 1 << process;
                lead.members[process].waited_for = !at_once;
            }
        }
        if !lead.waits_for_somebody() {
            self.nobody_is_unknown(leader);
        }
        self.send_commit(leader);
    }
}

fn keep(kept: &mut Bounded<Kept, LEASES>, token: Token, batch: usize) {
    match kept.iter_mut().find(|kept| kept.token == token) {
        Some(kept) => kept.batches |= 1 << batch,
        None => {
            kept.push(Kept { token, batches: 1 << batch });
        }
    }
}

fn under_way(lead: &Lead, mark: Mark) -> bool {
    let in_flight = lead.commit.iter().flat_map(|commit: &Commit| commit.reports.iter());
    lead.staged.reports.iter().chain(in_flight).any(|staged| staged.report.mark == mark)
}
