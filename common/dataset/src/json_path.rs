//! JSONPaths that name one value: names and indexes, as in `$.user['full name'].phones[-1]`.
//!
//! What may name several values (`*`, `..`, slices, filters) is refused: a template's field is one value. The evaluator is
//! our own because the libraries for JSONPath query a tree: that would have to be built of every item, and it loses the text
//! of numbers. They also refuse names that AWS takes without quotes, such as `$.user-id`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The most names and indexes of a path: more than JSON texts of ours may be nested.
const MAX_STEPS: usize = 128;

/// A path to one value within another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JsonPath {
    text: String,
    steps: Vec<PathStep>,
}

/// From one value to a value in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathStep {
    /// An object's entry.
    Name(String),
    /// A list's element, from 0; negative: from the end, which is -1.
    Index(i64),
}

/// Why a text is no path that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathProblem {
    /// It is no JSONPath, or none of a value.
    #[error("a JSONPath begins with `$`")]
    NoRoot,
    /// It may name any number of values.
    #[error("`{what}` may name several values; names and indexes are taken, as in $.a['b c'][0]")]
    Several {
        /// The part that does.
        what: String,
    },
    /// It calls a function.
    #[error("intrinsic functions (States.…) are not supported; let the handler compute it")]
    Function,
    /// Its form is wrong.
    #[error("cannot be read as a JSONPath from {rest:?} on; write names and indexes, as in $.a['b c'][0]")]
    Malformed {
        /// What could not be read.
        rest: String,
    },
    /// It is too long.
    #[error("has more than {MAX_STEPS} steps")]
    TooLong,
}

impl JsonPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, JsonPathProblem> {
        if text.starts_with("States.") {
            return Err(JsonPathProblem::Function);
        }
        let mut rest = text.strip_prefix('$').ok_or(JsonPathProblem::NoRoot)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(JsonPathProblem::TooLong);
            }
            let (step, after) = next_step(rest)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The path of `steps`, shown as `text`.
    pub fn of_steps(text: &str, steps: &[PathStep]) -> Self {
        Self { text: text.to_owned(), steps: steps.to_vec() }
    }

    /// Its names and indexes, from the root on; none: the whole value.
    pub fn steps(&self) -> &[PathStep] {
        &self.steps
    }

    /// The value that it names in `value`.
    pub fn find_in<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(value, |value, step| match step {
            PathStep::Name(name) => value.as_object()?.get(name),
            PathStep::Index(index) => {
                let values = value.as_array()?;
                values.get(place_of(*index, values.len())?)
            }
        })
    }

    /// The text of the value that it names in the JSON text `json`, as it stands there.
    pub fn find_in_text<'a>(&self, json: &'a str) -> Option<&'a str> {
        self.steps.iter().try_fold(json.trim_ascii(), |json, step| {
            let mut deserializer = serde_json::Deserializer::from_str(json);
            let found = match step {
                PathStep::Name(name) => deserializer.deserialize_map(Entry(name)),
                PathStep::Index(index) => deserializer.deserialize_seq(Element(*index)),
            };
            found.ok().flatten().map(RawValue::get)
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The place of an index in a list of `length`.
fn place_of(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index >= 0 { Some(from_end) } else { length.checked_sub(from_end) }
}

/// The first step of `rest`, and what follows it.
fn next_step(rest: &str) -> Result<(PathStep, &str), JsonPathProblem> {
    if let Some(several) =
        ["..", ".*", "[*", "[?", "[:"].into_iter().find(|several| rest.starts_with(several))
    {
        return Err(JsonPathProblem::Several { what: several.to_owned() });
    }
    let step = match rest.as_bytes() {
        [b'.', ..] => plain_name(&rest[1..]),
        [b'[', quote @ (b'\'' | b'"'), ..] => quoted_name(&rest[2..], char::from(*quote)),
        [b'[', ..] => index(&rest[1..])?,
        _ => None,
    };
    step.ok_or_else(|| JsonPathProblem::Malformed { rest: rest.chars().take(32).collect() })
}

/// A name up to the next step. Anything may stand in one but what could begin something else.
fn plain_name(rest: &str) -> Option<(PathStep, &str)> {
    let ends = |c: char| ".[]()*?@,:'\"\\$".contains(c) || c.is_whitespace() || c.is_control();
    let end = rest.find(ends).unwrap_or(rest.len());
    let goes_on = rest[end..].is_empty() || rest[end..].starts_with(['.', '[']);
    (end > 0 && goes_on).then(|| (PathStep::Name(rest[..end].to_owned()), &rest[end..]))
}

/// A name in quotes, from just past the first one on. A backslash takes the next character as it is.
fn quoted_name(rest: &str, quote: char) -> Option<(PathStep, &str)> {
    let mut name = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            end if end == quote => return Some((PathStep::Name(name), rest[at + 1..].strip_prefix(']')?)),
            other => name.push(other),
        }
    }
    None
}

