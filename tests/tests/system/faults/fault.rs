//! What can break, how it is broken, and how it is made well.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Fleet, Network, PARTITION, Random, eventually};

/// Far beyond what it takes.
const MET_WITHIN: Duration = Duration::from_secs(30);

/// What an S3 server says when it is asked too often, and when it does not know itself.
const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: 85\r\n\
                         connection: close\r\n\r\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const INTERNAL_ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/xml\r\ncontent-length: 77\r\n\
                              connection: close\r\n\r\n<Error><Code>InternalError</Code><Message>We encountered an error</Message></Error>";

/// What can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    WorkerKilled,
    WorkerStopped,
    WorkerStandsStill,
    LeaderKilled,
    LeaderStopped,
    LeaderStandsStill,
    LeaderCutOffFromEtcd,
    LeaderCutOffFromWorkers,
    LeaderCutOff,
    LeaderHearsNothing,
    LeaderIsNotHeard,
    LeaderIsSlow,
    EtcdIsSlow,
    FollowerKilled,
    AllCoordinatorsKilled,
    EtcdMemberKilled,
    EtcdMajorityKilled,
    EtcdLeaderStandsStill,
    EtcdFull,
    S3Fails,
    S3SlowsDown,
    S3Truncates,
    S3Trickles,
    ClocksStep,
}

/// What is broken, and where.
pub(crate) struct Breakage {
    pub(crate) fault: Fault,
    target: usize,
}

impl Fault {
    pub(crate) const ALL: [Fault; 24] = [
        Fault::WorkerKilled,
        Fault::WorkerStopped,
        Fault::WorkerStandsStill,
        Fault::LeaderKilled,
        Fault::LeaderStopped,
        Fault::LeaderStandsStill,
        Fault::LeaderCutOffFromEtcd,
        Fault::LeaderCutOffFromWorkers,
        Fault::LeaderCutOff,
        Fault::LeaderHearsNothing,
        Fault::LeaderIsNotHeard,
        Fault::LeaderIsSlow,
        Fault::EtcdIsSlow,
        Fault::FollowerKilled,
        Fault::AllCoordinatorsKilled,
        Fault::EtcdMemberKilled,
        Fault::EtcdMajorityKilled,
        Fault::EtcdLeaderStandsStill,
        Fault::EtcdFull,
        Fault::S3Fails,
        Fault::S3SlowsDown,
        Fault::S3Truncates,
        Fault::S3Trickles,
        Fault::ClocksStep,
    ];

