//! Records as bytes: a version byte, then postcard.
//!
//! A version is never changed, only followed by the next one: what an older process wrote stays readable, and what a newer
//! one wrote is refused with the version's number. The golden bytes in the tests fail when a stored type changes its form
//! unnoticed.

use std::collections::HashMap;
use std::hash::Hash;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use warifu_model::protocol::SourcePin;
use warifu_model::spec::{ItemReader, MapRunSpec};
use warifu_model::{
    BatchSize, CallFailure, CompensationStatus, ItemFailure, SourcePlace, WallTime, WorkerId,
};
use warifu_scheduler::ControllerRecord;
use warifu_scheduler::record::{
    PartsRecord, PlanRecord, RosterRecord, ShardRecord, SpecRecord, StatusRecord,
};

use super::StoreError;

/// A record that the store keeps.
pub(super) trait Stored: Sized {
    /// What it is called in errors.
    const KIND: &'static str;
    /// The newest version.
    const VERSION: u8;

    /// The version that is written: the oldest one that can say what the record says, so that older processes of a fleet
    /// that is being upgraded can read whatever they could have written.
    fn version(&self) -> u8 {
        Self::VERSION
    }

    fn body(&self) -> Result<Vec<u8>, BoxError>;
    /// Reads a body of a version from 1 to the newest.
    fn from_body(version: u8, body: &[u8]) -> Result<Self, BoxError>;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a record.
pub(super) fn encode<T: Stored>(key: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    let body = record.body().map_err(|source| undecodable::<T>(key, source))?;
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(record.version());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The record that lies under `key`.
pub(super) fn decode<T: Stored>(key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        None => Err(undecodable::<T>(key, "it is empty".into())),
        Some((version, body)) if (1..=T::VERSION).contains(version) => {
            T::from_body(*version, body).map_err(|source| undecodable::<T>(key, source))
        }
        Some((version, _)) => {
            let reason = match T::VERSION {
                1 => format!("it has version {version}, this process knows 1 only"),
                newest => format!("it has version {version}, this process knows 1 to {newest}"),
            };
            Err(undecodable::<T>(key, reason.into()))
        }
    }
}

fn undecodable<T: Stored>(key: &str, source: BoxError) -> StoreError {
    StoreError::Corrupt { key: key.to_owned(), kind: T::KIND, source }
}

fn to_postcard(value: &impl Serialize) -> Result<Vec<u8>, BoxError> {
    Ok(postcard::to_stdvec(value)?)
}

/// Like postcard's own, but bytes that are left over are an error.
fn from_postcard<T: DeserializeOwned>(body: &[u8]) -> Result<T, BoxError> {
    match postcard::take_from_bytes(body)? {
        (value, []) => Ok(value),
        (_, rest) => Err(format!("{} bytes follow its end", rest.len()).into()),
    }
}

macro_rules! stored_as_postcard {
    ($($record:ty, $kind:literal, $version:literal;)*) => {$(
        impl Stored for $record {
            const KIND: &'static str = $kind;
            const VERSION: u8 = $version;

            fn body(&self) -> Result<Vec<u8>, BoxError> {
                to_postcard(self)
            }

            fn from_body(_version: u8, body: &[u8]) -> Result<Self, BoxError> {
                from_postcard(body)
            }
        }
    )*};
}

stored_as_postcard! {
    ShardRecord, "shard", 1;
    RosterRecord, "roster", 1;
    PartsRecord, "parts", 1;
    Vec<String>, "outputs", 1;
}

/// Version 2 has a compensation behind what version 1 is; version 3 has one or none, and a rate; version 4 has both or not, and a
/// limit that was chosen.
impl Stored for StatusRecord {
    const KIND: &'static str = "status";
    const VERSION: u8 = 4;

    fn version(&self) -> u8 {
        match self {
            Self { adapted: Some(_), .. } => 4,
            Self { max_items_per_second: Some(_), .. } => 3,
            Self { compensation: Some(_), .. } => 2,
            Self { .. } => 1,
        }
    }

    fn body(&self) -> Result<Vec<u8>, BoxError> {
        match (&self.compensation, self.max_items_per_second, self.adapted) {
            (compensation, rate, Some(adapted)) => to_postcard(&(self, compensation, rate, adapted)),
            (compensation, Some(rate), None) => to_postcard(&(self, compensation, rate)),
            (Some(compensation), None, None) => to_postcard(&(self, compensation)),
            (None, None, None) => to_postcard(self),
        }
    }

