//! Everything that can happen, and when.

use crate::limits::Limits;
use crate::mutation::Mutation;
use crate::state::{Connection, Held, Landed, Lead, Leader, Life, Outcome, Place, Roster, State, Window};
use crate::world::World;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the trace's words
pub enum Action {
    ReadEarly { leader: usize },
    Elect { leader: usize },
    StepDown { leader: usize },
    WaitIsOver { leader: usize },
    WindowEnds { leader: usize },
    Expire { leader: usize, process: usize },
    StreamEnds { leader: usize, process: usize },
    Grant { leader: usize, process: usize, length: u8, slots: u8 },
    GiveSlots { leader: usize, process: usize },
    Revoke { leader: usize, batch: usize },
    UserStops { leader: usize },
    UserUpdates { leader: usize },
    StoreTakes { leader: usize },
    StoreAnswers { leader: usize },
    AnswerLost { leader: usize },
    LateWrite,
    Start { process: usize },
    Crash { process: usize },
    Connect { process: usize, leader: usize },
    Lapse { process: usize },
    Begin { process: usize },
    Finish { process: usize, lease: usize, batch: usize, outcome: Outcome },
    Report { process: usize, lease: usize },
    ReportAgain { process: usize, lease: usize, number: u8 },
    Shrink { process: usize },
    Goodbye { process: usize },
    FallMute { process: usize },
    FallDeaf { process: usize },
    Deliver { packet: usize },
}

/// Reports of one lease at most.
const REPORTS: u8 = 3;

/// Lists what may happen. `free` lifts the bounds on how often.
pub(crate) struct Possible<'a> {
    pub(crate) state: &'a State,
    pub(crate) limits: &'a Limits,
    pub(crate) broken: Option<Mutation>,
    pub(crate) free: bool,
    pub(crate) actions: &'a mut Vec<Action>,
}