/// An index, from just past its bracket on.
fn index(rest: &str) -> Result<Option<(PathStep, &str)>, JsonPathProblem> {
    let Some((index, after)) = rest.split_once(']') else { return Ok(None) };
    if index.contains([':', ',']) {
        return Err(JsonPathProblem::Several { what: format!("[{index}]") });
    }
    let digits = index.strip_prefix('-').unwrap_or(index);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Ok(index.parse().ok().filter(|_| plain).map(|index| (PathStep::Index(index), after)))
}

/// Finds the entry of a name; of several with one name the last counts, as it does to every reader of JSON.
struct Entry<'a>(&'a str);

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A key of an object, borrowed where it is not escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Finds the element at an index.
struct Element(i64);

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements: Vec<&'de RawValue> = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(place_of(self.0, elements.len()).and_then(|place| elements.get(place).copied()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const JSON: &str = r#" {"a": {"b-c": [1.50, {"ユーザー": null}, "x\"y"], "": 0}, "d e": [], "n": 12345678901234567890.10,
        "es\u0063aped": {"'": 1}, "twice": 1, "twice": 2} "#;

    #[test]
    fn a_path_finds_one_value_in_a_tree_and_in_a_text_alike() {
        let tree: Value = serde_json::from_str(JSON).unwrap();
        for (path, found) in [
            ("$.a.b-c[0]", Some("1.50")),
            ("$.a['b-c'][1].ユーザー", Some("null")),
            ("$['a'][\"b-c\"][-1]", Some(r#""x\"y""#)),
            ("$.a['']", Some("0")),
            ("$['d e']", Some("[]")),
            ("$.n", Some("12345678901234567890.10")),
            (r"$.escaped['\'']", Some("1")),
            ("$.twice", Some("2")),
            ("$['d e'][0]", None),
            ("$.a[0]", None),
            ("$.n.x", None),
            ("$.a.b-c[-4]", None),
            ("$.A", None),
        ] {
            let path = JsonPath::parse(path).unwrap();
            assert_eq!(path.find_in_text(JSON), found, "{path}");
            let found: Option<Value> = found.map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(path.find_in(&tree), found.as_ref(), "{path}");
        }
        let whole = JsonPath::parse("$").unwrap();
        assert_eq!((whole.find_in_text(JSON), whole.find_in(&tree)), (Some(JSON.trim()), Some(&tree)));
    }

    #[test]
    fn what_may_name_several_values_and_what_is_no_path_is_refused_with_its_reason() {
        for (path, reason) in [
            ("a.b", "begins with `$`"),
            ("", "begins with `$`"),
            ("States.Format('{}', $.a)", "intrinsic functions"),
            ("$..a", "`..` may name several values"),
            ("$.a[*]", "`[*` may name several"),
            ("$.*", "`.*` may name several"),
            ("$.a[1:2]", "`[1:2]` may name several"),
            ("$.a[0,1]", "`[0,1]` may name several"),
            ("$.a[?(@.b)]", "`[?` may name several"),
            ("$a", "cannot be read as a JSONPath from \"a\" on"),
            ("$.", "cannot be read"),
            ("$.a b", "cannot be read as a JSONPath from \".a b\" on"),
            ("$.a[", "cannot be read"),
            ("$.a[x]", "cannot be read"),
            ("$.a[99999999999999999999]", "cannot be read"),
            ("$['a", "cannot be read"),
            ("$['a'", "cannot be read"),
        ] {
            let problem = JsonPath::parse(path).unwrap_err().to_string();
            assert!(problem.contains(reason), "{path}: {problem}");
        }
        let long = |steps: usize| JsonPath::parse(&format!("${}", ".a".repeat(steps)));
        assert!(long(MAX_STEPS).is_ok());
        assert_eq!(long(MAX_STEPS + 1), Err(JsonPathProblem::TooLong));
    }
}
