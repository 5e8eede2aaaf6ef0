//! Whether a value of ours is the one that AWS recorded, where that has placeholders, names and times of its own.

use serde_json::Value;

/// What things are called here.
pub(super) struct Names<'a> {
    /// The bucket.
    pub(super) bucket: &'a str,
    /// The run.
    pub(super) run: &'a str,
}

/// Buckets of the recordings.
const BUCKETS: [&str; 6] = [
    "{{BUCKET}}",
    "bucket-name",
    "bucket_name",
    "result-bucket",
    "sd-sfn-map-35d090a7dd",
    "stackd-sfn-redrive-map-5cf3e72d2d",
];

/// The value with our bucket in place of theirs.
pub(super) fn with_bucket(value: &Value, bucket: &str) -> Value {
    let mut text = value.to_string();
    for name in BUCKETS {
        text = text.replace(name, bucket);
    }
    serde_json::from_str(&text).unwrap()
}

/// Makes sure that `ours` is `theirs`. Their placeholders (`<…>`, `date`) and times stand for any value of that kind, an execution's
/// ARN for our run.
#[track_caller]
pub(super) fn expect_same(what: &str, ours: &Value, theirs: &Value, names: &Names<'_>) {
    let theirs = with_bucket(theirs, names.bucket);
    assert!(is_same(ours, &theirs, names), "{what}: ours, then AWS's:\n{ours}\n{theirs}");
}

fn is_same(ours: &Value, theirs: &Value, names: &Names<'_>) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && theirs.iter().all(|(key, theirs)| match (ours.get(key), key.as_str()) {
                    (Some(ours), "LastModified") => ours.is_number() || theirs.is_string(),
                    (Some(ours), _) => is_same(ours, theirs, names),
                    (None, _) => false,
                })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs, names))
        }
        (Value::String(ours), Value::String(theirs)) => is_same_text(ours, theirs, names),
        (ours, theirs) => ours == theirs,
    }
}

fn is_same_text(ours: &str, theirs: &str, names: &Names<'_>) -> bool {
    let is_execution = theirs.contains(":execution:") || theirs == "<parent execution arn>";
    if is_execution {
        return ours == format!("mapRuns/{}", names.run);
    }
    let is_placeholder = theirs == "date" || (theirs.starts_with('<') && theirs.ends_with('>'));
    // The embedded store lists objects without ETags.
    let may_be_empty = theirs.to_lowercase().contains("etag");
    ours == theirs || (is_placeholder && (may_be_empty || !ours.is_empty()))
}
