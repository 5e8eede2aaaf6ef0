//! Coordinators: the current leader, and deposed ones that still believe.

use warifu_model::protocol::{CoordinatorMessage, ReportVerdict, RunFault};
use warifu_model::{Now, ResultLocation, Timestamp, WallTime, error_name};
use warifu_scheduler::{
    Commit, CommitOutcome, Config, Effect, Effects, Event, ManifestOrder, Scheduler, StreamId,
};

use crate::world::{Fate, Happening, Instant, MS, SECOND, World};

/// One coordinator that leads, or thinks so.
pub(crate) struct Leader {
    pub(crate) scheduler: Scheduler,
    pub(crate) alive: bool,
    pub(crate) paused_until: Instant,
    wake: Option<Instant>,
    clock: Clock,
}

/// A process's own clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Ticks in a million true microseconds.
    rate: u64,
    offset: u64,
}

impl Clock {
    pub(crate) fn new(rate: u64, offset: u64) -> Self {
        Self { rate, offset }
    }

    pub(crate) fn read(&self, now: Instant) -> Timestamp {
        Timestamp(self.offset + (u128::from(now) * u128::from(self.rate) / 1_000_000) as u64)
    }

    /// The first true instant at which the clock shows at least `at`.
    pub(crate) fn when(&self, at: Timestamp) -> Instant {
        let ticks = u128::from(at.0.saturating_sub(self.offset));
        u64::try_from((ticks * 1_000_000).div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
    }
}

impl World {
    /// A clock within the protocol's assumption: rates differ by one percent at most, offsets by anything.
    pub(crate) fn new_clock(&mut self) -> Clock {
        let rate = if self.plan.faults.drifting_clocks {
            self.random.between(995_100, 1_004_900)
        } else {
            1_000_000
        };
        Clock::new(rate, self.random.below(1_000) * SECOND)
    }

    pub(crate) fn elect(&mut self) -> Result<(), String> {
        self.electing = false;
        let (term, snapshot) = self.store.lead();
        let config = Config {
            step_down_after: Some(std::time::Duration::from_secs(4)),
            system_location: ("system".to_owned(), "failures/".to_owned()),
            max_active_map_runs: 3,
            min_alert_items: 10, // runs are small here
            broken: self.plan.broken_rule,
            max_span_batches: if self.plan.large_run { 4_096 } else { 6 },
            // Some fleets are as slow to be served as one of thousands.
            placed_at_once: if self.plan.large_run { 0 } else { 100 },
            placement_pause: std::time::Duration::from_millis(5),
            compensation_first_pause: std::time::Duration::from_millis(200),
            compensation_worker_wait: std::time::Duration::from_secs(30),
            ..Config::default()
        };
        let clock = self.new_clock();
        let now = reading(&clock, self.now);
        let mut effects = Effects::new();
        let seed = self.random.next();
        let scheduler = Scheduler::new(config, term, snapshot, now, seed, &mut effects);
        self.leaders.push(Leader { scheduler, alive: true, paused_until: 0, wake: None, clock });
        self.oracle.statistics.leaders += 1;
        self.note(|| format!("leader of term {term}"));
        self.carry_out(self.leaders.len() - 1, effects)
    }

    /// The leader of the store's term.
    pub(crate) fn current_leader(&self) -> Option<usize> {
        let leads = |leader: &Leader| leader.alive && leader.scheduler.term() == self.store.term;
        self.leaders.iter().rposition(leads)
    }

    pub(crate) fn tell_leader(&mut self, index: usize, event: Event) -> Result<(), String> {
        let leader = &mut self.leaders[index];
        if !leader.alive {
            return Ok(());
        }
        if leader.paused_until > self.now {
            let resumes = leader.paused_until;
            self.at(resumes, Happening::ToLeader(index, event));
            return Ok(());
        }
        let now = reading(&leader.clock, self.now);
        let mut effects = Effects::new();
        // After any other end of a transaction the store may be ahead of what the leader knows.
        let has_counted = matches!(event, Event::CommitFinished { outcome: CommitOutcome::Done, .. });
        leader.scheduler.step(now, event, &mut effects);
        leader.scheduler.take_changed();
        leader.scheduler.check_invariants().map_err(|violation| violation.0)?;
        let leads = self.leaders[index].scheduler.term() == self.store.term;
        if has_counted && leads && !self.plan.large_run {
            self.check_listed(&self.leaders[index].scheduler, now)?;
        }
        self.carry_out(index, effects)
    }