    fn from_body(version: u8, body: &[u8]) -> Result<Self, BoxError> {
        match version {
            1 => from_postcard(body),
            2 => {
                let (status, compensation): (Self, CompensationStatus) = from_postcard(body)?;
                Ok(Self { compensation: Some(compensation), ..status })
            }
            3 => {
                let (status, compensation, rate): (Self, _, f64) = from_postcard(body)?;
                Ok(Self { compensation, max_items_per_second: Some(rate), ..status })
            }
            _ => {
                let (status, compensation, rate, adapted): (Self, _, _, ControllerRecord) =
                    from_postcard(body)?;
                Ok(Self { compensation, max_items_per_second: rate, adapted: Some(adapted), ..status })
            }
        }
    }
}

/// Version 2 has the size of batches behind what version 1 is; version 3 has a staged object, and one or none.
impl Stored for PlanRecord {
    const KIND: &'static str = "plan";
    const VERSION: u8 = 3;

    fn version(&self) -> u8 {
        match self {
            Self { staged: Some(_), .. } => 3,
            Self { batch_size: Some(_), .. } => 2,
            Self { .. } => 1,
        }
    }

    fn body(&self) -> Result<Vec<u8>, BoxError> {
        match (&self.staged, &self.batch_size) {
            (Some(staged), size) => to_postcard(&(self, size, staged)),
            (None, Some(size)) => to_postcard(&(self, size)),
            (None, None) => to_postcard(self),
        }
    }

    fn from_body(version: u8, body: &[u8]) -> Result<Self, BoxError> {
        match version {
            1 => from_postcard(body),
            2 => {
                let (plan, size): (Self, BatchSize) = from_postcard(body)?;
                Ok(Self { batch_size: Some(size), ..plan })
            }
            _ => {
                let (plan, batch_size, staged): (Self, _, SourcePin) = from_postcard(body)?;
                Ok(Self { batch_size, staged: Some(staged), ..plan })
            }
        }
    }
}

/// Thousands of items fail alike: each reason, and each worker, stands once.
#[derive(Serialize, Deserialize)]
struct StoredFailures {
    reasons: Vec<CallFailure>,
    workers: Vec<WorkerId>,
    items: Vec<StoredFailure>,
}

#[derive(Serialize, Deserialize)]
struct StoredFailure {
    index: u64,
    batch_number: u64,
    place: SourcePlace,
    reason: usize,
    timed_out: bool,
    attempts: u32,
    worker: usize,
    fail_time: WallTime,
}

impl Stored for Vec<ItemFailure> {
    const KIND: &'static str = "failures";
    const VERSION: u8 = 1;

    fn body(&self) -> Result<Vec<u8>, BoxError> {
        let (mut reasons, mut workers) = (Distinct::default(), Distinct::default());
        let item = |failure: &'_ ItemFailure, reason, worker| StoredFailure {
            index: failure.index,
            batch_number: failure.batch_number,
            place: failure.place.clone(),
            reason,
            timed_out: failure.timed_out,
            attempts: failure.attempts,
            worker,
            fail_time: failure.fail_time,
        };
        let items = self
            .iter()
            .map(|failure| {
                item(failure, reasons.place_of(&failure.failure), workers.place_of(&failure.worker))
            })
            .collect();
        to_postcard(&StoredFailures { reasons: reasons.values, workers: workers.values, items })
    }

    fn from_body(_version: u8, body: &[u8]) -> Result<Self, BoxError> {
        let stored: StoredFailures = from_postcard(body)?;
        let absent = |what: &str, place: usize| format!("{what} {place} is not there");
        let item = |item: StoredFailure| {
            let reason = stored.reasons.get(item.reason).ok_or_else(|| absent("reason", item.reason))?;
            let worker = stored.workers.get(item.worker).ok_or_else(|| absent("worker", item.worker))?;
            Ok(ItemFailure {
                index: item.index,
                batch_number: item.batch_number,
                place: item.place,
                failure: reason.clone(),
                timed_out: item.timed_out,
                attempts: item.attempts,
                worker: worker.clone(),
                fail_time: item.fail_time,
            })
        };
        stored.items.into_iter().map(item).collect()
    }
}

/// Values in the order of their first appearance.
struct Distinct<T> {
    values: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { values: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    fn place_of(&mut self, value: &T) -> usize {
        if let Some(place) = self.places.get(value) {
            return *place;
        }
        self.places.insert(value.clone(), self.values.len());
        self.values.push(value.clone());
        self.values.len() - 1
    }
}

/// A specification holds JSON values, which do not say their type to postcard: it is kept as JSON text within the record.
#[derive(Serialize, Deserialize)]
struct StoredSpec {
    uid: u128,
    spec_json: String,
    submitted: Vec<u8>,
    source: SourcePin,
    shard_bytes: u64,
    cut_version: u32,
    create_time: WallTime,
    sequence: u64,
}

/// Version 2 may have a compensation, version 3 a rate, version 4 a concurrency that is chosen, version 5 items that a
/// handler gives. All are of the same form: an older process would read them, and drop what
/// it does not know.
impl Stored for SpecRecord {
    const KIND: &'static str = "spec";
    const VERSION: u8 = 5;

