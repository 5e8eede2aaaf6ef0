//! Identities and other small values that many messages share.

use std::time::Duration;

use warifu_dataset::ByteRange;
use warifu_model::{Incarnation, LeaderTerm, LeaseEpoch, LeaseId, MapRunId, PartRef, RangeSet, SessionId};

use super::InvalidMessage;
use crate::wire::time;
use crate::wire::v1;

/// Digits of an incarnation as text.
const INCARNATION_DIGITS: usize = 32;

/// The value of a field that must be there.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::new(field, "is missing"))
}

/// A lease's identity.
pub(super) fn lease(id: Option<v1::LeaseId>) -> Result<LeaseId, InvalidMessage> {
    Ok(required(id, "lease_id")?.into())
}

/// A map run's ID.
pub(super) fn map_run(id: &str) -> Result<MapRunId, InvalidMessage> {
    Ok(MapRunId::new(id)?)
}

/// A set of numbers; absent is empty.
pub(super) fn set(set: Option<v1::RangeSet>) -> Result<RangeSet, InvalidMessage> {
    set.map_or_else(|| Ok(RangeSet::new()), RangeSet::try_from)
}

/// A duration that must be there.
pub(super) fn span(
    duration: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<Duration, InvalidMessage> {
    time::duration(&required(duration, field)?).ok_or_else(|| InvalidMessage::new(field, "is no duration"))
}

/// A byte range that must be there.
pub(super) fn bytes(range: Option<v1::ByteRange>, field: &'static str) -> Result<ByteRange, InvalidMessage> {
    let v1::ByteRange { start, end } = required(range, field)?;
    if start > end {
        return Err(InvalidMessage::new(field, format!("ends at {end}, before its start at {start}")));
    }
    Ok(ByteRange::new(start, end))
}

/// An incarnation as 32 hexadecimal digits.
pub(super) fn incarnation(incarnation: Incarnation) -> String {
    format!("{:032x}", incarnation.0)
}

/// The incarnation that 32 hexadecimal digits stand for.
pub(super) fn read_incarnation(text: &str) -> Result<Incarnation, InvalidMessage> {
    let hexadecimal = text.len() == INCARNATION_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| hexadecimal);
    number.map(Incarnation).ok_or_else(|| InvalidMessage::new("incarnation", "is not 32 hexadecimal digits"))
}

impl From<LeaseId> for v1::LeaseId {
    fn from(id: LeaseId) -> Self {
        Self { term: id.term.0, epoch: id.epoch.0 }
    }
}

impl From<v1::LeaseId> for LeaseId {
    fn from(id: v1::LeaseId) -> Self {
        Self { term: LeaderTerm(id.term), epoch: LeaseEpoch(id.epoch) }
    }
}

impl From<SessionId> for v1::SessionId {
    fn from(id: SessionId) -> Self {
        Self { term: id.term.0, number: id.number }
    }
}

impl From<v1::SessionId> for SessionId {
    fn from(id: v1::SessionId) -> Self {
        Self { term: LeaderTerm(id.term), number: id.number }
    }
}

impl From<ByteRange> for v1::ByteRange {
    fn from(range: ByteRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl From<&PartRef> for v1::ResultPart {
    fn from(part: &PartRef) -> Self {
        Self { name: part.name.clone(), size_bytes: part.size_bytes, item_count: part.item_count }
    }
}

impl From<v1::ResultPart> for PartRef {
    fn from(part: v1::ResultPart) -> Self {
        Self { name: part.name, size_bytes: part.size_bytes, item_count: part.item_count }
    }
}
