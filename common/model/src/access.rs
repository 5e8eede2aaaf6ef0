//! `[s3] allowed`: which objects jobs may reach, and the one check that coordinator and workers make of it.

use serde::{Deserialize, Serialize};

/// What jobs may read and write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessRules(Option<Vec<String>>);

/// A place that no rule names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is not among what this cluster lets jobs use ([s3] allowed)")]
pub struct NotAllowed {
    place: String,
}

impl AccessRules {
    /// Each pattern is an object, as `s3://bucket/key`, or all that begins as one that ends in `*`. `None`: everything.
    pub fn new(patterns: Option<Vec<String>>) -> Self {
        Self(patterns)
    }

    /// The patterns. `None`: everything is allowed.
    pub fn patterns(&self) -> Option<&[String]> {
        self.0.as_deref()
    }

    /// Checks one object.
    pub fn check_object(&self, bucket: &str, key: &str) -> Result<(), NotAllowed> {
        self.check(bucket, key, |pattern, place| match pattern.strip_suffix('*') {
            Some(start) => place.starts_with(start),
            None => place == pattern,
        })
    }

    /// Checks everything whose key begins with `prefix`: a rule for one object does not permit what it is a prefix of.
    pub fn check_prefix(&self, bucket: &str, prefix: &str) -> Result<(), NotAllowed> {
        self.check(bucket, prefix, |pattern, place| {
            pattern.strip_suffix('*').is_some_and(|start| place.starts_with(start))
        })
    }

    fn check(&self, bucket: &str, key: &str, names: fn(&str, &str) -> bool) -> Result<(), NotAllowed> {
        let Some(patterns) = &self.0 else { return Ok(()) };
        let place = if bucket.starts_with(FILE_SCHEME) {
            format!("{bucket}/{key}")
        } else {
            format!("s3://{bucket}/{key}")
        };
        let is_one_place = has_one_spelling(bucket, key);
        if is_one_place && patterns.iter().any(|pattern| names(pattern, &place)) {
            return Ok(());
        }
        Err(NotAllowed { place })
    }
}

const FILE_SCHEME: &str = "file://";

/// Whether a place can only be what its text begins with. Parts that some stores and proxies resolve could lead out of
/// it, and so could a slash in the name of a bucket: manifests hold any text. ARNs of access points have slashes.
fn has_one_spelling(bucket: &str, key: &str) -> bool {
    let is_plain_bucket =
        !bucket.contains('/') || bucket.starts_with("arn:") || bucket.starts_with(FILE_SCHEME);
    is_plain_bucket && bucket.split('/').chain(key.split('/')).all(|part| part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> AccessRules {
        AccessRules::new(Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()))
    }

    #[test]
    fn objects_are_permitted_that_a_rule_names() {
        let rules = rules(&["s3://input/*", "s3://out/one.csv", "file:///data/in/*"]);
        for (bucket, key) in [("input", "a.csv"), ("out", "one.csv"), ("file:///data/in", "a.csv")] {
            assert_eq!(rules.check_object(bucket, key), Ok(()), "{bucket} {key}");
        }
        for (bucket, key) in
            [("input2", "a.csv"), ("out", "one.csv2"), ("out", ""), ("file:///data", "x"), ("", "input/a")]
        {
            assert!(rules.check_object(bucket, key).is_err(), "{bucket} {key}");
        }
        let none = AccessRules::new(Some(Vec::new())).check_object("input", "a.csv").unwrap_err();
        assert!(none.to_string().contains("s3://input/a.csv is not among"), "{none}");
        assert_eq!(AccessRules::default().check_object("anything", "at/../all"), Ok(()));
    }

    #[test]
    fn a_prefix_is_permitted_only_with_all_that_lies_under_it() {
        let rules = rules(&["s3://shared/team-a/*", "s3://out/one"]);
        assert_eq!(rules.check_prefix("shared", "team-a/"), Ok(()));
        assert_eq!(rules.check_prefix("shared", "team-a/in/"), Ok(()));
        for (bucket, prefix) in [("shared", ""), ("shared", "team-"), ("shared", "team-a"), ("out", "one")] {
            assert!(rules.check_prefix(bucket, prefix).is_err(), "{bucket} {prefix}");
        }
        assert_eq!(rules.check_object("out", "one"), Ok(()));
    }

    #[test]
    fn no_spelling_leads_out_of_what_a_rule_names() {
        let rules = rules(&["s3://shared/team-a/*", "s3://arn:aws:s3:eu-west-1:1:accesspoint/ours/*"]);
        assert_eq!(rules.check_object("shared", "team-a/..a/b..c"), Ok(()));
        assert_eq!(rules.check_object("arn:aws:s3:eu-west-1:1:accesspoint/ours", "k"), Ok(()));
        for (bucket, key) in [
            ("shared", "team-a/../team-b/x"),
            ("shared", "team-a/./x"),
            ("shared/team-a", "x"),
            ("shared/team-a/../../secret", "x"),
            ("arn:aws:s3:eu-west-1:1:accesspoint/ours/../theirs", "k"),
        ] {
            assert!(rules.check_object(bucket, key).is_err(), "{bucket} {key}");
            assert!(rules.check_prefix(bucket, key).is_err(), "{bucket} {key}");
        }
    }
}
