//! The adoption window after a take-over: workers that are not heard yet may still run what the last leader gave them.
//!
//! Nothing is granted before the last leader has certainly stopped deciding (at once if it handed the lead over), and until the window ends the
//! slots that it may have given count as occupied. The window ends early once every process of the roster
//! has said Hello or Goodbye.

use std::collections::BTreeMap;

use warifu_model::{Incarnation, Now, Timestamp, WorkerId};

use crate::compensation::Try;
use crate::map_run::{Finish, MapRun};
use crate::pace::Pace;
use crate::record::{Snapshot, StoredMapRun};
use crate::scheduler::Scheduler;
use crate::timers::Timer;
use crate::{BrokenRule, Config, Effects};

/// An open adoption window.
#[derive(Debug)]
pub(crate) struct Window {
    /// Before this the last leader may still decide.
    pub(crate) grants_from: Timestamp,
    /// From here on the last leader's sessions are over.
    pub(crate) ends_at: Timestamp,
    /// Processes of the roster that may still heed the last leader: they were not heard, or said nothing since their Hello.
    pub(crate) waiting: BTreeMap<Incarnation, WorkerId>,
    /// Those not heard are being removed from the roster.
    pub(crate) closing: bool,
}

impl Scheduler {
    /// A scheduler that goes on from what the store holds. `seed` feeds its jitter.
    pub fn new(
        config: Config,
        term: warifu_model::LeaderTerm,
        snapshot: Snapshot,
        now: Now,
        seed: u64,
        effects: &mut Effects,
    ) -> Self {
        let mut scheduler = Self::empty(config, term, now, seed);
        let opens_window =
            scheduler.config.step_down_after.is_some() && !scheduler.breaks(BrokenRule::NoAdoptionWindow);
        let (roster, handed_over) = (snapshot.roster, snapshot.handed_over);
        scheduler.roster = roster.iter().map(|(id, record)| (record.incarnation, id.clone())).collect();
        scheduler.used_ids = snapshot.used_ids.into_iter().collect();
        for stored in snapshot.map_runs {
            scheduler.restore(now, stored, opens_window);
        }
        if opens_window {
            scheduler.open_window(now, handed_over);
        } else {
            for (incarnation, worker) in scheduler.roster.clone() {
                scheduler.leave_roster(now, incarnation, worker);
            }
        }
        for id in scheduler.map_runs.keys().cloned().collect::<Vec<_>>() {
            if !opens_window || scheduler.breaks(BrokenRule::ForgetOrphanedTry) {
                scheduler.lose_orphaned_try(now, &id);
            }
            scheduler.check_finished(now, &id, effects);
        }
        scheduler.start_queued(now);
        scheduler.placement_wanted = true;
        scheduler.settle(now, effects);
        scheduler
    }

    fn restore(&mut self, now: Now, stored: StoredMapRun, opens_window: bool) {
        let config = self.config.clone();
        self.next_sequence = self.next_sequence.max(stored.spec.sequence);
        let mut map_run = MapRun::new(stored.id.clone(), stored.spec, stored.status, now.at);
        map_run.stored_plan = stored.plan;
        map_run.refresh_spec();
        map_run.outputs = stored.outputs;
        if !map_run.status.state.is_terminal() {
            map_run.pace = Pace::taken_over(now.at);
            map_run.restore_shards(stored.shards, now, opens_window, &config);
            if let Some(status) = map_run.status.compensation.clone() {
                map_run.finish = Finish::Compensating;
                if !status.state.has_ended() {
                    map_run.begin_compensating(now, &status, &config);
                }
            }
            map_run.staged.total_known = map_run.is_composed() && !map_run.status.total_known;
            if opens_window
                && map_run.concurrency_limit() < u32::MAX
                && !self.breaks(BrokenRule::ForgetUnknownSlots)
            {
                map_run.unknown_slots = map_run.status.concurrency_ceiling.unwrap_or(u32::MAX);
            }
            if self.config.step_down_after.is_none() {
                map_run.count_deaths();
            }
            self.restore_timeout(now, &map_run);
            self.touch(now.at, &stored.id);
        }
        self.map_runs.insert(stored.id, map_run);
    }

