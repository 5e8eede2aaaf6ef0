//! One step under way: a copy of the state that is being changed, and what is seen while it changes.

use crate::limits::Limits;
use crate::message::{Message, Packet};
use crate::mutation::Mutation;
use crate::state::{BATCHES, Bits, Connection, Held, Lead, Leader, Life, PROCESSES, Record, State};

/// Something notable that a search must have met, so that its silence proves something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// Every batch was decided.
    EverythingDecided,
    /// A leader took over.
    TakenOver,
    /// A new leader adopted a lease of an older one.
    Adopted,
    /// A new leader counted a report of an adopted lease.
    CountedAfterAdoption,
    /// Everything was decided, by a leader after the first.
    DecidedAfterTakeOver,
    /// A window ended because its time was over.
    WindowTimedOut,
    /// A window ended because everybody was heard.
    WindowEndedEarly,
    /// A report of a part of its lease was counted.
    PartCounted,
    /// A report was answered again.
    Repeated,
    /// A report was refused.
    Refused,
    /// A report was superseded.
    Superseded,
    /// A revoked batch came back.
    Returned,
    /// A lease came without slots of its own.
    GrantedWithoutSlots,
    /// Slots came by themselves.
    SlotsGiven,
    /// A process left the roster.
    RosterLeft,
    /// A batch was granted for its second attempt.
    SecondAttempt,
    /// A write of a deposed leader was turned away.
    Deposed,
    /// A write arrived after its sender had given it up.
    LateWriteLanded,
    /// The stop became durable.
    Stopped,
    /// The failure that crossed the tolerance stopped the run.
    StoppedByTolerance,
    /// `M` came down.
    CeilingLowered,
    /// A process restarted and released what its predecessor held.
    DeadReleased,
    /// A process kept its lease over a new Hello to the same leader.
    Continued,
    /// A leader that was deposed granted a lease before it knew.
    GrantedByDeposed,
}

/// A step under way.
pub(crate) struct World<'a> {
    pub(crate) state: State,
    pub(crate) limits: &'a Limits,
    pub(crate) broken: Option<Mutation>,
    /// Messages under way, at most.
    pub(crate) packets: usize,
    pub(crate) events: u64,
    pub(crate) violation: Option<String>,
    /// A bound was reached: the step does not happen.
    pub(crate) blocked: bool,
}

