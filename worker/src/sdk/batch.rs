//! What a function gets.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use warifu_common::model::CallFailure;

use super::ITEM_INVALID;
use super::fields::read_item;
use crate::handler::{BatchCall, FailedItem};

/// The items of one call that are a `T`, in their order. At least one.
#[derive(Debug, Clone)]
pub struct Batch<T> {
    items: Vec<Item<T>>,
}

/// One item; what it holds is reached as if the item were it.
#[derive(Debug, Clone)]
pub struct Item<T> {
    value: T,
    index: u64,
    idempotency_key: String,
}

impl<T> Batch<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none; a function is not called then.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items.
    pub fn iter(&self) -> std::slice::Iter<'_, Item<T>> {
        self.items.iter()
    }

    /// The item at `position`, from 0.
    pub fn get(&self, position: usize) -> Option<&Item<T>> {
        self.items.get(position)
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = Item<T>;
    type IntoIter = std::vec::IntoIter<Item<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a Item<T>;
    type IntoIter = std::slice::Iter<'a, Item<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Item<T> {
    /// Its number over the whole data set, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Stands for all attempts at it until one is answered: `RUN/INDEX/ROUND`.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// What it holds.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Where the items of a batch are among those that were sent, and what became of the others.
pub(super) struct SentItems {
    /// The position of each item of the batch, ascending.
    pub(super) positions: Vec<usize>,
    /// The index of each item of the batch, ascending.
    pub(super) indexes: Vec<u64>,
    /// Items that are no `T`.
    pub(super) invalid: Vec<FailedItem>,
}

/// Sorts the items of a call by whether they are a `T`.
pub(super) fn sort_items<T: DeserializeOwned>(call: &BatchCall) -> (Batch<T>, SentItems) {
    let mut batch = Batch { items: Vec::with_capacity(call.item_count()) };
    let mut sent = SentItems { positions: Vec::new(), indexes: Vec::new(), invalid: Vec::new() };
    for (position, item) in call.items().enumerate() {
        let index = item.index();
        match read_item(item) {
            Ok(value) => {
                let idempotency_key = call.item_idempotency_key(position);
                batch.items.push(Item { value, index, idempotency_key });
                sent.positions.push(position);
                sent.indexes.push(index);
            }
            Err(error) => {
                let failure = CallFailure::business(ITEM_INVALID, error.to_string());
                sent.invalid.push(FailedItem { position, failure });
            }
        }
    }
    (batch, sent)
}