impl Possible<'_> {
    fn add(&mut self, possible: bool, action: Action) {
        if possible {
            self.actions.push(action);
        }
    }

    fn breaks(&self, mutation: Mutation) -> bool {
        self.broken == Some(mutation)
    }

    pub(crate) fn list(&mut self) {
        self.packets();
        for leader in 0..usize::from(self.limits.leaders) {
            self.leader(leader);
        }
        for process in 0..usize::from(self.limits.processes) {
            self.process(process);
        }
        self.add(self.state.late.is_some(), Action::LateWrite);
    }

    fn packets(&mut self) {
        let mut lane = None;
        for (place, packet) in self.state.packets.iter().enumerate() {
            let first_of_lane = lane != Some(packet.lane());
            lane = Some(packet.lane());
            self.add(first_of_lane, Action::Deliver { packet: place });
        }
    }

    fn leader(&mut self, leader: usize) {
        let followed = leader + 1 < usize::from(self.limits.leaders);
        match &self.state.leaders[leader] {
            Leader::Unborn => {
                let turn = leader == 0 || self.state.leaders[leader - 1] != Leader::Unborn;
                let early = self.breaks(Mutation::RecoveryBeforeGuard);
                let read = |leader: &Leader| matches!(leader, Leader::Read(_));
                let turn = turn && !(leader > 0 && read(&self.state.leaders[leader - 1]));
                self.add(turn, Action::Elect { leader });
                self.add(turn && early, Action::ReadEarly { leader });
            }
            Leader::Read(_) => self.add(true, Action::Elect { leader }),
            Leader::Down => {}
            Leader::Leading(lead) => {
                self.add(followed, Action::StepDown { leader });
                self.window(leader, lead);
                self.store(leader, lead, followed);
                self.users(leader, lead);
                self.gives(leader, lead);
            }
        }
    }

    fn window(&mut self, leader: usize, lead: &Lead) {
        let others_lead = (0..leader).any(|older| self.state.lead(older).is_some());
        let waits = lead.window != Window::Shut && !lead.waited;
        let zombie_decides = self.breaks(Mutation::NeverStepDown);
        self.add(waits && (!others_lead || zombie_decides), Action::WaitIsOver { leader });
        // The window outlasts every session that an older leader's answers made valid.
        let term = leader as u8 + 1;
        let old_session = self.state.processes.iter().any(|p| p.valid_by != 0 && p.valid_by < term);
        let ends_early = self.breaks(Mutation::WindowTooShort);
        let over = lead.window == Window::Open && lead.waited && (!old_session || ends_early);
        self.add(over && (self.limits.lapses || self.free), Action::WindowEnds { leader });
        for process in 0..usize::from(self.limits.processes) {
            let member = lead.members[process];
            let open = member.known && !lead.is_leaving(process) && member.roster != Roster::Removing;
            // It may have gone back to the last leader, who prolongs its session for as long as he decides.
            let waits = lead.window == Window::Open
                && member.waited_for
                && !self.breaks(Mutation::ExpiryWhileWaitedFor);
            let lapsed = self.has_lapsed(process, member.hello) && !waits;
            let may = lapsed || self.breaks(Mutation::ExpiryBeforeLapse);
            self.add(open && may && (self.limits.lapses || self.free), Action::Expire { leader, process });
            let ends = open && self.breaks(Mutation::StreamEndIsDeath);
            self.add(ends, Action::StreamEnds { leader, process });
        }
    }

    /// A leader's expiry counts from the last message that it got, a worker's lapse from the sending of the last one
    /// that was answered: the lapse comes first, unless something later than what this leader got was answered.
    fn has_lapsed(&self, process: usize, heard_hello: u8) -> bool {
        let process = &self.state.processes[process];
        process.valid_by == 0 || process.valid_hello > heard_hello
    }

    fn store(&mut self, leader: usize, lead: &Lead, followed: bool) {
        let Some(commit) = lead.commit else { return };
        self.add(commit.landed == Landed::UnderWay, Action::StoreTakes { leader });
        self.add(commit.landed != Landed::UnderWay, Action::StoreAnswers { leader });
        let goes_on = self.breaks(Mutation::UnknownRetried)
            || self.breaks(Mutation::UnknownIsDone)
            || self.breaks(Mutation::UnknownIsRefused);
        let may_be_lost = self.limits.unknown_commits && (followed || goes_on) && self.state.late.is_none();
        self.add(may_be_lost && commit.landed != Landed::Deposed, Action::AnswerLost { leader });
    }

    fn users(&mut self, leader: usize, lead: &Lead) {
        let may_stop = self.limits.stops && self.state.stops == 0 && !lead.stopping;
        self.add(may_stop, Action::UserStops { leader });
        let may_update = self.limits.update_to.is_some() && self.state.updates == 0;
        self.add(may_update, Action::UserUpdates { leader });
    }

    fn gives(&mut self, leader: usize, lead: &Lead) {
        for process in 0..usize::from(self.limits.processes) {
            if !lead.members[process].known {
                continue;
            }
            let pending = lead.places.contains(&Place::Pending) || self.breaks(Mutation::LeasedGrantedAgain);
            if pending && (lead.grants < self.limits.grants || self.free) {
                let least = u8::from(!self.limits.loose_slots);
                for length in 1..=self.limits.span {
                    for slots in least..=length.min(self.limits.slots) {
                        self.add(true, Action::Grant { leader, process, length, slots });
                    }
                }
            }
            self.add(self.limits.loose_slots || self.free, Action::GiveSlots { leader, process });
        }
        for batch in 0..usize::from(self.limits.batches) {
            let leased = matches!(lead.places[batch], Place::Leased { .. });
            self.add(leased && (self.limits.revokes || self.free), Action::Revoke { leader, batch });
        }
    }

    fn process(&mut self, process: usize) {
        let me = &self.state.processes[process];
        match me.life {
            Life::Gone => {}
            Life::NotStarted => {
                let predecessor = self.limits.predecessor(process);
                let gone = |dead: usize| self.state.processes[dead].life == Life::Gone;
                self.add(predecessor.is_none_or(gone), Action::Start { process });
            }
            Life::Alive => {
                self.add(self.limits.restart && process == 0, Action::Crash { process });
                self.connects(process);
                self.works(process);
                self.reports(process);
            }
        }
    }

    fn connects(&mut self, process: usize) {
        let me = &self.state.processes[process];
        for leader in 0..usize::from(self.limits.leaders) {
            let leads = self.state.lead(leader).is_some();
            let not_older = leader as u8 + 1 >= me.highest_term || self.breaks(Mutation::OldLeadersHeeded);
            let may = leads && not_older && (me.hello < self.limits.hellos[process] || self.free);
            self.add(may, Action::Connect { process, leader });
        }
        let connected = me.connection != Connection::None;
        self.add(me.valid_by != 0 && (self.limits.lapses || self.free), Action::Lapse { process });
        let under_way = |upward: bool| {
            let mine = |p: &&crate::message::Packet| usize::from(p.process) == process && p.hello == me.hello;
            self.state.packets.iter().filter(mine).any(|packet| packet.message.is_upward() == upward)
        };
        let (up, down) = (under_way(true), under_way(false));
        self.add(self.limits.losses && connected && !me.mute && up, Action::FallMute { process });
        self.add(self.limits.losses && connected && !me.deaf && down, Action::FallDeaf { process });
    }

    fn works(&mut self, process: usize) {
        let me = &self.state.processes[process];
        let free_slot = me.running() < me.held || self.breaks(Mutation::HeldSlotsIgnored);
        let may_begin = me.valid_by != 0 && free_slot && me.next_to_begin().is_some();
        self.add(may_begin, Action::Begin { process });
        for (place, lease) in me.leases.iter().enumerate() {
            for (batch, held) in lease.batches.iter().enumerate() {
                let Held::Running(attempt) = *held else { continue };
                let finish = |outcome| Action::Finish { process, lease: place, batch, outcome };
                self.add(true, finish(Outcome::Succeeded));
                self.add(self.limits.tolerated.is_some() && !self.free, finish(Outcome::Failed));
                self.add(attempt < self.limits.attempts && !self.free, finish(Outcome::Undecided));
            }
        }
        let live = me.connection == Connection::Live;
        let early = self.breaks(Mutation::SlotsShrunkWhileRunning) && me.held > 0;
        self.add(live && (me.idle_slots() > 0 || early), Action::Shrink { process });
        let empty = me.leases.is_empty() && me.held == 0;
        self.add(live && empty && self.limits.goodbyes && !self.free, Action::Goodbye { process });
    }

    fn reports(&mut self, process: usize) {
        let me = &self.state.processes[process];
        if me.connection != Connection::Live {
            return;
        }
        for (place, lease) in me.leases.iter().enumerate() {
            let done = lease.batches.iter().any(|held| matches!(held, Held::Done(_)));
            let room = lease.reports < REPORTS || self.free;
            self.add(done && room, Action::Report { process, lease: place });
            for number in 1..=lease.reports {
                let Some(report) = lease.report(number) else { continue };
                let same = |p: &crate::message::Packet| {
                    usize::from(p.process) == process
                        && p.hello == me.hello
                        && p.message.about_report() == Some(report.mark)
                };
                let quiet = !self.state.packets.iter().any(same);
                self.add(quiet && !me.mute, Action::ReportAgain { process, lease: place, number });
            }
        }
    }
}

