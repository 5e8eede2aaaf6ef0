//! The scheduler's records as writes on keys.

use warifu_scheduler::record::Record;

use super::keys::KeyRange;
use super::{StoreError, codec, keys};

/// One write on keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Its value from now on.
        value: Vec<u8>,
    },
    /// Removes keys; those that are not there do not matter.
    Remove(KeyRange),
}

/// What a transaction with `records` writes, in order.
pub(super) fn writes_of(records: &[Record]) -> Result<Vec<Write>, StoreError> {
    let mut writes = Vec::with_capacity(records.len() + 1);
    for record in records {
        match record {
            Record::PutSpec(id, spec) => {
                writes.push(Write::Put { key: keys::used_id(id), value: Vec::new() });
                writes.push(put(keys::spec(id), &**spec)?);
            }
            Record::PutStatus(id, status) => writes.push(put(keys::status(id), &**status)?),
            Record::PutPlan(id, plan) => writes.push(put(keys::plan(id), &**plan)?),
            Record::PutShard(id, shard, record) => writes.push(put(keys::shard(id, *shard), &**record)?),
            Record::PutFailures { map_run, first, failures } => {
                writes.push(put(keys::failures_from(map_run, *first), failures)?);
            }
            Record::PutParts { map_run, number, parts } => {
                writes.push(put(keys::parts_entry(map_run, *number), parts)?);
            }
            Record::RemoveFailures(id) => writes.push(Write::Remove(keys::failures(id))),
            Record::RemoveParts(id) => writes.push(Write::Remove(keys::parts(id))),
            Record::PutOutputs { map_run, chunk, lines } => {
                writes.push(put(keys::outputs_chunk(map_run, *chunk), lines)?);
            }
            Record::RemoveMapRun(id) => writes.push(Write::Remove(keys::map_run(id))),
            Record::PutRoster(worker, entry) => {
                writes.push(put(keys::roster_entry(worker, entry.incarnation), entry)?);
            }
            Record::RemoveRoster(worker, incarnation) => {
                writes.push(Write::Remove(KeyRange::one(keys::roster_entry(worker, *incarnation))));
            }
        }
    }
    Ok(writes)
}

fn put<T: codec::Stored>(key: String, record: &T) -> Result<Write, StoreError> {
    let value = codec::encode(&key, record)?;
    Ok(Write::Put { key, value })
}
