//! The items of a batch as a list that is made only for who looks into it.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::item::{Item, Records};

/// The items of one batch, in order; at least one.
///
/// A slice of [`Item`]s, which is made when it is first looked into: to count them, or to know that all can be read, takes none.
#[derive(Debug, Clone)]
pub struct Items {
    records: Arc<Records>,
    list: OnceLock<Box<[Item]>>,
}

impl Items {
    pub(crate) fn new(records: impl Into<Records>) -> Self {
        Self { records: Arc::new(records.into()), list: OnceLock::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none: never, of a batch that was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no item has a [`problem`](Item::problem).
    pub fn are_readable(&self) -> bool {
        self.records.are_readable()
    }
}

impl Deref for Items {
    type Target = [Item];

    fn deref(&self) -> &[Item] {
        let item = |index| Item::new(Arc::clone(&self.records), index);
        self.list.get_or_init(|| (0..self.records.len()).map(item).collect())
    }
}

impl<'a> IntoIterator for &'a Items {
    type Item = &'a Item;
    type IntoIter = std::slice::Iter<'a, Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Eq for Items {}
