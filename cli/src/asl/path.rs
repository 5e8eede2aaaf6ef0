//! Paths: how places in a definition are named, and reference paths into a state's input.

use serde_json::Value as Json;

/// Longest reference path that is taken apart.
const MAX_STEPS: usize = 64;

/// `parent` and one more name: `$.States.Process`, `$.States['my state']`.
pub(super) fn join(parent: &str, name: &str) -> String {
    if is_plain(name) { format!("{parent}.{name}") } else { format!("{parent}['{name}']") }
}

fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// A path that names one place: `$`, `$.a.b`, `$['a b'][0]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

impl<'a> Reference<'a> {
    /// Takes a reference path apart; `None` for what may name several places, for functions, variables and `$$`.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.push(step);
            rest = after;
            if steps.len() > MAX_STEPS {
                return None;
            }
        }
        Some(Self { steps })
    }

    /// What stands there in `value`.
    pub(super) fn of<'v>(&self, value: &'v Json) -> Option<&'v Json> {
        self.steps.iter().try_fold(value, |value, step| match step {
            Step::Field(name) => value.as_object()?.get(*name),
            Step::Element(index) => value.as_array()?.get(*index),
        })
    }
}

fn step(text: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        return plain.then_some((Step::Field(name), rest));
    }
    let rest = text.strip_prefix('[')?;
    if let Some(quote) = rest.chars().next().filter(|c| "'\"".contains(*c)) {
        let rest = &rest[1..];
        let (name, rest) = rest.split_at(rest.find(quote)?);
        return Some((Step::Field(name), rest[1..].strip_prefix(']')?));
    }
    let (index, rest) = rest.split_once(']')?;
    Some((Step::Element(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_that_are_no_identifiers_stand_in_brackets() {
        assert_eq!(join("$.States", "Process"), "$.States.Process");
        assert_eq!(join("$.States", "Process rows"), "$.States['Process rows']");
        assert_eq!(join("$.Parameters", "Key.$"), "$.Parameters['Key.$']");
    }

    #[test]
    fn reference_paths_name_one_place() {
        let input = json!({"a": {"b": [10, {"c d": 20}], "ログ": 30}});
        let table = [
            ("$", Some(input.clone())),
            ("$.a.b[0]", Some(json!(10))),
            ("$['a'].b[1]['c d']", Some(json!(20))),
            ("$.a[\"b\"][0]", Some(json!(10))),
            ("$.a.ログ", Some(json!(30))),
            ("$.a.x", None),
            ("$.a.b[7]", None),
        ];
        for (text, found) in table {
            let path = Reference::parse(text).unwrap();
            assert_eq!(path.of(&input).cloned(), found, "{text}");
        }
    }

    #[test]
    fn what_may_name_several_places_or_none_is_no_reference_path() {
        for text in [
            "",
            "a",
            "$$.Map.Item.Value",
            "$name",
            "$..a",
            "$.a[*]",
            "$.a[?(@.b)]",
            "$.a[",
            "$.['a'",
            "$.",
            "States.Format('{}', $.a)",
            "$.a[1:2]",
        ] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }
}
