//! A worker process: its session, its leases, its handlers and reports; as the crate `warifu-session`.

use crate::bounded::Bounded;
use crate::message::{Claim, Kept, Message, Packet};
use crate::mutation::Mutation;
use crate::state::{
    Bits, Connection, Entry, Held, LEASES, Lease, Life, Mark, Outcome, Process, Report, Token,
};
use crate::world::World;

impl Process {
    fn claims(&self) -> Bounded<Claim, LEASES> {
        let mut claims = Bounded::default();
        for lease in self.leases.iter() {
            claims.push(Claim { token: lease.token, attempts: lease.batches.map(Held::attempt) });
        }
        claims
    }

    /// Slots beyond what runs and what is still to begin.
    pub(crate) fn idle_slots(&self) -> u8 {
        let wanted = self.count(|held| matches!(held, Held::Running(_) | Held::NotBegun(_)));
        self.held.saturating_sub(wanted)
    }

    /// The first batch that is not begun: older leases first, batches in their order.
    pub(crate) fn next_to_begin(&self) -> Option<(usize, usize)> {
        let not_begun = |held: &Held| matches!(held, Held::NotBegun(_));
        let first = |lease: &Lease| lease.batches.iter().position(not_begun);
        self.leases.iter().enumerate().find_map(|(place, lease)| Some((place, first(lease)?)))
    }

    fn lease_mut(&mut self, token: Token) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.token == token)
    }

    fn close_leases(&mut self) {
        self.leases.retain(|lease| lease.batches.iter().any(|held| *held != Held::Absent));
    }

    fn forget_everything(&mut self) {
        self.leases.clear();
        self.held = 0;
        (self.valid_by, self.valid_hello) = (0, 0);
    }
}

impl Lease {
    /// The report with this number, as it was frozen; none once it is answered.
    pub(crate) fn report(&self, number: u8) -> Option<Report> {
        let mut report = Report { mark: Mark { token: self.token, number }, ..Report::default() };
        for (entry, held) in report.entries.iter_mut().zip(self.batches) {
            if let Held::Reported(reported, by) = held
                && by == number
            {
                *entry = Some(reported);
            }
        }
        report.entries.iter().any(Option::is_some).then_some(report)
    }
}

