//! Transactions: what goes into one, what the store does with it, what follows from its outcome; as `commit.rs`,
//! `run_commit.rs` and `committed.rs` of the scheduler.
//!
//! A transaction is sent as soon as something is staged and none is in flight. What the interval between
//! transactions would gather gathers here while one is in flight.

use crate::limits::Limits;
use crate::message::Message;
use crate::mutation::Mutation;
use crate::state::{
    Commit, Landed, LateWrite, Lead, Leader, Member, Outcome, PROCESSES, Place, Report, Roster, Staged,
    StagedReport, Store, Window,
};
use crate::world::{Event, World, members};

impl Lead {
    /// A leader that goes on from what the store holds.
    fn recovered(store: &Store, leader: usize, limits: &Limits) -> Self {
        let mut lead = Self {
            records: store.records,
            roster: store.roster,
            stopping: store.stopping,
            max_concurrency: store.max_concurrency,
            ceiling: store.ceiling,
            unknown: store.ceiling,
            window: Window::Open,
            ..Self::default()
        };
        for (batch, place) in lead.places.iter_mut().enumerate() {
            let absent = batch >= usize::from(limits.batches) || limits.is_to_come(batch, leader);
            let fresh = leader == 1 && limits.is_to_come(batch, 0);
            *place = match (absent || store.records[batch].decided, fresh) {
                (true, _) => Place::Decided,
                (false, true) => Place::Pending,
                (false, false) => Place::Orphan,
            };
        }
        for process in members(store.roster).filter(|process| *process < PROCESSES) {
            lead.members[process].waited_for = true;
        }
        lead
    }

    /// A record that stops the run, or changes its limit, is on its way.
    pub(crate) fn is_suspended(&self) -> bool {
        self.commit.is_some_and(|commit| {
            commit.stopping != self.stopping || commit.max_concurrency != self.max_concurrency
        })
    }
}

