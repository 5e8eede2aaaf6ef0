//! Everything that is true at a moment: the store, coordinators, worker processes, messages under way.
//!
//! Leader `n` (from 0) leads in term `n + 1`. Batches, processes and leaders are small indexes; sets of batches or
//! processes are bits.

use crate::bounded::Bounded;
use crate::message::Packet;

/// Batches of the one shard, at most.
pub(crate) const BATCHES: usize = 3;
/// Worker processes, at most; a restart is a process of its own.
pub(crate) const PROCESSES: usize = 3;
/// Coordinators that ever lead, at most.
pub(crate) const LEADERS: usize = 3;
/// Attempts of a batch, at most.
pub(crate) const ATTEMPTS: usize = 2;
/// Leases at one process.
pub(crate) const LEASES: usize = 3;
/// Messages under way, at most.
pub(crate) const PACKETS: usize = 6;

/// A set of batches or processes.
pub(crate) type Bits = u8;

/// The fencing token of a lease.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) term: u8,
    pub(crate) epoch: u8,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "T{}.{}", self.term, self.epoch)
    }
}

/// Which report: of which lease, with which number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) token: Token,
    pub(crate) number: u8,
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/{}", self.token, self.number)
    }
}

/// How a handler call ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The batch is decided.
    #[default]
    Succeeded,
    /// The batch is decided, and counts against the tolerance.
    Failed,
    /// The attempt counts; the batch is to be sent again.
    Undecided,
}

/// A batch in a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) attempt: u8,
    pub(crate) outcome: Outcome,
}

/// `(T, K, entries)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Report {
    pub(crate) mark: Mark,
    pub(crate) entries: [Option<Entry>; BATCHES],
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "report {:?} of", self.mark)?;
        self.batches().try_for_each(|(b, e)| write!(f, " b{b}:{}:{:?}", e.attempt, e.outcome))
    }
}

impl Report {
    pub(crate) fn batches(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        self.entries.iter().enumerate().filter_map(|(batch, entry)| entry.map(|entry| (batch, entry)))
    }
}

/// What the store holds of a batch: each counted attempt with the report that counted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) counted: [Mark; ATTEMPTS],
    pub(crate) attempts: u8,
    pub(crate) decided: bool,
    pub(crate) failed: bool,
}

/// The durable store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) term: u8,
    pub(crate) roster: Bits,
    pub(crate) records: [Record; BATCHES],
    pub(crate) stopping: bool,
    pub(crate) max_concurrency: u8,
    /// `M`.
    pub(crate) ceiling: u8,
}

/// Where a batch is, as a leader believes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    #[default]
    Pending,
    Orphan,
    Leased {
        token: Token,
        holder: u8,
        attempt: u8,
        committing: bool,
    },
    Decided,
}

/// What a leader knows of a process's place in the roster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Roster {
    #[default]
    Adding,
    Present,
    Removing,
}

/// A process as a leader believes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    /// It has a session.
    pub(crate) known: bool,
    pub(crate) hello: u8,
    pub(crate) roster: Roster,
    pub(crate) held: u8,
    /// Of the roster, and not heard since the take-over.
    pub(crate) waited_for: bool,
}

/// The adoption window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    #[default]
    Shut,
    Open,
    /// Those not heard are being removed from the roster.
    Closing,
}

/// A report that waits for a transaction, or is in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct StagedReport {
    pub(crate) report: Report,
    pub(crate) holder: u8,
}

/// What waits for a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Staged {
    pub(crate) reports: Bounded<StagedReport, 2>,
    pub(crate) adds: Bits,
    pub(crate) removes: Bits,
    pub(crate) stop: bool,
    pub(crate) max_concurrency: Option<u8>,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Landed {
    #[default]
    UnderWay,
    Written,
    Deposed,
}

/// One guarded transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    pub(crate) records: [Record; BATCHES],
    pub(crate) stopping: bool,
    pub(crate) max_concurrency: u8,
    pub(crate) ceiling: u8,
    pub(crate) adds: Bits,
    pub(crate) removes: Bits,
    pub(crate) reports: Bounded<StagedReport, 2>,
    pub(crate) landed: Landed,
}

/// A coordinator that leads, or believes so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lead {
    /// The last leader has certainly stopped deciding.
    pub(crate) waited: bool,
    pub(crate) window: Window,
    pub(crate) unknown: u8,
    pub(crate) members: [Member; PROCESSES],
    pub(crate) places: [Place; BATCHES],
    pub(crate) records: [Record; BATCHES],
    pub(crate) roster: Bits,
    pub(crate) stopping: bool,
    pub(crate) max_concurrency: u8,
    pub(crate) ceiling: u8,
    pub(crate) staged: Staged,
    pub(crate) commit: Option<Commit>,
    /// Leases granted.
    pub(crate) grants: u8,
}