    fn restore_timeout(&mut self, now: Now, map_run: &MapRun) {
        let (Some(timeout), Some(start)) = (map_run.spec.timeout, map_run.status.start_time) else { return };
        let elapsed = std::time::Duration::from_millis(u64::try_from(now.wall.0 - start.0).unwrap_or(0));
        self.timers.set(Timer::RunTimeout(map_run.id.clone()), now.at + timeout.saturating_sub(elapsed));
    }

    fn open_window(&mut self, now: Now, handed_over: bool) {
        let orphans = self.map_runs.values().any(MapRun::may_be_held);
        if self.roster.is_empty() && !orphans {
            return self.nobody_is_unknown(now);
        }
        let step_down = self.config.step_down_after.unwrap_or_default();
        let stops_deciding = if handed_over { std::time::Duration::ZERO } else { self.with_drift(step_down) };
        let grants_from = now.at + stops_deciding;
        let ends_at = grants_from + self.config.session_ttl;
        self.window = Some(Window { grants_from, ends_at, waiting: self.roster.clone(), closing: false });
        self.timers.set(Timer::WindowGrants, grants_from);
        self.timers.set(Timer::WindowEnd, ends_at);
        if self.roster.is_empty() {
            self.close_window(now);
        }
    }

    /// A duration of another machine's clock, as long as it can take by this one's.
    pub(crate) fn with_drift(&self, duration: std::time::Duration) -> std::time::Duration {
        duration * (100 + self.config.drift_percent) / 100
    }

    /// A process of the roster is known to heed this leader, or left the roster.
    pub(crate) fn not_waited_for(&mut self, now: Now, incarnation: Incarnation) {
        let Some(window) = &mut self.window else { return };
        window.waiting.remove(&incarnation);
        if window.waiting.is_empty() {
            self.nobody_is_unknown(now);
        }
    }

    /// The window's time is over: whoever was not heard holds nothing any more, once the roster says so.
    pub(crate) fn close_window(&mut self, now: Now) {
        let Some(window) = &mut self.window else { return };
        window.closing = true;
        // Whoever said Hello heeds nobody else by now: the last leader has stopped, and what he answered has run out.
        window.waiting.retain(|incarnation, _| !self.workers.contains_key(incarnation));
        let silent = window.waiting.clone();
        if silent.is_empty() {
            return self.nobody_is_unknown(now);
        }
        for (incarnation, worker) in silent {
            self.leave_roster(now, incarnation, worker);
        }
    }

    /// Every holder of leases or slots is known: what nobody claimed is pending, no slot is unknown.
    fn nobody_is_unknown(&mut self, now: Now) {
        self.window = None;
        self.timers.clear(&Timer::WindowEnd);
        self.timers.clear(&Timer::WindowGrants);
        for map_run in self.map_runs.values_mut() {
            map_run.unknown_slots = 0;
            for number in map_run.shards.keys().copied().collect::<Vec<_>>() {
                let Some(shard) = map_run.shards.get_mut(&number) else { continue };
                let unclaimed = std::mem::take(&mut shard.orphan);
                shard.requeue_all(unclaimed, now.at);
                map_run.shard_changed(number);
            }
        }
        for id in self.map_runs.keys().cloned().collect::<Vec<_>>() {
            self.lose_orphaned_try(now, &id);
            self.touch(now.at, &id);
            self.finish_checks.insert(id);
        }
        self.placement_wanted = true;
    }
}

impl MapRun {
    /// True if a worker that is not heard may hold something of it.
    fn may_be_held(&self) -> bool {
        let try_is_out =
            |compensating: &crate::compensation::Compensating| compensating.attempt == Try::Orphan;
        self.shards.values().any(|shard| !shard.orphan.is_empty())
            || self.compensating.as_ref().is_some_and(try_is_out)
    }