    pub(crate) fn leader_wakes(&mut self, index: usize) -> Result<(), String> {
        if self.leaders[index].wake.is_some_and(|wake| wake <= self.now) {
            self.leaders[index].wake = None;
            return self.tell_leader(index, Event::DeadlineReached);
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize, mut effects: Effects) -> Result<(), String> {
        for effect in effects.drain() {
            self.note(|| format!("leader {index}: {effect:?}"));
            match effect {
                Effect::Send { stream, message } => self.leader_sends(index, stream, message)?,
                Effect::CloseStream { stream } => self.cut(stream, MS),
                Effect::Commit(commit) => self.submit(index, commit),
                Effect::Reply { request: _, reply } => self.check_reply(&reply)?,
                Effect::LoadShards { map_run } => {
                    let shards = self.store.shards(&map_run);
                    self.after(MS, Happening::ToLeader(index, Event::ShardsLoaded { map_run, shards }));
                }
                Effect::WriteManifest(order) => self.after(MS, Happening::ManifestWritten(index, order)),
                Effect::CleanStaged { map_run, .. } => {
                    self.after(MS, Happening::ToLeader(index, Event::StagedCleaned { map_run }));
                }
                Effect::RaiseAlert(alert) => self.check_alert(&alert)?,
                Effect::StepDown { .. } => {
                    self.resign_at_times(index);
                    self.leader_ends(index);
                }
            }
        }
        self.wake_leader(index);
        Ok(())
    }

    fn wake_leader(&mut self, index: usize) {
        let leader = &mut self.leaders[index];
        let Some(deadline) = leader.scheduler.next_deadline().filter(|_| leader.alive) else { return };
        let wake = leader.clock.when(deadline).max(self.now);
        if leader.wake.is_none_or(|standing| wake < standing) {
            leader.wake = Some(wake);
            self.at(wake, Happening::LeaderWakes(index));
        }
    }

    /// What a leader sends is held against what is durable.
    fn leader_sends(
        &mut self,
        index: usize,
        stream: StreamId,
        message: CoordinatorMessage,
    ) -> Result<(), String> {
        match &message {
            CoordinatorMessage::Grant(grant) if grant.compensation.is_some() => {
                self.check_try_granted(grant)?;
            }
            CoordinatorMessage::Grant(grant) => {
                self.check_grant(grant)?;
                self.check_granted_pace(grant)?;
                if grant.slots > 0 {
                    self.check_slots_given(index, &grant.map_run)?;
                }
            }
            CoordinatorMessage::Slots { map_run, .. } => self.check_slots_given(index, map_run)?,
            CoordinatorMessage::ReportAnswer { lease, report, verdict } => {
                if *verdict == ReportVerdict::Accepted {
                    self.check_acknowledged(*lease, *report)?;
                } else {
                    self.oracle.statistics.refused_reports += 1;
                }
                if let ReportVerdict::Refused { batches } = verdict {
                    self.check_refused(*lease, batches)?;
                }
            }
            CoordinatorMessage::Welcome(welcome) => {
                self.oracle.statistics.adoptions += welcome.kept.len() as u64
            }
            _ => {}
        }
        if self.streams.get(&stream).is_some_and(|stream| stream.leader == index) {
            self.send_to_worker(stream, message);
        }
        Ok(())
    }

    fn submit(&mut self, index: usize, commit: Commit) {
        let trouble = !self.healing && self.random.below(10_000) < self.plan.faults.commit_trouble;
        let fate = match self.random.below(5) {
            _ if !trouble => Fate::Plain,
            0 => Fate::Refused,
            1 => Fate::AppliedUnknown,
            2 | 3 => Fate::LostUnknown,
            _ => Fate::Plain,
        };
        let slow = trouble && fate == Fate::Plain;
        let delay =
            if slow { self.random.between(SECOND, 6 * SECOND) } else { self.random.between(100, 3 * MS) };
        if fate == Fate::LostUnknown && self.random.chance(50) {
            // The write that timed out arrives after all, seconds later.
            let late = self.random.between(SECOND, 8 * SECOND);
            self.after(late, Happening::CommitArrives(index, Box::new(commit.clone()), Fate::Late));
        }
        self.after(delay, Happening::CommitArrives(index, Box::new(commit), fate));
    }

    /// A leader that has stopped says so, if the store hears it.
    pub(crate) fn resign_at_times(&mut self, index: usize) {
        if self.random.chance(50) {
            let term = self.leaders[index].scheduler.term();
            self.store.resign(term);
            self.oracle.statistics.resignations += u64::from(term == self.store.term);
        }
    }

    pub(crate) fn leader_ends(&mut self, index: usize) {
        self.leaders[index].alive = false;
        let streams: Vec<StreamId> =
            self.streams.iter().filter(|(_, stream)| stream.leader == index).map(|(id, _)| *id).collect();
        for stream in streams {
            self.cut(stream, 100 * MS);
        }
        let was_current = self.leaders[index].scheduler.term() == self.store.term;
        if was_current && !self.electing {
            self.electing = true;
            let delay = self.random.between(100 * MS, 8 * SECOND);
            self.after(delay, Happening::Elect);
        }
    }

    pub(crate) fn manifest_written(&mut self, index: usize, order: &ManifestOrder) -> Result<(), String> {
        if self.leaders[index].alive && self.leaders[index].scheduler.term() == self.store.term {
            self.check_manifest(order)?;
        }
        let location = ResultLocation {
            bucket: order.bucket.clone(),
            manifest_key: format!("{}manifest.json", order.prefix),
        };
        let unwritable = !self.healing && self.plan.faults.parts_trouble > 0 && self.random.chance(5);
        let fault = || RunFault { error: error_name::RESULT_WRITER_FAILED.to_owned(), cause: String::new() };
        let result = if unwritable { Err(fault()) } else { Ok(location) };
        let event = Event::ManifestWritten { map_run: order.map_run.clone(), redrive: order.redrive, result };
        self.tell_leader(index, event)
    }
}

fn reading(clock: &Clock, now: Instant) -> Now {
    Now { at: clock.read(now), wall: WallTime((now / 1_000) as i64) }
}
