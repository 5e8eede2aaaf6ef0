//! How the checkpoints of a composed shard are kept: each as what it differs from a straight line through the two before it.
//!
//! Rows are much of the same length, so the differences are small numbers, which formats such as postcard write in a
//! byte or two instead of thirteen for the checkpoint.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

use crate::positions::Checkpoint;

/// Batch, item, offset and line feeds of a checkpoint, or of a difference.
type Numbers<T> = [T; 4];

/// The line on which the next checkpoint is expected. Arithmetic wraps: any numbers come back as they were.
#[derive(Default)]
struct Line {
    last: Numbers<u64>,
    step: Numbers<u64>,
}

impl Line {
    fn expected(&self) -> Numbers<u64> {
        std::array::from_fn(|at| self.last[at].wrapping_add(self.step[at]))
    }

    fn go_on_to(&mut self, next: Numbers<u64>) {
        self.step = std::array::from_fn(|at| next[at].wrapping_sub(self.last[at]));
        self.last = next;
    }

    fn pack(&mut self, checkpoint: &Checkpoint) -> Numbers<i64> {
        let Checkpoint { batch, item, offset, newlines } = *checkpoint;
        let (expected, next) = (self.expected(), [batch.into(), item.into(), offset, newlines]);
        self.go_on_to(next);
        std::array::from_fn(|at| next[at].wrapping_sub(expected[at]).cast_signed())
    }

    fn unpack(&mut self, difference: Numbers<i64>) -> Result<Checkpoint, std::num::TryFromIntError> {
        let expected = self.expected();
        let next: Numbers<u64> =
            std::array::from_fn(|at| expected[at].wrapping_add(difference[at].cast_unsigned()));
        self.go_on_to(next);
        let [batch, item, offset, newlines] = next;
        Ok(Checkpoint { batch: batch.try_into()?, item: item.try_into()?, offset, newlines })
    }
}

pub(crate) fn serialize<S: Serializer>(checkpoints: &[Checkpoint], serializer: S) -> Result<S::Ok, S::Error> {
    let mut line = Line::default();
    serializer.collect_seq(checkpoints.iter().map(|checkpoint| line.pack(checkpoint)))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Checkpoint>, D::Error> {
    let mut line = Line::default();
    let differences = Vec::<Numbers<i64>>::deserialize(deserializer)?;
    differences.into_iter().map(|difference| line.unpack(difference).map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(differences: &[Numbers<i64>]) -> Option<Vec<Checkpoint>> {
        let mut line = Line::default();
        differences.iter().map(|difference| line.unpack(*difference).ok()).collect()
    }

    #[test]
    fn any_checkpoints_come_back_as_they_were() {
        let even = |n: u32| Checkpoint {
            batch: n * 300,
            item: n * 7_500,
            offset: (1 << 40) + u64::from(n) * 131_072,
            newlines: u64::from(n) * 7_500,
        };
        let mut checkpoints: Vec<_> = (0..64).map(even).collect();
        let mut line = Line::default();
        let packed: Vec<_> = checkpoints.iter().map(|checkpoint| line.pack(checkpoint)).collect();
        assert_eq!(packed[2..], [[0; 4]; 62]);
        assert_eq!(unpacked(&packed).unwrap(), checkpoints);

        let (zero, most) = (even(0), u64::MAX);
        checkpoints = vec![Checkpoint { batch: u32::MAX, item: 0, offset: most, newlines: 0 }, zero];
        checkpoints.push(Checkpoint { batch: 0, item: u32::MAX, offset: 0, newlines: most });
        let mut line = Line::default();
        let packed: Vec<_> = checkpoints.iter().map(|checkpoint| line.pack(checkpoint)).collect();
        assert_eq!(unpacked(&packed).unwrap(), checkpoints);
    }

    #[test]
    fn numbers_that_no_checkpoint_has_are_an_error() {
        assert_eq!(unpacked(&[[i64::from(u32::MAX) + 1, 0, 0, 0]]), None);
        assert_eq!(unpacked(&[[0, -1, 0, 0]]), None);
    }
}