    /// What was in progress when this very process died is remembered: after three deaths in a row it runs alone.
    fn count_deaths(&mut self) {
        for (number, shard) in &mut self.shards {
            let begun = std::mem::take(&mut shard.record.begun);
            let old = std::mem::take(&mut shard.record.deaths);
            for batch in begun.iter() {
                shard.record.deaths.insert(batch, old.get(&batch).copied().unwrap_or(0) + 1);
            }
            if !shard.record.deaths.is_empty() || !old.is_empty() {
                self.staged.shards.insert(*number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use warifu_model::protocol::{Hello, WorkerMessage};
    use warifu_model::{Incarnation, LeaderTerm, WallTime, WorkerId};

    use crate::record::{RosterRecord, Snapshot};
    use crate::{CommitOutcome, Config, Effect, Effects, Event, Scheduler, StreamId};

    use super::*;

    const WORKER: Incarnation = Incarnation(7);

    fn at(seconds: u64) -> Now {
        Now { at: Timestamp(seconds * 1_000_000), wall: WallTime(0) }
    }

    /// What a store that writes everything at once answers.
    fn written(mut effects: Effects) -> Vec<Event> {
        let answer = |effect| match effect {
            Effect::Commit(commit) => {
                Some(Event::CommitFinished { commit: commit.id, outcome: CommitOutcome::Done })
            }
            _ => None,
        };
        effects.drain().filter_map(answer).collect()
    }

    fn step(scheduler: &mut Scheduler, seconds: u64, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Effects::new();
            scheduler.step(at(seconds), event, &mut effects);
            events.extend(written(effects));
        }
    }

    fn says(scheduler: &mut Scheduler, seconds: u64, message: WorkerMessage) {
        step(scheduler, seconds, Event::MessageReceived { stream: StreamId(1), message });
    }

    fn hello() -> WorkerMessage {
        WorkerMessage::Hello(Hello {
            worker: WorkerId::new("w").expect("a worker's id"),
            incarnation: WORKER,
            hello_number: 1,
            dead_incarnation: None,
            version: String::new(),
            slots: 4,
            handlers: Vec::new(),
            cache_bytes: 0,
            cut_versions: warifu_dataset::CUT_VERSIONS.collect(),
            draining: false,
            held_slots: BTreeMap::new(),
            leases: Vec::new(),
            compensates: true,
        })
    }

    /// A leader that took over from one who may still decide, with one process on the roster.
    fn new_leader() -> Scheduler {
        let worker = WorkerId::new("w").expect("a worker's id");
        let roster = vec![(worker, RosterRecord { incarnation: WORKER })];
        let snapshot = Snapshot { roster, ..Snapshot::default() };
        let config = Config { step_down_after: Some(Duration::from_secs(4)), ..Config::default() };
        let mut effects = Effects::new();
        let mut scheduler = Scheduler::new(config, LeaderTerm(2), snapshot, at(0), 1, &mut effects);
        written(effects).into_iter().for_each(|event| step(&mut scheduler, 0, event));
        scheduler
    }

    #[test]
    fn a_hello_alone_does_not_end_the_window_and_what_follows_it_does() {
        let mut scheduler = new_leader();
        says(&mut scheduler, 1, hello());
        assert!(scheduler.window.is_some(), "the Welcome may be lost");
        says(&mut scheduler, 1, WorkerMessage::Heartbeat { nonce: 1 });
        assert!(scheduler.window.is_none());
    }

    #[test]
    fn a_worker_that_missed_its_welcome_is_not_taken_for_gone_before_the_window_ends() {
        let mut scheduler = new_leader();
        says(&mut scheduler, 1, hello());
        // The last leader may decide for 4 s, and what it answered then holds for 20 s: 20 s after the Hello is too early.
        for seconds in 2..=24 {
            step(&mut scheduler, seconds, Event::DeadlineReached);
            assert!(scheduler.roster.contains_key(&WORKER), "{seconds}");
        }
        for seconds in 25..=26 {
            step(&mut scheduler, seconds, Event::DeadlineReached);
        }
        assert!(scheduler.window.is_none());
        assert!(!scheduler.roster.contains_key(&WORKER));
    }
}