impl World<'_> {
    /// A coordinator reads the store, before its first guarded write: only with that rule left out.
    pub(crate) fn read_early(&mut self, leader: usize) {
        self.state.leaders[leader] = Leader::Read(self.state.store);
    }

    /// A coordinator wins, writes its term, and recovers from what the store holds then.
    pub(crate) fn elect(&mut self, leader: usize) {
        let snapshot = match self.state.leaders[leader] {
            Leader::Read(early) => early,
            Leader::Unborn | Leader::Leading(_) | Leader::Down => self.state.store,
        };
        self.state.store.term = leader as u8 + 1;
        if !self.breaks(Mutation::WritesUnguarded) {
            self.state.late = None; // it can never land any more
        }
        let mut lead = Lead::recovered(&snapshot, leader, self.limits);
        if self.breaks(Mutation::UnknownForgotten) {
            lead.unknown = 0;
        }
        if self.breaks(Mutation::UnknownIsLimit) {
            lead.unknown = lead.max_concurrency;
        }
        if self.breaks(Mutation::CeilingLoweredAtTakeOver) {
            (lead.unknown, lead.ceiling) = (lead.max_concurrency, lead.max_concurrency);
            self.state.store.ceiling = lead.max_concurrency;
        }
        let nobody = lead.roster == 0 || self.breaks(Mutation::NoAdoptionWindow);
        self.state.leaders[leader] = Leader::Leading(lead);
        if leader > 0 {
            self.saw(Event::TakenOver);
        }
        if nobody {
            self.nobody_is_unknown(leader);
            let lead = self.lead(leader);
            lead.staged.removes = lead.roster;
            lead.members = Default::default();
        }
        self.send_commit(leader);
    }

    /// A leader stops leading: its streams end, its write may still land.
    pub(crate) fn step_down(&mut self, leader: usize) {
        let commit = self.lead(leader).commit;
        self.state.leaders[leader] = Leader::Down;
        self.state.packets.retain(|packet| usize::from(packet.leader) != leader);
        let term = leader as u8 + 1;
        let may_land = term == self.state.store.term || self.breaks(Mutation::WritesUnguarded);
        if let Some(commit) = commit.filter(|commit| commit.landed == Landed::UnderWay && may_land) {
            self.state.late = Some(LateWrite { term, commit });
        }
    }

    /// Sends the next transaction if one is wanted and allowed.
    pub(crate) fn send_commit(&mut self, leader: usize) {
        let held_back = self.holds_decisions(leader);
        let lead = *self.lead(leader);
        if lead.commit.is_some() {
            return;
        }
        let mut commit = Commit {
            records: lead.records,
            stopping: lead.stopping,
            max_concurrency: lead.max_concurrency,
            ceiling: lead.ceiling,
            adds: lead.staged.adds,
            removes: lead.staged.removes,
            ..Commit::default()
        };
        let mut staged = Staged::default();
        if held_back {
            staged = Staged { adds: 0, removes: 0, ..lead.staged };
        } else {
            self.build_decisions(&lead, &mut commit, &mut staged);
        }
        self.settle_ceiling(&lead, &mut commit);
        let changed = commit.adds | commit.removes != 0
            || !commit.reports.is_empty()
            || (commit.stopping, commit.max_concurrency, commit.ceiling)
                != (lead.stopping, lead.max_concurrency, lead.ceiling);
        let lead = self.lead(leader);
        lead.staged = staged;
        lead.commit = changed.then_some(commit);
    }

    /// While the old leader may still decide: nothing that stops, lowers or counts.
    fn holds_decisions(&mut self, leader: usize) -> bool {
        let early = self.breaks(Mutation::StopBeforeStepDownWait);
        let lead = self.lead(leader);
        lead.window != Window::Shut && !lead.waited && !early
    }

    fn build_decisions(&mut self, lead: &Lead, commit: &mut Commit, staged: &mut Staged) {
        commit.reports = lead.staged.reports;
        for staged in lead.staged.reports.iter() {
            self.count_report(commit, &staged.report);
        }
        commit.max_concurrency = lead.staged.max_concurrency.unwrap_or(lead.max_concurrency);
        let failed = commit.records.iter().filter(|record| record.failed).count();
        let crossed = self.limits.tolerated.is_some_and(|tolerated| failed > usize::from(tolerated));
        if crossed && self.breaks(Mutation::StopInLaterWrite) && !lead.staged.reports.is_empty() {
            staged.stop = true;
        } else {
            commit.stopping |= lead.staged.stop || (crossed && !self.breaks(Mutation::ToleranceIgnored));
        }
    }

    fn count_report(&mut self, commit: &mut Commit, report: &Report) {
        let last = self.limits.attempts;
        for (batch, entry) in report.batches() {
            let record = &mut commit.records[batch];
            match record.counted.get_mut(usize::from(record.attempts)) {
                Some(counted) => *counted = report.mark,
                None => self.violate(|| format!("b{batch} is counted once more after its last attempt")),
            }
            let record = &mut commit.records[batch];
            record.attempts += 1;
            record.decided = entry.outcome != Outcome::Undecided || record.attempts >= last;
            record.failed = record.decided && entry.outcome == Outcome::Failed;
            if record.attempts != entry.attempt {
                let counted = record.attempts;
                self.violate(|| {
                    format!("attempt {} of b{batch} is counted as attempt {counted}", entry.attempt)
                });
            }
        }
    }

    /// Raises `M` with the limit; lowers it once nobody can hold more slots than the new limit allows.
    fn settle_ceiling(&self, lead: &Lead, commit: &mut Commit) {
        let limit = commit.max_concurrency;
        let nobody_holds_more = (lead.window == Window::Shut && lead.held() <= limit && lead.unknown == 0)
            || self.breaks(Mutation::CeilingLoweredEarly);
        let raises = limit > commit.ceiling && !self.breaks(Mutation::CeilingRaisedLater);
        if raises || (nobody_holds_more && limit < commit.ceiling) {
            commit.ceiling = limit;
        }
    }

    /// The store gets a leader's transaction.
    pub(crate) fn store_takes(&mut self, leader: usize) {
        let Some(mut commit) = self.lead(leader).commit else { return };
        let written = self.apply(leader as u8 + 1, &commit);
        commit.landed = if written { Landed::Written } else { Landed::Deposed };
        self.lead(leader).commit = Some(commit);
    }

    /// A write lands after its sender gave it up.
    pub(crate) fn late_write(&mut self) {
        if let Some(late) = self.state.late.take()
            && self.apply(late.term, &late.commit)
        {
            self.saw(Event::LateWriteLanded);
        }
    }

    /// Applies a transaction if its guard holds.
    fn apply(&mut self, term: u8, commit: &Commit) -> bool {
        if self.state.store.term != term && !self.breaks(Mutation::WritesUnguarded) {
            self.saw(Event::Deposed);
            return false;
        }
        let before = self.state.store;
        let store = &mut self.state.store;
        if !commit.reports.is_empty() {
            store.records = commit.records;
        }
        store.stopping = commit.stopping;
        store.max_concurrency = commit.max_concurrency;
        store.ceiling = commit.ceiling;
        store.roster = (store.roster | commit.adds) & !commit.removes;
        self.check_applied(&before);
        self.check_counted(commit);
        true
    }

    fn check_applied(&mut self, before: &Store) {
        let after = self.state.store;
        if before.stopping && !after.stopping {
            self.violate(|| "a durable stop is undone".to_owned());
        }
        for batch in self.batches() {
            let (old, new) = (&before.records[batch], &after.records[batch]);
            let counted = usize::from(old.attempts).min(old.counted.len());
            let kept = new.attempts >= old.attempts && new.counted[..counted] == old.counted[..counted];
            if !kept || new.attempts > old.attempts + 1 || (old.decided && new != old) {
                self.violate(|| format!("b{batch} was counted as {old:?}, and is now as {new:?}"));
            }
        }
        let failed = after.records.iter().filter(|record| record.failed).count();
        let crossed = self.limits.tolerated.is_some_and(|tolerated| failed > usize::from(tolerated));
        if crossed && !after.stopping {
            self.violate(|| format!("{failed} batches failed durably and the run goes on"));
        }
        if after.stopping && !before.stopping {
            self.saw(if crossed { Event::StoppedByTolerance } else { Event::Stopped });
        }
        if after.ceiling < before.ceiling {
            self.saw(Event::CeilingLowered);
        }
    }

    fn check_counted(&mut self, commit: &Commit) {
        let term = self.state.store.term;
        for staged in commit.reports.iter() {
            if staged.report.mark.token.term < term {
                self.saw(Event::CountedAfterAdoption);
            }
        }
    }

    /// A leader hears what became of its transaction.
    pub(crate) fn store_answers(&mut self, leader: usize) {
        let Some(commit) = self.lead(leader).commit else { return };
        match commit.landed {
            Landed::UnderWay => {}
            Landed::Deposed => self.step_down(leader),
            Landed::Written => {
                self.on_committed(leader, &commit);
                self.send_commit(leader);
            }
        }
    }

    fn on_committed(&mut self, leader: usize, commit: &Commit) {
        let lead = self.lead(leader);
        lead.commit = None;
        lead.roster = (lead.roster | commit.adds) & !commit.removes;
        for process in members(commit.adds) {
            let member = &mut lead.members[process];
            if member.known && member.roster == Roster::Adding {
                member.roster = Roster::Present;
            }
        }
        lead.records = commit.records;
        lead.stopping = commit.stopping;
        lead.max_concurrency = commit.max_concurrency;
        lead.ceiling = commit.ceiling;
        for staged in commit.reports.iter() {
            self.on_counted(leader, staged);
        }
        for process in members(commit.removes) {
            self.saw(Event::RosterLeft);
            self.forget_member(leader, process);
            self.not_waited_for(leader, process);
        }
    }

    /// A report is durable: its batches leave their lease, the worker hears.
    fn on_counted(&mut self, leader: usize, staged: &StagedReport) {
        let lead = self.lead(leader);
        let mut left = false;
        for (batch, _) in staged.report.batches() {
            let decided = lead.records[batch].decided;
            lead.places[batch] = if decided { Place::Decided } else { Place::Pending };
        }
        for (_, token) in lead.leased_by(usize::from(staged.holder)) {
            left |= token == staged.report.mark.token;
        }
        let Member { known, hello, .. } = lead.members[usize::from(staged.holder)];
        if left {
            self.saw(Event::PartCounted);
        }
        if known {
            self.check_accepted(&staged.report);
            let answer = Message::Accepted(staged.report.mark);
            self.send_down(leader, usize::from(staged.holder), hello, answer);
        }
    }

    /// The outcome of a transaction stays unknown to its sender.
    pub(crate) fn answer_lost(&mut self, leader: usize) {
        let Some(commit) = self.lead(leader).commit else { return };
        let term = leader as u8 + 1;
        let late = (commit.landed == Landed::UnderWay).then_some(LateWrite { term, commit });
        if self.breaks(Mutation::UnknownRetried) {
            self.state.late = late;
            self.lead(leader).commit = Some(Commit { landed: Landed::UnderWay, ..commit });
        } else if self.breaks(Mutation::UnknownIsDone) {
            self.state.late = late;
            self.on_committed(leader, &commit);
            self.send_commit(leader);
        } else if self.breaks(Mutation::UnknownIsRefused) {
            self.state.late = late;
            self.lead(leader).commit = None;
            self.forget_staged(leader, &commit);
        } else {
            self.step_down(leader);
        }
    }

    /// Takes a transaction for one that was never written: its batches may be reported again, or requeued.
    fn forget_staged(&mut self, leader: usize, commit: &Commit) {
        let lead = self.lead(leader);
        for (batch, _) in commit.reports.iter().flat_map(|staged| staged.report.batches()) {
            if let Place::Leased { committing, .. } = &mut lead.places[batch] {
                *committing = false;
            }
        }
        lead.staged.adds |= commit.adds;
        lead.staged.removes |= commit.removes;
    }
}