impl World<'_> {
    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        self.broken == Some(mutation)
    }

    pub(crate) fn saw(&mut self, event: Event) {
        self.events |= 1 << event as u8;
    }

    pub(crate) fn violate(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub(crate) fn require(&mut self, holds: bool) {
        self.blocked |= !holds;
    }

    /// The batches that this configuration has.
    pub(crate) fn batches(&self) -> std::ops::Range<usize> {
        0..usize::from(self.limits.batches)
    }

    pub(crate) fn lead(&mut self, leader: usize) -> &mut Lead {
        match &mut self.state.leaders[leader] {
            Leader::Leading(lead) => lead,
            Leader::Unborn | Leader::Read(_) | Leader::Down => {
                unreachable!("only leaders that lead act")
            }
        }
    }

    /// Puts a message of a process on its stream.
    pub(crate) fn send_up(&mut self, process: usize, message: Message) {
        let sender = &self.state.processes[process];
        if sender.mute || self.state.lead(usize::from(sender.leader)).is_none() {
            return;
        }
        let packet = Packet { process: process as u8, hello: sender.hello, leader: sender.leader, message };
        self.put(packet);
    }

    /// Puts a message of a leader on a stream; what nobody would read any more is not under way at all.
    pub(crate) fn send_down(&mut self, leader: usize, process: usize, hello: u8, message: Message) {
        let receiver = &self.state.processes[process];
        let current = receiver.life == Life::Alive
            && receiver.connection != Connection::None
            && usize::from(receiver.leader) == leader
            && receiver.hello == hello
            && !receiver.deaf;
        if current {
            self.put(Packet { process: process as u8, hello, leader: leader as u8, message });
        }
    }

    fn put(&mut self, packet: Packet) {
        let at = self.state.packets.iter().take_while(|other| other.lane() <= packet.lane()).count();
        let room = self.state.packets.len() < self.packets && self.state.packets.insert(at, packet);
        self.require(room);
    }

    /// Nothing that is under way to a process on its current stream arrives.
    pub(crate) fn drop_downward(&mut self, process: usize) {
        if !self.breaks(Mutation::OldStreamsHeeded) {
            self.state
                .packets
                .retain(|packet| usize::from(packet.process) != process || packet.message.is_upward());
        }
    }

    /// Properties of a state as a whole.
    pub(crate) fn check_state(&mut self) {
        let running = self.running();
        let ceiling = self.state.store.ceiling;
        if running > ceiling {
            self.violate(|| format!("{running} handler calls are in progress, {ceiling} are allowed"));
        }
        let decided = self.batches().all(|batch| self.state.store.records[batch].decided);
        if decided {
            self.saw(Event::EverythingDecided);
            if self.state.store.term > 1 {
                self.saw(Event::DecidedAfterTakeOver);
            }
        }
    }

    /// Handler calls in progress, over all processes.
    fn running(&self) -> u8 {
        self.state.processes.iter().map(|process| process.running()).sum()
    }

    /// Slots are on their way, unless nobody would read the message: they must not be too many.
    pub(crate) fn check_slots(&mut self, leader: usize, before: u8) {
        let (after, allowed) = (self.slots_anywhere(), self.state.store.max_concurrency);
        if after > before && after > allowed {
            self.violate(|| {
                format!("leader {leader} makes it {after} slots at workers, {allowed} are allowed")
            });
        }
    }

    /// Slots that processes hold, or will when what is under way arrives.
    pub(crate) fn slots_anywhere(&self) -> u8 {
        let under_way = self.state.packets.iter().map(|packet| match packet.message {
            Message::Grant { slots, .. } => slots,
            Message::Slots => 1,
            _ => 0,
        });
        under_way.sum::<u8>() + self.state.processes.iter().map(|process| process.held).sum::<u8>()
    }

    /// A handler call begins: no other one may be at the same batch.
    pub(crate) fn check_begin(&mut self, batch: usize) {
        let at_it = |held: &Held| matches!(held, Held::Running(_));
        let leases = self.state.processes.iter().flat_map(|process| process.leases.iter());
        let calls = leases.filter(|lease| at_it(&lease.batches[batch])).count();
        if calls > 1 {
            self.violate(|| format!("b{batch} runs twice at a time"));
        }
    }

    /// A leader gives batches or slots.
    pub(crate) fn check_grant(&mut self, leader: usize, batches: Bits) {
        let store = self.state.store;
        let current = usize::from(store.term) == leader + 1;
        if store.stopping {
            self.violate(|| format!("leader {leader} grants after the stop is durable"));
        }
        if !current {
            return self.saw(Event::GrantedByDeposed);
        }
        let known = self.lead(leader).records;
        for batch in self.batches().filter(|batch| batches & 1 << batch != 0) {
            if store.records[batch] != known[batch] || store.records[batch].decided {
                self.violate(|| format!("b{batch} is granted although that attempt of it is counted"));
            }
        }
    }

    /// A leader answers `Accepted`.
    pub(crate) fn check_accepted(&mut self, report: &crate::state::Report) {
        for (batch, entry) in report.batches() {
            let record = self.state.store.records[batch];
            let by = record.counted[usize::from(entry.attempt.clamp(1, 2) - 1)];
            if record.attempts < entry.attempt {
                self.violate(|| format!("{:?} is accepted and b{batch} is not durable", report.mark));
            } else if by != report.mark {
                self.violate(|| format!("{:?} is accepted, but {by:?} counted b{batch}", report.mark));
            }
        }
    }

    /// A leader answers that a report does not count.
    pub(crate) fn check_not_accepted(&mut self, report: &crate::state::Report) {
        let counted = |record: &Record| record.counted.contains(&report.mark);
        if self.state.store.records.iter().any(counted) {
            self.violate(|| format!("{:?} is counted, and its worker hears that it is not", report.mark));
        }
    }
}

/// Indexes of the members of a set.
pub(crate) fn members(bits: Bits) -> impl Iterator<Item = usize> {
    (0..PROCESSES.max(BATCHES)).filter(move |index| bits & 1 << index != 0)
}
