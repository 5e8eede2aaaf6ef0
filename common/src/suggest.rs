//! "Did you mean …": the known name that an unknown one was probably meant to be.

/// How alike two names must be: 1 less the share of letters to change, swaps counting once. Catches `kye` for `key`.
const LEAST_LIKENESS: f64 = 0.6;

/// The known name that is most like `unknown`, if one is like it at all. Case, `_` and `-` do not count.
pub fn closest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(unknown);
    known
        .into_iter()
        .map(|name| (likeness(&wanted, &folded(name)), name))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// What to say of a name that is not known: the closest one, or all of them.
pub fn advice<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = closest(unknown, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none is expected here".to_owned()
    } else {
        format!("known are {}", names.join(", "))
    }
}

/// A name that goes on where the other ends is like it, however long: `ttl` and `ttl_seconds`.
fn likeness(a: &str, b: &str) -> f64 {
    const BEGINS_ALIKE: f64 = 0.9;
    let (shorter, longer) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let edits = strsim::normalized_damerau_levenshtein(a, b);
    if shorter.len() >= 3 && longer.starts_with(shorter) { edits.max(BEGINS_ALIKE) } else { edits }
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_suggested_whatever_its_spelling() {
        let known = ["itemReader", "itemBatcher", "itemProcessor", "maxConcurrency"];
        let table = [
            ("ItemReader", Some("itemReader")),
            ("item_batcher", Some("itemBatcher")),
            ("maxConcurency", Some("maxConcurrency")),
            ("concurrency", Some("maxConcurrency")),
            ("zzz", None),
        ];
        for (unknown, expected) in table {
            assert_eq!(closest(unknown, known), expected, "{unknown}");
        }
    }
}
