//! Identifiers. Each is a type of its own, so that none can stand for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A string that cannot be the id that it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct IdError {
    /// The refused text.
    pub value: String,
    /// What it was meant to name.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Names a map run: `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`. Never reused, not even after deletion.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MapRunId(Arc<str>);

impl MapRunId {
    /// The longest id.
    pub const MAX_BYTES: usize = 63;

    /// Checks `value` and takes it as an id.
    pub fn new(value: &str) -> Result<Self, IdError> {
        let bytes = value.as_bytes();
        let inside = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let valid = (1..=Self::MAX_BYTES).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(inside)
            && bytes[bytes.len() - 1] != b'-';
        if valid {
            Ok(Self(value.into()))
        } else {
            Err(IdError {
                value: value.to_owned(),
                what: "map run id",
                rule: "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
            })
        }
    }

    /// Takes `ID` or `mapRuns/ID`, as people and requests name a map run.
    pub fn parse_name(name: &str) -> Result<Self, IdError> {
        Self::new(name.strip_prefix("mapRuns/").unwrap_or(name))
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `mapRuns/ID`.
    pub fn resource_name(&self) -> String {
        format!("mapRuns/{}", self.0)
    }
}

impl TryFrom<String> for MapRunId {
    type Error = IdError;
    fn try_from(value: String) -> Result<Self, IdError> {
        Self::new(&value)
    }
}

impl From<MapRunId> for String {
    fn from(id: MapRunId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for MapRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `value` and takes it as an id.
            pub fn new(value: &str) -> Result<Self, IdError> {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if (1..=$max).contains(&value.len()) && value.chars().all(plain) {
                    Ok(Self(value.into()))
                } else {
                    let rule = concat!("1 to ", $max, " of letters, digits, '-', '_' and '.'");
                    Err(IdError { value: value.to_owned(), what: $what, rule })
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(value: String) -> Result<Self, IdError> {
                Self::new(&value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Names a worker: configured, stable over restarts. One process at a time may use it.
    WorkerId, "worker id", 128
}
text_id! {
    /// Names a handler, as workers have it configured and jobs ask for it.
    HandlerName, "handler name", 128
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id! {
    /// One process of a worker: random, drawn once at its start.
    Incarnation(u128)
}
number_id! {
    /// Grows with every leader. Messages of an older term are ignored.
    LeaderTerm(u64)
}
number_id! {
    /// Grows with every grant within a term.
    LeaseEpoch(u64)
}
number_id! {
    /// A shard of a map run, from 0 in the order of the data.
    ShardNumber(u32)
}
number_id! {
    /// A batch within its shard, from 0. Its global number is the shard's first batch plus this.
    BatchOrdinal(u32)
}
number_id! {
    /// A report within its lease, from 1: `K` of the protocol rules.
    ReportNumber(u32)
}

/// A lease's identity, `T` of the protocol rules: compared whole, never by one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// The term of the leader that granted it.
    pub term: LeaderTerm,
    /// The grant within that term.
    pub epoch: LeaseEpoch,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.epoch)
    }
}

/// A worker's session with one leader: issued for each accepted Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// The leader's term.
    pub term: LeaderTerm,
    /// Counts accepted Hellos of that term.
    pub number: u64,
}

impl ShardNumber {
    /// What stands for a shard in a lease that is a run's compensation. No data set has so many shards.
    pub const COMPENSATION: Self = Self(u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_run_ids_follow_the_documented_pattern() {
        for good in ["a", "run-01jd", "a1", "x".repeat(63).as_str()] {
            assert!(MapRunId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "a-", "A", "a_b", "ü", "x".repeat(64).as_str()] {
            assert!(MapRunId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resource_names_and_bare_ids_are_both_taken() {
        assert_eq!(MapRunId::parse_name("mapRuns/a1").unwrap(), MapRunId::parse_name("a1").unwrap());
    }
}
