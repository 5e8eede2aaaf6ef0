//! 128-bit fingerprints: a state is remembered by 16 bytes, not by itself.
//!
//! With 10^8 states the chance that any two share one is about 10^-23, so a check is exhaustive for all that matters.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The fingerprint of a value.
pub(crate) fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = Folding::default();
    value.hash(&mut hasher);
    hasher.flush();
    u128::from(hasher.high) << 64 | u128::from(hasher.low)
}

/// A set of fingerprints: they are random already, so the set does not hash them again.
pub(crate) type FingerprintSet = std::collections::HashSet<u128, BuildHasherDefault<AsIs>>;

/// Two independent lanes of folded multiplication over words of eight bytes.
#[derive(Debug)]
struct Folding {
    high: u64,
    low: u64,
    word: u64,
    bytes: u32,
}

impl Default for Folding {
    fn default() -> Self {
        Self { high: 0x243f_6a88_85a3_08d3, low: 0x1319_8a2e_0370_7344, word: 0, bytes: 0 }
    }
}

impl Folding {
    fn flush(&mut self) {
        let word = self.word ^ u64::from(self.bytes) << 56;
        self.high = fold(self.high ^ word, 0xa409_3822_299f_31d1);
        self.low = fold(self.low.rotate_left(23) ^ word, 0x9e37_79b9_7f4a_7c15);
        (self.word, self.bytes) = (0, 0);
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(32)
}

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.low
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (8 * self.bytes);
        self.bytes += 1;
        if self.bytes == 7 {
            self.flush();
        }
    }

    /// Discriminants of enums and lengths: all are small here.
    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_u8(number as u8);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u8(number as u8);
    }
}

/// Takes the low half of a fingerprint for its hash.
#[derive(Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_values_have_different_fingerprints() {
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..64u8 {
            for b in 0..64u8 {
                for tail in [[0u8, 0], [0, 1], [1, 0]] {
                    assert!(seen.insert(fingerprint(&(a, b, tail, a, b, a, b, a, b))));
                }
            }
        }
    }
}
