//! Configurations: how much of the world is explored, in one table.

/// The bounds of one configuration. What is not bounded here happens as often as it can.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Its name.
    pub name: &'static str,
    /// What it is there for.
    pub about: &'static str,
    /// Batches of the one shard.
    pub batches: u8,
    /// The last of them is composed by the second leader only, so nobody can hold it when the window opens.
    pub late_batch: bool,
    /// Batches of a lease at most.
    pub span: u8,
    /// Attempts of a batch; with one, no call leaves anything undecided.
    pub attempts: u8,
    /// Worker processes.
    pub processes: u8,
    /// The last process is a restart of process 0, which may crash.
    pub restart: bool,
    /// Slots of a worker.
    pub slots: u8,
    /// `maxConcurrency`.
    pub max_concurrency: u8,
    /// What a user changes `maxConcurrency` to, once.
    pub update_to: Option<u8>,
    /// Coordinators that lead, one after the other.
    pub leaders: u8,
    /// Leases that each of them grants.
    pub grants: u8,
    /// Hellos of each process.
    pub hellos: [u8; 3],
    /// Messages under way at a time.
    pub packets: u8,
    /// Revocations may happen.
    pub revokes: bool,
    /// Slots may come without a lease, and leases without slots.
    pub loose_slots: bool,
    /// A user may stop the run.
    pub stops: bool,
    /// Failed batches that the run tolerates; handler calls may fail then.
    pub tolerated: Option<u8>,
    /// Outcomes of transactions may stay unknown, and writes may land late.
    pub unknown_commits: bool,
    /// Streams may lose what is under way in one direction.
    pub losses: bool,
    /// Sessions may lapse, and processes be taken for gone.
    pub lapses: bool,
    /// Processes may say Goodbye.
    pub goodbyes: bool,
}

impl Limits {
    /// The smallest world: all others are written as what they have more.
    pub const SMALLEST: Self = Self {
        name: "smallest",
        about: "",
        batches: 2,
        late_batch: false,
        span: 2,
        attempts: 1,
        processes: 2,
        restart: false,
        slots: 1,
        max_concurrency: 1,
        update_to: None,
        leaders: 1,
        grants: 2,
        hellos: [1; 3],
        packets: 1,
        revokes: false,
        loose_slots: false,
        stops: false,
        tolerated: None,
        unknown_commits: false,
        losses: false,
        lapses: false,
        goodbyes: false,
    };

    /// True for a batch that is not composed yet while this leader leads.
    pub(crate) fn is_to_come(&self, batch: usize, leader: usize) -> bool {
        self.late_batch && leader == 0 && batch + 1 == usize::from(self.batches)
    }

    /// The dead process whose lock a process holds.
    pub(crate) fn predecessor(&self, process: usize) -> Option<usize> {
        (self.restart && process + 1 == usize::from(self.processes)).then_some(0)
    }
}
