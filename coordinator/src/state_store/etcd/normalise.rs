//! Ordered writes as etcd takes them: in one transaction no key may be put twice, or put and removed.

use std::collections::BTreeMap;

use super::super::{KeyRange, Write, keys};

/// Writes that touch no key twice and end as `writes` do when they are done in order.
pub(super) fn normalised(writes: Vec<Write>) -> Vec<Write> {
    let mut puts = BTreeMap::new();
    let mut removed: Vec<KeyRange> = Vec::new();
    for write in writes {
        match write {
            Write::Put { key, value } => {
                puts.insert(key, value);
            }
            Write::Remove(range) if range.start < range.end => {
                puts.retain(|key, _| !range.contains(key));
                removed.push(range);
            }
            Write::Remove(_) => {}
        }
    }
    // A put that is still there is later than every removal around it.
    let removals = merged(removed).into_iter().flat_map(|range| around(range, &puts));
    let mut normalised: Vec<Write> = removals.map(Write::Remove).collect();
    normalised.extend(puts.into_iter().map(|(key, value)| Write::Put { key, value }));
    normalised
}

/// The same keys in ranges that do not overlap.
fn merged(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    let mut merged: Vec<KeyRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = std::cmp::max(range.end, last.end.clone()),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

/// What is left of `range` without the keys of `puts`.
fn around(range: KeyRange, puts: &BTreeMap<String, Vec<u8>>) -> Vec<KeyRange> {
    let mut start = range.start;
    let mut parts = Vec::new();
    for key in puts.range(start.clone()..range.end.clone()).map(|(key, _)| key) {
        parts.push(KeyRange { start, end: key.clone() });
        start = keys::after(key);
    }
    parts.push(KeyRange { start, end: range.end });
    parts.retain(|part| part.start < part.end);
    parts
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn put(key: &str, value: u8) -> Write {
        Write::Put { key: key.to_owned(), value: vec![value] }
    }

    fn remove(start: &str, end: &str) -> Write {
        Write::Remove(KeyRange { start: start.to_owned(), end: end.to_owned() })
    }

    /// What is there after `writes` were done in order.
    fn done(writes: &[Write]) -> BTreeMap<String, Vec<u8>> {
        let mut rows: BTreeMap<String, Vec<u8>> = all_keys().map(|key| (key, vec![255])).collect();
        for write in writes {
            match write {
                Write::Put { key, value } => drop(rows.insert(key.clone(), value.clone())),
                Write::Remove(range) => rows.retain(|key, _| !range.contains(key)),
            }
        }
        rows
    }

    fn all_keys() -> impl Iterator<Item = String> {
        ["a", "a/1", "a/2", "a/22", "b", "b/1", "c"].into_iter().map(str::to_owned)
    }

    fn touch_no_key_twice(writes: &[Write]) -> bool {
        all_keys().all(|key| {
            let touches = |write: &&Write| match write {
                Write::Put { key: put, .. } => *put == key,
                Write::Remove(range) => range.contains(&key),
            };
            writes.iter().filter(touches).count() <= 1
        })
    }

    #[test]
    fn the_later_write_wins() {
        assert_eq!(normalised(vec![put("a", 1), put("a", 2)]), [put("a", 2)]);
        assert_eq!(normalised(vec![put("a/1", 1), remove("a/", "a0")]), [remove("a/", "a0")]);
        assert_eq!(normalised(vec![remove("a", "a ")]), [remove("a", "a ")]);
        assert_eq!(normalised(vec![remove("a", "a "), put("a", 1)]), [put("a", 1)]);
        assert_eq!(normalised(vec![remove("b", "a")]), []);
        assert_eq!(
            normalised(vec![remove("a/", "a0"), put("a/2", 1)]),
            [remove("a/", "a/2"), remove("a/2 ", "a0"), put("a/2", 1)]
        );
    }

    #[test]
    fn any_writes_end_as_they_do_in_order() {
        let keys: Vec<String> = all_keys().collect();
        let mut rng = StdRng::seed_from_u64(1);
        for round in 0..5_000 {
            let mut pick = || keys[rng.random_range(0..keys.len())].clone();
            let mut writes = Vec::new();
            for step in 0..8u8 {
                let (one, other) = (pick(), pick());
                writes.push(match (step as usize + round) % 3 {
                    0 => Write::Remove(KeyRange { start: one, end: other }),
                    1 => Write::Remove(KeyRange::one(one)),
                    _ => put(&one, step),
                });
            }
            let normal = normalised(writes.clone());
            assert!(touch_no_key_twice(&normal), "{writes:?}\n{normal:?}");
            assert_eq!(done(&normal), done(&writes), "{writes:?}\n{normal:?}");
        }
    }
}
