//! The header as items need it: names to find, keys ready to be written.

use std::collections::HashMap;

use crate::json;

/// A header's names, prepared once per shard or batch span.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Names in header order.
    pub(crate) names: Vec<String>,
    /// Each name as it stands in an item's JSON: `"name":`.
    keys: Vec<Vec<u8>>,
    index: HashMap<String, usize>,
}

impl Columns {
    /// Prepares `names`, which are unique.
    pub(crate) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            keys: names.iter().map(|name| key(name)).collect(),
            index: names.iter().cloned().zip(0..).collect(),
        }
    }

    /// How many columns there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Which column `name` is.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Writes the item whose value in each column `value` gives, as compact JSON.
    pub(crate) fn write_item<'a>(&self, value: impl Fn(usize) -> &'a str, out: &mut Vec<u8>) {
        out.push(b'{');
        for (column, key) in self.keys.iter().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            json::write_string(value(column), out);
        }
        out.push(b'}');
    }
}

/// How many bytes the JSON of an item takes if all its values are empty.
pub(crate) fn empty_item_bytes(names: &[String]) -> u64 {
    let keys_and_values: u64 = names.iter().map(|name| json::escaped_len(name.as_bytes()) + 5).sum();
    let commas = names.len().saturating_sub(1) as u64;
    keys_and_values + commas + 2
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    json::write_string(name, &mut key);
    key.push(b':');
    key
}