impl World<'_> {
    /// Lets one thing happen.
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::ReadEarly { leader } => self.read_early(leader),
            Action::Elect { leader } => self.elect(leader),
            Action::StepDown { leader } => self.step_down(leader),
            Action::WaitIsOver { leader } => self.wait_is_over(leader),
            Action::WindowEnds { leader } => self.close_window(leader),
            Action::Expire { leader, process } => self.expire(leader, process),
            Action::StreamEnds { leader, process } => {
                self.start_leaving(leader, process);
                self.send_commit(leader);
            }
            Action::Grant { leader, process, length, slots } => self.grant(leader, process, length, slots),
            Action::GiveSlots { leader, process } => self.give_slots(leader, process),
            Action::Revoke { leader, batch } => self.revoke(leader, batch),
            Action::UserStops { leader } => self.user_stops(leader),
            Action::UserUpdates { leader } => self.user_updates(leader),
            Action::StoreTakes { leader } => self.store_takes(leader),
            Action::StoreAnswers { leader } => self.store_answers(leader),
            Action::AnswerLost { leader } => self.answer_lost(leader),
            Action::LateWrite => self.late_write(),
            Action::Start { process } => self.start(process),
            Action::Crash { process } => self.crash(process),
            Action::Connect { process, leader } => self.connect(process, leader),
            Action::Lapse { process } => self.lapse(process),
            Action::Begin { process } => self.begin(process),
            Action::Finish { process, lease, batch, outcome } => self.finish(process, lease, batch, outcome),
            Action::Report { process, lease } => self.report(process, lease),
            Action::ReportAgain { process, lease, number } => self.report_again(process, lease, number),
            Action::Shrink { process } => self.shrink(process),
            Action::Goodbye { process } => self.goodbye(process),
            Action::FallMute { process } => self.fall_mute(process),
            Action::FallDeaf { process } => self.fall_deaf(process),
            Action::Deliver { packet } => self.deliver(packet),
        }
    }

    fn deliver(&mut self, place: usize) {
        let packet = self.state.packets.remove(place);
        if packet.message.is_upward() {
            self.leader_receives(packet);
        } else {
            self.worker_receives(packet);
        }
    }

    fn wait_is_over(&mut self, leader: usize) {
        self.lead(leader).waited = true;
        self.send_commit(leader);
    }

    /// The leader has not heard a process for too long: an answer of it that is still under way comes too late, too.
    fn expire(&mut self, leader: usize, process: usize) {
        let hello = self.lead(leader).members[process].hello;
        let early = self.breaks(Mutation::ExpiryBeforeLapse);
        let silent = &mut self.state.processes[process];
        if usize::from(silent.leader) == leader && silent.hello == hello && !early {
            silent.connection = Connection::None;
            self.drop_downward(process);
        }
        self.start_leaving(leader, process);
        self.send_commit(leader);
    }

    fn user_stops(&mut self, leader: usize) {
        self.state.stops += 1;
        self.lead(leader).staged.stop = true;
        self.send_commit(leader);
    }

    fn user_updates(&mut self, leader: usize) {
        self.state.updates += 1;
        self.lead(leader).staged.max_concurrency = self.limits.update_to;
        self.send_commit(leader);
    }
}
