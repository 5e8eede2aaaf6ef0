//! A list of few values that lives inside a state: copied with it, hashed as far as it is filled.

use std::hash::{Hash, Hasher};

/// At most `N` values, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounded<T, const N: usize> {
    len: u8,
    values: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self { len: 0, values: [T::default(); N] }
    }
}

impl<T: Copy + Default, const N: usize> Bounded<T, N> {
    /// Adds a value at the end; false if there is no room.
    pub(crate) fn push(&mut self, value: T) -> bool {
        let at = self.len();
        self.insert(at, value)
    }

    /// Adds a value at a place; false if there is no room.
    pub(crate) fn insert(&mut self, at: usize, value: T) -> bool {
        let len = self.len();
        if len == N {
            return false;
        }
        self.values.copy_within(at..len, at + 1);
        self.values[at] = value;
        self.len += 1;
        true
    }

    pub(crate) fn remove(&mut self, at: usize) -> T {
        let (value, len) = (self.values[at], self.len());
        self.values.copy_within(at + 1..len, at);
        self.len -= 1;
        self.values[len - 1] = T::default();
        value
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut kept = Self::default();
        for value in self.iter().filter(|value| keep(value)) {
            kept.push(*value);
        }
        *self = kept;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.values[..self.len()].iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.values[..usize::from(self.len)].iter_mut()
    }
}

impl<T, const N: usize> std::ops::Index<usize> for Bounded<T, N> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.values[..usize::from(self.len)][at]
    }
}

impl<T, const N: usize> std::ops::IndexMut<usize> for Bounded<T, N> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.values[..usize::from(self.len)][at]
    }
}

impl<T: Hash, const N: usize> Hash for Bounded<T, N> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.len.hash(hasher);
        for value in &self.values[..usize::from(self.len)] {
            value.hash(hasher);
        }
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Bounded<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.values[..usize::from(self.len)] == other.values[..usize::from(other.len)]
    }
}

impl<T: Eq, const N: usize> Eq for Bounded<T, N> {}
