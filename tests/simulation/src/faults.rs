//! Faults: streams cut, processes killed, paused and cut off, leaders replaced, workers drained.

use warifu_model::Timestamp;
use warifu_scheduler::StreamId;
use warifu_session::SessionEvent;

use crate::world::{Happening, Instant, MS, SECOND, World};

/// From one chance of a fault to the next.
const INTERVAL: Instant = 20 * MS;

impl World {
    /// Everything that may go wrong gets its chance.
    pub(crate) fn fault_strikes(&mut self) {
        if self.healing {
            return;
        }
        self.after(INTERVAL, Happening::FaultStrikes);
        self.forget_old_streams();
        let faults = self.plan.faults;
        if self.strikes(faults.cut_stream) {
            let open: Vec<StreamId> = self.open_streams();
            if let Some(stream) = self.random.pick(&open).copied() {
                self.cut(stream, 3 * SECOND);
            }
        }
        let worker = self.random.below(self.workers.len() as u64) as usize;
        if self.strikes(faults.kill_worker) {
            self.kill_worker(worker);
        }
        if self.strikes(faults.pause_worker) {
            let until = self.now + self.random.below(40 * SECOND);
            self.workers[worker].paused_until = self.workers[worker].paused_until.max(until);
        }
        if self.strikes(faults.partition) {
            self.part(worker);
        }
        if self.strikes(faults.drain) {
            self.drain(worker);
        }
        if self.strikes(faults.new_leader) && !self.electing {
            self.electing = true;
            self.replace_leader();
        }
        if self.strikes(faults.pause_leader)
            && let Some(leader) = self.current_leader()
        {
            let until = self.now + self.random.below(12 * SECOND);
            self.leaders[leader].paused_until = self.leaders[leader].paused_until.max(until);
        }
    }

    fn strikes(&mut self, per_ten_thousand: u64) -> bool {
        self.random.below(10_000) < per_ten_thousand
    }

    fn open_streams(&self) -> Vec<StreamId> {
        self.streams
            .iter()
            .filter(|(_, stream)| stream.lost_to_leader_from == Instant::MAX)
            .map(|(id, _)| *id)
            .collect()
    }

    fn forget_old_streams(&mut self) {
        let horizon = self.now.saturating_sub(30 * SECOND);
        self.streams.retain(|_, stream| {
            stream.lost_to_leader_from == Instant::MAX || stream.lost_to_leader_from > horizon
        });
    }

    /// A worker is cut off from every coordinator for a while.
    fn part(&mut self, worker: usize) {
        self.workers[worker].unreachable_until = self.now + self.random.below(60 * SECOND);
        let life = self.workers[worker].life;
        for stream in self.open_streams() {
            if self.streams[&stream].worker == worker && self.streams[&stream].life == life {
                self.cut(stream, MS);
            }
        }
    }

    fn drain(&mut self, worker: usize) {
        let life = self.workers[worker].life;
        let patience = self.random.below(5 * SECOND);
        let deadline = Timestamp(self.workers[worker].clock.read(self.now).0 + patience);
        self.after(0, Happening::ToWorker(worker, life, SessionEvent::DrainRequested { deadline }));
    }

    /// A new leader is elected: the old one is dead, or lives on without knowing.
    fn replace_leader(&mut self) {
        if let Some(leader) = self.current_leader().filter(|_| self.random.chance(50)) {
            self.electing = true;
            self.leaders[leader].alive = false;
            self.resign_at_times(leader);
            for stream in self.open_streams() {
                if self.streams[&stream].leader == leader {
                    self.cut(stream, 100 * MS);
                }
            }
        }
        let delay = self.random.between(0, 5 * SECOND);
        self.after(delay, Happening::Elect);
    }

    /// No more faults: whatever is down comes back.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        for worker in &mut self.workers {
            worker.unreachable_until = self.now; // pauses end in their own time: what waits keeps its order
        }
        for index in 0..self.workers.len() {
            if self.workers[index].session.is_none() {
                self.after(SECOND, Happening::WorkerStarts(index));
            }
        }
        if self.current_leader().is_none() && !self.electing {
            self.electing = true;
            self.after(SECOND, Happening::Elect);
        }
    }
}