    fn version(&self) -> u8 {
        match &self.spec {
            MapRunSpec { item_reader: ItemReader { handler: Some(_), .. }, .. } => 5,
            MapRunSpec { adaptive_concurrency: Some(_), .. } => 4,
            MapRunSpec { max_items_per_second: Some(_), .. } => 3,
            MapRunSpec { compensation: Some(_), .. } => 2,
            MapRunSpec { .. } => 1,
        }
    }

    fn body(&self) -> Result<Vec<u8>, BoxError> {
        to_postcard(&StoredSpec {
            uid: self.uid,
            spec_json: serde_json::to_string(&self.spec)?,
            submitted: self.submitted.clone(),
            source: self.source.clone(),
            shard_bytes: self.shard_bytes,
            cut_version: self.cut_version,
            create_time: self.create_time,
            sequence: self.sequence,
        })
    }

    fn from_body(_version: u8, body: &[u8]) -> Result<Self, BoxError> {
        let stored: StoredSpec = from_postcard(body)?;
        Ok(Self {
            uid: stored.uid,
            spec: serde_json::from_str(&stored.spec_json)?,
            submitted: stored.submitted,
            source: stored.source,
            shard_bytes: stored.shard_bytes,
            cut_version: stored.cut_version,
            create_time: stored.create_time,
            sequence: stored.sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    /// The bytes that each kind of record has had since its version was first written, a line each.
    const GOLDEN: &str = include_str!("golden.txt");

    /// One line of [`GOLDEN`], after reading the bytes back.
    fn line<T: Stored + PartialEq + std::fmt::Debug>(record: &T) -> String {
        let bytes = encode("k", record).unwrap();
        assert_eq!(decode::<T>("k", &bytes).unwrap(), *record);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {hex}\n", T::KIND)
    }

    /// A change here is a change of what older processes have written: it needs a new version that reads the old one.
    #[test]
    fn stored_forms_are_what_they_have_always_been() {
        let forms = [
            line(&samples::roster()),
            line(&samples::spec("a")),
            line(&samples::compensated_spec()),
            line(&samples::paced_spec()),
            line(&samples::adaptive_spec()),
            line(&samples::produced_spec()),
            line(&samples::status()),
            line(&samples::compensated_status()),
            line(&samples::paced_status()),
            line(&samples::adapted_status()),
            line(&samples::plan()),
            line(&samples::sized_plan()),
            line(&samples::staged_plan()),
            line(&samples::shard(3)),
            line(&samples::failures(0..2)),
            line(&samples::parts(1)),
            line(&vec!["{}".to_owned(), "7".to_owned()]),
        ]
        .concat();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/state_store/golden.txt");
            std::fs::write(file, &forms).unwrap();
        } else {
            assert_eq!(forms, GOLDEN);
        }
    }

    #[test]
    fn errors_name_key_kind_and_reason() {
        let bytes = encode("k", &samples::roster()).unwrap();
        let longer = [&bytes[..], &[0]].concat();
        let newer = [&[2], &bytes[1..]].concat();
        for (bytes, reason) in [
            (&[][..], "it is empty"),
            (&newer, "it has version 2, this process knows 1 only"),
            (&longer, "1 bytes follow its end"),
            (&bytes[..1], "Hit the end of buffer"),
        ] {
            let error = decode::<RosterRecord>("roster/w", bytes).unwrap_err();
            assert_eq!(error.to_string(), "the roster record roster/w cannot be read");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(reason), "{source}");
        }
    }

    #[test]
    fn ten_thousand_failures_for_one_reason_fit_into_a_transaction() {
        let failures = samples::failures(0..10_000);
        let bytes = encode("k", &failures).unwrap();
        assert!(bytes.len() < 512 << 10, "{}", bytes.len());
        assert_eq!(decode::<Vec<ItemFailure>>("k", &bytes).unwrap(), failures);
    }

    #[test]
    fn numbers_of_a_specification_come_back_exactly() {
        let mut record = samples::spec("a");
        let numbers = [0.1, 1.0 / 3.0, 5e-324, 1.7976931348623157e308, 123456.789e-7, 0.30000000000000004];
        record.spec.input.insert("numbers".into(), numbers.to_vec().into());
        let bytes = encode("k", &record).unwrap();
        assert_eq!(decode::<SpecRecord>("k", &bytes).unwrap(), record);
    }
}
