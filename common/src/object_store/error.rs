//! What can go wrong with an object, sorted by who must act.

use std::fmt;
use std::time::Duration;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on an object did not succeed. Every text names the place (`s3://bucket/key`) and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is nothing there. Correct the name, or create it.
    #[error("{missing} {place} does not exist{}", in_brackets(.detail))]
    NotFound {
        /// What is missing: the object, its version, or the whole bucket.
        missing: MissingThing,
        /// Where it was looked for.
        place: String,
        /// What the store said; may be empty.
        detail: String,
    },
    /// The credentials are valid but do not suffice. Whoever owns the bucket must grant the permission.
    #[error("not allowed to {action} {place}: grant {} to these credentials{}", permission_to_grant(*.action, .detail), in_brackets(.detail))]
    AccessDenied {
        /// What was tried.
        action: ObjectAction,
        /// Where it was tried.
        place: String,
        /// What the store said.
        detail: String,
    },
    /// There are no credentials, or the store does not accept them. Whoever runs this process must act.
    #[error("the credentials of this process cannot {action} {place}: {detail}")]
    Credentials {
        /// What was tried.
        action: ObjectAction,
        /// Where it was tried.
        place: String,
        /// What is wrong with them.
        detail: String,
        /// They were valid once: newer ones may be on disk.
        expired: bool,
    },
    /// The object is no longer the one that was pinned. No retry helps: start again from the new one.
    #[error("{place} was changed since it was pinned (was {pinned}, is now {}); start again with the new object", or_unknown(.seen))]
    Changed {
        /// Which object.
        place: String,
        /// The ETag that was pinned.
        pinned: String,
        /// The ETag that is there now, if the store said it.
        seen: Option<String>,
    },
    /// The object is larger than what this operation takes.
    #[error("{place} has {size_bytes} bytes, more than the {limit_bytes} allowed here")]
    TooLarge {
        /// Which object.
        place: String,
        /// Its size.
        size_bytes: u64,
        /// The most that is allowed.
        limit_bytes: u64,
    },
    /// The request cannot succeed as it is. Change it, or the configuration.
    #[error("invalid request for {place}: {reason}")]
    Invalid {
        /// Which object or bucket.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The store answered something that cannot be trusted to be the bytes asked for; nothing of it was used.
    #[error("the store gave a wrong answer when asked to {action} {place}: {reason}")]
    WrongAnswer {
        /// What was tried.
        action: ObjectAction,
        /// Which object.
        place: String,
        /// What does not fit.
        reason: String,
    },
    /// Not now: the store or the network failed, throttled or stalled, also after retries. Wait and try again.
    #[error("could not {action} {place} now{}", after_text(.after))]
    Unavailable {
        /// What was tried.
        action: ObjectAction,
        /// Where it was tried.
        place: String,
        /// How long the store asked to wait, if it did.
        after: Option<Duration>,
        /// What happened, with the store's request ids.
        source: BoxError,
    },
}

impl ObjectError {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::WrongAnswer { .. } => true,
            Self::NotFound { .. }
            | Self::AccessDenied { .. }
            | Self::Credentials { .. }
            | Self::Changed { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// How long the store asked to wait before the next request.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { after, .. } => *after,
            _ => None,
        }
    }
}

/// What [`ObjectError::NotFound`] did not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingThing {
    /// The bucket itself.
    Bucket,
    /// The object; its bucket exists, as far as the store says.
    Object,
    /// The version that was named.
    Version,
    /// The upload of which parts were sent.
    Upload,
}

impl fmt::Display for MissingThing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bucket => "bucket",
            Self::Object => "object",
            Self::Version => "the named version of object",
            Self::Upload => "the unfinished upload of",
        })
    }
}

/// What was tried on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectAction {
    /// Look at an object without reading it.
    Pin,
    /// Look at, or read, one version of an object.
    ReadVersion,
    /// Read bytes of an object.
    Read,
    /// Write an object.
    Put,
    /// Delete an object.
    Delete,
    /// List the objects of a bucket.
    List,
    /// Create a bucket.
    CreateBucket,
    /// Give up an upload.
    AbortUpload,
    /// List the unfinished uploads of a bucket.
    ListUploads,
}

impl ObjectAction {
    /// The IAM permission that it needs.
    pub fn permission(self) -> &'static str {
        match self {
            Self::Pin => "s3:GetObject (and s3:ListBucket, without which a missing object looks forbidden)",
            Self::Read => "s3:GetObject",
            Self::ReadVersion => "s3:GetObjectVersion",
            Self::Put => "s3:PutObject",
            Self::Delete => "s3:DeleteObject",
            Self::List => "s3:ListBucket",
            Self::CreateBucket => "s3:CreateBucket",
            Self::AbortUpload => "s3:AbortMultipartUpload",
            Self::ListUploads => "s3:ListBucketMultipartUploads",
        }
    }
}

impl fmt::Display for ObjectAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "look at",
            Self::Read => "read",
            Self::ReadVersion => "read the named version of",
            Self::Put => "write",
            Self::Delete => "delete",
            Self::List => "list",
            Self::CreateBucket => "create",
            Self::AbortUpload => "give up the upload of",
            Self::ListUploads => "list the unfinished uploads below",
        })
    }
}

/// The permission that the store itself misses, if it names one (it may be one of KMS), else that of the action.
fn permission_to_grant(action: ObjectAction, detail: &str) -> &str {
    let named = detail.split_once("not authorized to perform: ").map(|(_, rest)| rest);
    let named = named.map(|rest| rest.split([' ', ',', ')']).next().unwrap_or_default());
    named.filter(|name| name.contains(':')).unwrap_or(action.permission())
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn or_unknown(seen: &Option<String>) -> &str {
    seen.as_deref().unwrap_or("another one")
}

fn after_text(after: &Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!("; try again in {} s", after.as_secs_f32().ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_request_says_where_and_which_permission_is_missing() {
        let error = ObjectError::AccessDenied {
            action: ObjectAction::Put,
            place: "s3://out/a.jsonl".into(),
            detail: "403 AccessDenied, request id 7F".into(),
        };
        assert_eq!(
            error.to_string(),
            "not allowed to write s3://out/a.jsonl: grant s3:PutObject to these credentials (403 AccessDenied, request id 7F)"
        );
    }

    #[test]
    fn the_permission_that_the_store_misses_counts_before_that_of_the_action() {
        let detail = "403 AccessDenied: User: arn:aws:iam::1:user/w is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:x";
        assert_eq!(permission_to_grant(ObjectAction::Put, detail), "kms:GenerateDataKey");
        assert_eq!(permission_to_grant(ObjectAction::Put, "403 AccessDenied"), "s3:PutObject");
        assert_eq!(permission_to_grant(ObjectAction::Put, "not authorized to perform: it"), "s3:PutObject");
    }

    #[test]
    fn a_changed_object_is_never_worth_a_retry() {
        let error = ObjectError::Changed { place: "s3://in/a".into(), pinned: "\"1\"".into(), seen: None };
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            "s3://in/a was changed since it was pinned (was \"1\", is now another one); start again with the new object"
        );
    }
}