impl World<'_> {
    fn process(&mut self, process: usize) -> &mut Process {
        &mut self.state.processes[process]
    }

    pub(crate) fn start(&mut self, process: usize) {
        self.process(process).life = Life::Alive;
    }

    pub(crate) fn crash(&mut self, process: usize) {
        *self.process(process) = Process { life: Life::Gone, ..Process::default() };
        let upward = |packet: &Packet| usize::from(packet.process) != process || packet.message.is_upward();
        self.state.packets.retain(upward);
    }

    /// Opens a new stream: from the sending of Hello on, nothing is taken from older ones.
    pub(crate) fn connect(&mut self, process: usize, leader: usize) {
        self.drop_downward(process);
        let sender = self.process(process);
        sender.hello += 1;
        sender.leader = leader as u8;
        sender.connection = Connection::Greeting;
        (sender.mute, sender.deaf) = (false, false);
        let hello = Message::Hello { held: sender.held, claims: sender.claims() };
        self.send_up(process, hello);
    }

    /// The session is over by the worker's own clock: whatever it holds may be somebody else's now.
    pub(crate) fn lapse(&mut self, process: usize) {
        if self.breaks(Mutation::LapseKeepsRunning) {
            let lapsed = self.process(process);
            (lapsed.valid_by, lapsed.valid_hello) = (0, 0);
        } else {
            self.process(process).forget_everything();
        }
        if !self.breaks(Mutation::AnswerAfterLapseTaken) {
            self.process(process).connection = Connection::None;
            self.drop_downward(process);
        }
    }

    /// A message arrives at a worker.
    pub(crate) fn worker_receives(&mut self, packet: Packet) {
        let process = usize::from(packet.process);
        let any_stream = self.breaks(Mutation::OldStreamsHeeded);
        let receiver = self.state.processes[process];
        if receiver.hello != packet.hello && !any_stream {
            return;
        }
        if let Message::Welcome { kept, slots_kept } = packet.message {
            if receiver.connection == Connection::Greeting && receiver.hello == packet.hello {
                self.on_welcome(process, packet.leader + 1, &kept, slots_kept);
            }
        } else if receiver.connection == Connection::Live || any_stream {
            self.on_message(process, packet.message);
        }
    }

    fn on_welcome(&mut self, process: usize, term: u8, kept: &Bounded<Kept, LEASES>, slots_kept: bool) {
        let any_leader = self.breaks(Mutation::OldLeadersHeeded);
        let receiver = self.process(process);
        if term < receiver.highest_term && !any_leader {
            receiver.connection = Connection::None;
            return self.drop_downward(process); // a leader of the past
        }
        receiver.highest_term = term;
        (receiver.valid_by, receiver.valid_hello) = (term, receiver.hello);
        receiver.connection = Connection::Live;
        if !slots_kept {
            receiver.held = 0;
        }
        for lease in receiver.leases.iter_mut() {
            let lives: Bits =
                kept.iter().filter(|kept| kept.token == lease.token).map(|kept| kept.batches).sum();
            for (batch, held) in lease.batches.iter_mut().enumerate() {
                let in_a_report = matches!(held, Held::Reported(..));
                if !in_a_report && lives & 1 << batch == 0 {
                    *held = Held::Absent;
                }
            }
        }
        receiver.close_leases();
        self.say_alive(process);
    }

    /// A heartbeat that nobody waits for changes nothing, and is left out.
    fn say_alive(&mut self, process: usize) {
        let leader = usize::from(self.state.processes[process].leader);
        if self.state.lead(leader).is_some_and(|lead| lead.members[process].waited_for) {
            self.send_up(process, Message::Alive);
        }
    }

    fn on_message(&mut self, process: usize, message: Message) {
        match message {
            Message::Grant { token, attempts, slots } => {
                let receiver = self.process(process);
                if receiver.lease_mut(token).is_some() {
                    return;
                }
                receiver.held += slots;
                let batches =
                    attempts.map(|attempt| if attempt == 0 { Held::Absent } else { Held::NotBegun(attempt) });
                let room = receiver.leases.push(Lease { token, reports: 0, batches });
                self.require(room);
            }
            Message::Slots => self.process(process).held += 1,
            Message::Revoke { token, from } => self.on_revoke(process, token, from),
            Message::Accepted(mark) | Message::Superseded(mark) => {
                self.on_answer(process, mark, Bits::MAX);
            }
            Message::Refused { mark, batches } => self.on_answer(process, mark, batches),
            _ => {}
        }
    }

    fn on_revoke(&mut self, process: usize, token: Token, from: u8) {
        let returns_running = self.breaks(Mutation::RunningReturned);
        let mut batches: Bits = 0;
        if let Some(lease) = self.process(process).lease_mut(token) {
            for (batch, held) in lease.batches.iter_mut().enumerate().skip(usize::from(from)) {
                match held {
                    Held::NotBegun(_) => {
                        *held = Held::Absent;
                        batches |= 1 << batch;
                    }
                    Held::Running(_) if returns_running => batches |= 1 << batch,
                    _ => {}
                }
            }
        }
        self.process(process).close_leases();
        if batches != 0 {
            self.send_up(process, Message::Returned { token, batches });
        }
    }

    /// A report is answered: batches in `gone` are done with, the others wait for a new report.
    fn on_answer(&mut self, process: usize, mark: Mark, gone: Bits) {
        let receiver = self.process(process);
        if let Some(lease) = receiver.lease_mut(mark.token) {
            for (batch, held) in lease.batches.iter_mut().enumerate() {
                if let Held::Reported(entry, number) = *held
                    && number == mark.number
                {
                    *held = if gone & 1 << batch != 0 { Held::Absent } else { Held::Done(entry) };
                }
            }
        }
        receiver.close_leases();
    }

    /// The next batch's handler is called.
    pub(crate) fn begin(&mut self, process: usize) {
        let Some((place, batch)) = self.process(process).next_to_begin() else { return };
        let held = &mut self.process(process).leases[place].batches[batch];
        *held = Held::Running(held.attempt());
        self.check_begin(batch);
    }

    pub(crate) fn finish(&mut self, process: usize, place: usize, batch: usize, outcome: Outcome) {
        let held = &mut self.process(process).leases[place].batches[batch];
        *held = Held::Done(Entry { attempt: held.attempt(), outcome });
    }

    /// What is done under a lease goes into a report, frozen from now on.
    pub(crate) fn report(&mut self, process: usize, place: usize) {
        let same_number = self.breaks(Mutation::ReportsRegrouped);
        let lease = &mut self.process(process).leases[place];
        if !same_number || lease.reports == 0 {
            lease.reports += 1;
        }
        let number = lease.reports;
        for held in &mut lease.batches {
            if let Held::Done(entry) = *held {
                *held = Held::Reported(entry, number);
            }
        }
        self.report_again(process, place, number);
    }

    pub(crate) fn report_again(&mut self, process: usize, place: usize, number: u8) {
        if let Some(report) = self.process(process).leases[place].report(number) {
            self.send_up(process, Message::Report(report));
        }
    }

    /// Slots with nothing left to begin go back.
    pub(crate) fn shrink(&mut self, process: usize) {
        let too_many = self.breaks(Mutation::SlotsShrunkWhileRunning);
        let sender = self.process(process);
        let slots = if too_many { sender.held } else { sender.idle_slots() };
        sender.held -= slots;
        self.send_up(process, Message::Shrink { slots });
    }

    /// Says Goodbye and ends.
    pub(crate) fn goodbye(&mut self, process: usize) {
        self.send_up(process, Message::Goodbye);
        self.crash(process);
    }

    /// What the process said on its stream and has not arrived is lost, and all that it will say there.
    pub(crate) fn fall_mute(&mut self, process: usize) {
        let hello = self.process(process).hello;
        self.process(process).mute = true;
        self.state.packets.retain(|packet| {
            let lost = usize::from(packet.process) == process && packet.hello == hello;
            !(lost && packet.message.is_upward())
        });
    }

    /// What was said to the process on its stream and has not arrived is lost, and all that will be said there.
    pub(crate) fn fall_deaf(&mut self, process: usize) {
        let hello = self.process(process).hello;
        self.process(process).deaf = true;
        self.state.packets.retain(|packet| {
            let lost = usize::from(packet.process) == process && packet.hello == hello;
            !lost || packet.message.is_upward()
        });
    }
}