/// A coordinator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant)] // states are copied whole; a pointer would cost an allocation each
pub(crate) enum Leader {
    #[default]
    Unborn,
    /// It read the store before its first guarded write: only with that rule left out.
    Read(Store),
    Leading(Lead),
    Down,
}

/// A worker process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    #[default]
    NotStarted,
    Alive,
    Gone,
}

/// A process's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Connection {
    #[default]
    None,
    /// Hello is sent.
    Greeting,
    /// Welcome has come.
    Live,
}

/// A batch of a lease at its holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    #[default]
    Absent,
    NotBegun(u8),
    Running(u8),
    Done(Entry),
    Reported(Entry, u8),
}

impl Held {
    pub(crate) fn attempt(self) -> u8 {
        match self {
            Held::Absent => 0,
            Held::NotBegun(attempt) | Held::Running(attempt) => attempt,
            Held::Done(entry) | Held::Reported(entry, _) => entry.attempt,
        }
    }
}

/// A lease at its holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) token: Token,
    /// Reports made.
    pub(crate) reports: u8,
    pub(crate) batches: [Held; BATCHES],
}

/// One process of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) life: Life,
    /// The number of its last Hello; names its current stream, too.
    pub(crate) hello: u8,
    pub(crate) highest_term: u8,
    pub(crate) connection: Connection,
    pub(crate) leader: u8,
    /// What it says on its stream is lost from now on.
    pub(crate) mute: bool,
    /// What is said to it on its stream is lost from now on.
    pub(crate) deaf: bool,
    /// The term of the leader whose answers make its session valid; 0 without one.
    pub(crate) valid_by: u8,
    /// The Hello that opened the session whose answers make it valid.
    pub(crate) valid_hello: u8,
    pub(crate) held: u8,
    pub(crate) leases: Bounded<Lease, LEASES>,
}

impl Process {
    pub(crate) fn count(&self, of: impl Fn(Held) -> bool) -> u8 {
        self.leases.iter().flat_map(|lease| lease.batches).filter(|held| of(*held)).count() as u8
    }

    pub(crate) fn running(&self) -> u8 {
        self.count(|held| matches!(held, Held::Running(_)))
    }
}

/// A write whose sender does not wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LateWrite {
    pub(crate) term: u8,
    pub(crate) commit: Commit,
}

/// Everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) store: Store,
    pub(crate) leaders: [Leader; LEADERS],
    pub(crate) processes: [Process; PROCESSES],
    pub(crate) packets: Bounded<Packet, PACKETS>,
    pub(crate) late: Option<LateWrite>,
    /// Requests that users have made.
    pub(crate) stops: u8,
    pub(crate) updates: u8,
}

impl State {
    pub(crate) fn lead(&self, leader: usize) -> Option<&Lead> {
        match &self.leaders[leader] {
            Leader::Leading(lead) => Some(lead),
            Leader::Unborn | Leader::Read(_) | Leader::Down => None,
        }
    }

    /// The same with processes 0 and 1 named the other way round.
    pub(crate) fn swapped(&self) -> Self {
        let mut state = *self;
        state.processes.swap(0, 1);
        state.store.roster = swap_bits(state.store.roster);
        for leader in &mut state.leaders {
            if let Leader::Leading(lead) = leader {
                swap_lead(lead);
            }
        }
        if let Some(late) = &mut state.late {
            swap_commit(&mut late.commit);
        }
        state.packets.clear();
        for process in [1, 0, 2] {
            for packet in self.packets.iter().filter(|packet| packet.process == process) {
                state.packets.push(Packet { process: swap(process), ..*packet });
            }
        }
        state
    }
}

fn swap(process: u8) -> u8 {
    [1, 0, 2][usize::from(process)]
}

fn swap_bits(bits: Bits) -> Bits {
    (bits & !3) | (bits & 1) << 1 | (bits & 2) >> 1
}

fn swap_lead(lead: &mut Lead) {
    lead.members.swap(0, 1);
    lead.roster = swap_bits(lead.roster);
    lead.staged.adds = swap_bits(lead.staged.adds);
    lead.staged.removes = swap_bits(lead.staged.removes);
    lead.staged.reports.iter_mut().for_each(|staged| staged.holder = swap(staged.holder));
    for place in &mut lead.places {
        if let Place::Leased { holder, .. } = place {
            *holder = swap(*holder);
        }
    }
    if let Some(commit) = &mut lead.commit {
        swap_commit(commit);
    }
}

fn swap_commit(commit: &mut Commit) {
    commit.adds = swap_bits(commit.adds);
    commit.removes = swap_bits(commit.removes);
    commit.reports.iter_mut().for_each(|staged| staged.holder = swap(staged.holder));
}