    /// As the table in the documents has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::WorkerKilled => "kill -9 of a worker, which is started again",
            Fault::WorkerStopped => "SIGTERM to a worker, which is started again",
            Fault::WorkerStandsStill => "SIGSTOP of a worker for up to 6 s, its session is 5 s",
            Fault::LeaderKilled => "kill -9 of the leader",
            Fault::LeaderStopped => "SIGTERM to the leader",
            Fault::LeaderStandsStill => "SIGSTOP of the leader",
            Fault::LeaderCutOffFromEtcd => "partition between the leader and etcd",
            Fault::LeaderCutOffFromWorkers => "partition between the leader and all workers and coordinators",
            Fault::LeaderCutOff => "partition around the leader",
            Fault::LeaderHearsNothing => "what is sent to the leader is lost, not what it sends",
            Fault::LeaderIsNotHeard => "what the leader sends is lost, not what is sent to it",
            Fault::LeaderIsSlow => "100 ms more on the way to the leader and back",
            Fault::EtcdIsSlow => "100 ms more on the way from the leader to etcd and back",
            Fault::FollowerKilled => "kill -9 of a follower",
            Fault::AllCoordinatorsKilled => "kill -9 of all coordinators",
            Fault::EtcdMemberKilled => "kill -9 of a member of etcd",
            Fault::EtcdMajorityKilled => "kill -9 of two members of etcd",
            Fault::EtcdLeaderStandsStill => "SIGSTOP of etcd's leader",
            Fault::EtcdFull => "etcd is full",
            Fault::S3Fails => "S3 answers 500",
            Fault::S3SlowsDown => "S3 answers 503 SlowDown",
            Fault::S3Truncates => "S3 cuts answers off after 1,000 bytes",
            Fault::S3Trickles => "S3 sends 2,000 bytes a second",
            Fault::ClocksStep => "every process's wall clock steps by hours, back or forth",
        }
    }

    /// Parts of the fleet that it breaks. Two faults of one part do not go together.
    fn part(self) -> Part {
        match self {
            Fault::WorkerKilled | Fault::WorkerStopped | Fault::WorkerStandsStill => Part::Worker,
            Fault::EtcdMemberKilled
            | Fault::EtcdMajorityKilled
            | Fault::EtcdLeaderStandsStill
            | Fault::EtcdFull => Part::Etcd,
            Fault::S3Fails | Fault::S3SlowsDown | Fault::S3Truncates | Fault::S3Trickles => Part::S3,
            Fault::ClocksStep => Part::Clocks,
            _ => Part::Coordinator,
        }
    }

    /// Breaks it; `None` if it does not go together with what is broken already, or nobody leads.
    pub(crate) fn inject(
        self,
        fleet: &mut Fleet,
        random: &mut Random,
        broken: &[Breakage],
    ) -> Option<Breakage> {
        if broken.iter().any(|breakage| breakage.fault.part() == self.part()) {
            return None;
        }
        let mut pick = |count: usize| usize::try_from(random.below(count as u64)).unwrap();
        let target = match self {
            Fault::WorkerKilled => {
                let worker = pick(fleet.workers());
                fleet.kill_worker(worker);
                worker
            }
            Fault::WorkerStopped => {
                let worker = pick(fleet.workers());
                fleet.stop_worker(worker);
                worker
            }
            Fault::WorkerStandsStill => {
                let worker = pick(fleet.workers());
                fleet.signal_worker(worker, Signal::SIGSTOP);
                worker
            }
            Fault::FollowerKilled => {
                let leader = fleet.leader()?;
                let follower = (leader + 1 + pick(fleet.coordinators() - 1)) % fleet.coordinators();
                fleet.kill_coordinator(follower);
                follower
            }
            Fault::AllCoordinatorsKilled => {
                (0..fleet.coordinators()).for_each(|index| fleet.kill_coordinator(index));
                0
            }
            Fault::EtcdMemberKilled => {
                let member = pick(3);
                fleet.etcd.kill(member);
                member
            }
            Fault::EtcdMajorityKilled => {
                let spared = pick(3);
                (0..3).filter(|&member| member != spared).for_each(|member| fleet.etcd.kill(member));
                spared
            }
            Fault::EtcdLeaderStandsStill => {
                let leader = fleet.etcd.leader()?;
                fleet.etcd.pause(leader);
                leader
            }
            Fault::EtcdFull => {
                let filler = vec![7; 1 << 20];
                while fleet.etcd.put(0, "/filler", &filler) {}
                0
            }
            Fault::S3Fails | Fault::S3SlowsDown | Fault::S3Truncates | Fault::S3Trickles => {
                fleet.s3_network.set(match self {
                    Fault::S3Fails => Network::Answers(INTERNAL_ERROR),
                    Fault::S3SlowsDown => Network::Answers(SLOW_DOWN),
                    Fault::S3Truncates => Network::Truncates(1_000),
                    _ => Network::Trickles(2_000),
                });
                0
            }
            Fault::ClocksStep => {
                fleet.step_clocks(1);
                0
            }
            _ => {
                let leader = fleet.leader()?;
                self.inject_at_leader(fleet, leader);
                leader
            }
        };
        Some(Breakage { fault: self, target })
    }

    fn inject_at_leader(self, fleet: &mut Fleet, leader: usize) {
        let slow = Network::Delays(Duration::from_millis(100));
        match self {
            Fault::LeaderKilled => fleet.kill_coordinator(leader),
            Fault::LeaderStopped => drop(fleet.stop_coordinator(leader)),
            Fault::LeaderStandsStill => fleet.pause_coordinator(leader),
            Fault::LeaderCutOffFromEtcd => fleet.set_etcd_network(leader, PARTITION),
            Fault::LeaderCutOffFromWorkers => fleet.set_network(leader, PARTITION),
            Fault::LeaderCutOff => {
                fleet.set_network(leader, PARTITION);
                fleet.set_etcd_network(leader, PARTITION);
            }
            Fault::LeaderHearsNothing => {
                fleet.set_network(leader, Network::Holds { requests: true, answers: false });
                fleet.set_etcd_network(leader, Network::Holds { requests: false, answers: true });
            }
            Fault::LeaderIsNotHeard => {
                fleet.set_network(leader, Network::Holds { requests: false, answers: true });
                fleet.set_etcd_network(leader, Network::Holds { requests: true, answers: false });
            }
            Fault::LeaderIsSlow => fleet.set_network(leader, slow),
            Fault::EtcdIsSlow => fleet.set_etcd_network(leader, slow),
            _ => unreachable!("{self:?} is no fault of the leader's"),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Part {
    Worker,
    Coordinator,
    Etcd,
    S3,
    Clocks,
}

impl Breakage {
    /// Makes it well again.
    pub(crate) fn heal(self, fleet: &mut Fleet) {
        let target = self.target;
        match self.fault {
            Fault::WorkerKilled | Fault::WorkerStopped => fleet.spawn_worker(target),
            Fault::WorkerStandsStill => fleet.signal_worker(target, Signal::SIGCONT),
            Fault::LeaderKilled | Fault::LeaderStopped | Fault::FollowerKilled => {
                fleet.start_coordinator(target)
            }
            Fault::LeaderStandsStill => fleet.resume_coordinator(target),
            Fault::LeaderCutOffFromEtcd
            | Fault::LeaderCutOffFromWorkers
            | Fault::LeaderCutOff
            | Fault::LeaderHearsNothing
            | Fault::LeaderIsNotHeard
            | Fault::LeaderIsSlow
            | Fault::EtcdIsSlow => {
                // A fault that met nobody proves nothing; a leader writes at least once a second.
                eventually("somebody meets the fault", MET_WITHIN, || {
                    (fleet.touched(target) > 0).then_some(())
                });
                fleet.set_network(target, Network::Passes);
                fleet.set_etcd_network(target, Network::Passes);
            }
            Fault::AllCoordinatorsKilled => {
                (0..fleet.coordinators()).for_each(|index| fleet.start_coordinator(index));
            }
            Fault::EtcdMemberKilled => fleet.etcd.restart(target),
            Fault::EtcdMajorityKilled => {
                (0..3).filter(|&member| member != target).for_each(|member| fleet.etcd.restart(member));
            }
            Fault::EtcdLeaderStandsStill => fleet.etcd.resume(target),
            Fault::EtcdFull => fleet.etcd.make_space(),
            Fault::S3Fails | Fault::S3SlowsDown | Fault::S3Truncates | Fault::S3Trickles => {
                fleet.s3_network.set(Network::Passes);
            }
            Fault::ClocksStep => fleet.step_clocks(0),
        }
    }
}
