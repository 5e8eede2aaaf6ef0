//! Sets of numbers on the wire: gap and length of each range, two packed lists.

use warifu_model::RangeSet;

use super::InvalidMessage;
use crate::wire::v1;

/// Most ranges of one set. A batch of 1 MiB holds fewer items than twice this, and a span's batches are mostly one range.
pub const MAX_RANGES: usize = 131_072;

impl From<&RangeSet> for v1::RangeSet {
    fn from(set: &RangeSet) -> Self {
        let mut wire = v1::RangeSet::default();
        let mut end = 0;
        for range in set.ranges() {
            wire.gaps.push(range.start - end);
            wire.lengths.push(range.end - range.start);
            end = range.end;
        }
        wire
    }
}

impl TryFrom<v1::RangeSet> for RangeSet {
    type Error = InvalidMessage;

    fn try_from(wire: v1::RangeSet) -> Result<Self, InvalidMessage> {
        let invalid = |reason: &str| InvalidMessage::new("range set", reason);
        if wire.gaps.len() != wire.lengths.len() {
            return Err(invalid("has more gaps than lengths, or the other way round"));
        }
        if wire.gaps.len() > MAX_RANGES {
            return Err(invalid("has too many ranges"));
        }
        let mut set = RangeSet::new();
        let mut end = 0_u32;
        for (i, (gap, length)) in wire.gaps.into_iter().zip(wire.lengths).enumerate() {
            if length == 0 || (gap == 0 && i > 0) {
                return Err(invalid("has an empty or an adjacent range"));
            }
            let start = end.checked_add(gap).ok_or_else(|| invalid("goes beyond 32 bits"))?;
            end = start.checked_add(length).ok_or_else(|| invalid("goes beyond 32 bits"))?;
            set.insert_range(start..end);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_go_there_and_back(ranges in proptest::collection::vec((0..u32::MAX, 1..1000_u32), 0..50)) {
            let ranges = ranges.into_iter().map(|(start, len)| start..start.saturating_add(len));
            let set: RangeSet = ranges.collect();
            prop_assert_eq!(RangeSet::try_from(v1::RangeSet::from(&set)).unwrap(), set);
        }

        #[test]
        fn any_lists_give_a_set_or_an_error(
            gaps in proptest::collection::vec(any::<u32>(), 0..20),
            lengths in proptest::collection::vec(any::<u32>(), 0..20),
        ) {
            let wire = v1::RangeSet { gaps, lengths };
            if let Ok(set) = RangeSet::try_from(wire.clone()) {
                prop_assert_eq!(v1::RangeSet::from(&set), wire);
            }
        }
    }

    #[test]
    fn sets_of_too_many_ranges_are_refused() {
        let wire = v1::RangeSet { gaps: vec![1; MAX_RANGES + 1], lengths: vec![1; MAX_RANGES + 1] };
        assert!(RangeSet::try_from(wire).is_err());
    }
}
