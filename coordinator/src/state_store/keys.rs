//! Where each record lies: the one place that spells keys.
//!
//! ```text
//! ids/ID                      every id that was ever used; stays when the run is deleted
//! roster/WORKER/INCARNATION   a process that may hold leases or slots
//! runs/ID/spec  status  plan  one record each
//! runs/ID/shards/N            one record per shard
//! runs/ID/failures/N          failed items, from the N-th of the run on
//! runs/ID/parts/N             files that reports left: the log's entry N
//! runs/ID/outputs/N           outputs of a run without a result writer, chunk N
//! ```
//! Numbers are sixteen hexadecimal digits, incarnations twice as many, so that the order of keys is theirs. No id holds a `/`.

use warifu_model::{Incarnation, MapRunId, ShardNumber, WorkerId};

const IDS: &str = "ids/";
const ROSTER: &str = "roster/";

/// Keys from `start` to just before `end`, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: String,
    /// Greater than the last key.
    pub end: String,
}

impl KeyRange {
    /// Exactly one key.
    pub fn one(key: String) -> Self {
        let end = after(&key);
        Self { start: key, end }
    }

    /// All keys below a folder, whose name ends in `/`.
    fn below(folder: &str) -> Self {
        let parent = folder.strip_suffix('/').expect("a folder's name ends in a slash");
        // `0` is the character after `/`.
        Self { start: folder.to_owned(), end: format!("{parent}0") }
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &str) -> bool {
        self.start.as_str() <= key && key < self.end.as_str()
    }
}

/// Greater than `key` and less than every greater key: no key holds a space or anything before it.
pub(super) fn after(key: &str) -> String {
    format!("{key} ")
}

pub(super) fn used_id(map_run: &MapRunId) -> String {
    format!("{IDS}{map_run}")
}

pub(super) fn used_ids() -> KeyRange {
    KeyRange::below(IDS)
}

/// The id in a key of [`used_ids`].
pub(super) fn id_of(key: &str) -> Option<MapRunId> {
    MapRunId::new(key.strip_prefix(IDS)?).ok()
}

/// One for each process: the next process of a worker may be on the roster before the last one has left it.
pub(super) fn roster_entry(worker: &WorkerId, incarnation: Incarnation) -> String {
    format!("{ROSTER}{worker}/{:032x}", incarnation.0)
}

pub(super) fn roster() -> KeyRange {
    KeyRange::below(ROSTER)
}

/// The worker in a key of [`roster`].
pub(super) fn worker_of(key: &str) -> Option<WorkerId> {
    let (worker, _) = key.strip_prefix(ROSTER)?.split_once('/')?;
    WorkerId::new(worker).ok()
}

/// Everything of a run but that its id was used.
pub(super) fn map_run(map_run: &MapRunId) -> KeyRange {
    KeyRange::below(&format!("runs/{map_run}/"))
}

pub(super) fn spec(map_run: &MapRunId) -> String {
    format!("runs/{map_run}/spec")
}

pub(super) fn status(map_run: &MapRunId) -> String {
    format!("runs/{map_run}/status")
}

pub(super) fn plan(map_run: &MapRunId) -> String {
    format!("runs/{map_run}/plan")
}

pub(super) fn shard(map_run: &MapRunId, shard: ShardNumber) -> String {
    format!("runs/{map_run}/shards/{:016x}", shard.0)
}

pub(super) fn shards(map_run: &MapRunId) -> KeyRange {
    KeyRange::below(&format!("runs/{map_run}/shards/"))
}

/// The shard in a key of [`shards`].
pub(super) fn shard_of(key: &str) -> Option<ShardNumber> {
    u32::try_from(number_of(key)?).ok().map(ShardNumber)
}

pub(super) fn failures_from(map_run: &MapRunId, first: u64) -> String {
    format!("runs/{map_run}/failures/{first:016x}")
}

pub(super) fn failures(map_run: &MapRunId) -> KeyRange {
    KeyRange::below(&format!("runs/{map_run}/failures/"))
}

pub(super) fn parts(map_run: &MapRunId) -> KeyRange {
    KeyRange::below(&format!("runs/{map_run}/parts/"))
}

pub(super) fn parts_entry(map_run: &MapRunId, number: u64) -> String {
    format!("runs/{map_run}/parts/{number:016x}")
}

pub(super) fn outputs_chunk(map_run: &MapRunId, chunk: u32) -> String {
    format!("runs/{map_run}/outputs/{:016x}", u64::from(chunk))
}

pub(super) fn outputs(map_run: &MapRunId) -> KeyRange {
    KeyRange::below(&format!("runs/{map_run}/outputs/"))
}

/// The number that a key ends in.
pub(super) fn number_of(key: &str) -> Option<u64> {
    u64::from_str_radix(key.rsplit('/').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str) -> MapRunId {
        MapRunId::new(id).unwrap()
    }

    #[test]
    fn keys_sort_as_their_numbers_do_and_read_back() {
        let numbers = [0, 1, 9, 10, 255, 256, u32::MAX];
        let keys: Vec<String> = numbers.iter().map(|n| shard(&run("a"), ShardNumber(*n))).collect();
        assert!(keys.is_sorted());
        for (key, number) in keys.iter().zip(numbers) {
            assert_eq!(shard_of(key), Some(ShardNumber(number)));
            assert!(shards(&run("a")).contains(key));
        }
        assert_eq!(keys[4], "runs/a/shards/00000000000000ff");
    }

    #[test]
    fn a_runs_range_holds_its_keys_and_no_others() {
        let range = map_run(&run("a"));
        for key in [spec(&run("a")), status(&run("a")), plan(&run("a")), failures_from(&run("a"), 7)] {
            assert!(range.contains(&key), "{key}");
        }
        for key in [spec(&run("a-b")), spec(&run("aa")), used_id(&run("a")), spec(&run("b"))] {
            assert!(!range.contains(&key), "{key}");
        }
    }

    #[test]
    fn ids_and_workers_read_back_from_their_keys() {
        assert_eq!(id_of(&used_id(&run("run-1"))), Some(run("run-1")));
        let worker = WorkerId::new("host.7_a").unwrap();
        let entry = roster_entry(&worker, Incarnation(0xab));
        assert_eq!(entry, "roster/host.7_a/000000000000000000000000000000ab");
        assert!(roster().contains(&entry));
        assert_eq!(worker_of(&entry), Some(worker));
        assert_eq!(worker_of("ids/a"), None);
    }
}
