//! `business_errors` and `system_errors`: whose fault a failure is, by its name.

use serde::{Serialize, Serializer};
use warifu_model::{FailureKind, error_name};

use crate::config::section::Section;

/// Longest name; a failure's own name is cut there.
const MAX_NAME_BYTES: usize = 256;

/// What a list of names may hold, for messages.
const FORMS: &str = "write a failure's name, or Prefix.* for all that begin with `Prefix.`";

/// Kinds that the configuration gives to failures, over those that the handler gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ErrorClasses {
    /// Failures of the item itself.
    #[serde(rename = "business_errors", skip_serializing_if = "Vec::is_empty")]
    pub business: Vec<ErrorPattern>,
    /// Failures of something around it.
    #[serde(rename = "system_errors", skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<ErrorPattern>,
}

impl ErrorClasses {
    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        self.business.is_empty() && self.system.is_empty()
    }

    /// The kind of failures with this name, if one of the patterns speaks of it: the most specific one rules.
    pub fn kind_of(&self, error: &str) -> Option<FailureKind> {
        let business = self.business.iter().map(|pattern| (pattern, FailureKind::Business));
        let system = self.system.iter().map(|pattern| (pattern, FailureKind::System));
        let matching = business.chain(system).filter(|(pattern, _)| pattern.matches(error));
        matching.max_by_key(|(pattern, _)| pattern.specificity()).map(|(_, kind)| kind)
    }
}

/// A failure's name, or the beginning of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorPattern {
    /// This name.
    Exact(String),
    /// Names that begin so; it ends in a dot.
    Prefix(String),
}

impl ErrorPattern {
    /// Reads `Name` or `Prefix.*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        if name.len() > MAX_NAME_BYTES {
            return Err(format!("is longer than {MAX_NAME_BYTES} bytes, which no failure's name is"));
        }
        if name == error_name::ALL {
            return Err(format!("{text:?} is no failure's own name; {FORMS}"));
        }
        let dotted = name.strip_suffix('.').is_some_and(|head| !head.is_empty());
        if name.is_empty() || name.contains('*') || (is_prefix && !dotted) {
            return Err(format!("{text:?}: {FORMS}"));
        }
        Ok(if is_prefix { Self::Prefix(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }

    fn matches(&self, error: &str) -> bool {
        match self {
            Self::Exact(name) => name == error,
            Self::Prefix(prefix) => error.starts_with(prefix.as_str()),
        }
    }

    /// Orders patterns that match the same name: an exact one is above all prefixes, a longer prefix above a shorter one.
    fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Prefix(prefix) => prefix.len(),
        }
    }
}

impl Serialize for ErrorPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(name) => serializer.serialize_str(name),
            Self::Prefix(prefix) => serializer.collect_str(&format_args!("{prefix}*")),
        }
    }
}

/// Reads both keys.
pub(super) fn read(section: &mut Section<'_>) -> ErrorClasses {
    let classes = ErrorClasses {
        business: read_patterns(section, "business_errors"),
        system: read_patterns(section, "system_errors"),
    };
    for twice in classes.system.iter().filter(|pattern| classes.business.contains(pattern)) {
        let (ErrorPattern::Exact(name) | ErrorPattern::Prefix(name)) = twice;
        section
            .problem("system_errors", format!("{name:?} is in business_errors, too; keep it in one of them"));
    }
    classes
}

fn read_patterns(section: &mut Section<'_>, key: &'static str) -> Vec<ErrorPattern> {
    let mut patterns = Vec::new();
    for text in section.texts(key).unwrap_or_default() {
        match ErrorPattern::parse(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(reason) => section.problem(key, reason),
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<ErrorPattern> {
        texts.iter().map(|text| ErrorPattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_most_specific_pattern_rules() {
        let classes = ErrorClasses {
            business: patterns(&["ValidationError", "Acme.*", "Acme.Net.Bad"]),
            system: patterns(&["Acme.Net.*", "Http.404"]),
        };
        let table = [
            ("ValidationError", Some(FailureKind::Business)),
            ("ValidationErrors", None),
            ("Acme.Name", Some(FailureKind::Business)),
            ("Acme", None),
            ("Acmes.Name", None),
            ("Acme.Net.Slow", Some(FailureKind::System)),
            ("Acme.Net.Bad", Some(FailureKind::Business)),
            ("Http.404", Some(FailureKind::System)),
            ("Http.503", None),
        ];
        for (error, expected) in table {
            assert_eq!(classes.kind_of(error), expected, "{error}");
        }
    }

    #[test]
    fn what_can_be_no_name_is_refused() {
        for text in ["", "*", ".*", "Acme*", "Ac*me", "*.Acme", "States.ALL"] {
            assert!(ErrorPattern::parse(text).is_err(), "{text}");
        }
        assert!(ErrorPattern::parse(&"x".repeat(257)).is_err());
    }
}
