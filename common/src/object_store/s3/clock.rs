//! Whether this machine's clock explains a refusal.
//!
//! S3 refuses a request that was signed a quarter of an hour away from its own time with 403, as if permission were lacking.
//! The SDK learns the store's time from every answer, and repeats what was refused for it, if the answer says so. The answer
//! to HEAD has no body to say so.

use std::time::SystemTime;

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

/// Less is not why a request is refused, and more than any answer takes.
const TOLERATED_SECONDS: u64 = 240;

/// Whether an answer's `Date` is far from what this machine shows.
pub(super) fn is_far_from(date: &str) -> bool {
    let Ok(store) = DateTime::from_str(date, DateTimeFormat::HttpDate) else { return false };
    store.secs().abs_diff(DateTime::from(wall_now()).secs()) > TOLERATED_SECONDS
}

#[expect(clippy::disallowed_methods, reason = "signatures carry wall time; nothing is measured with it")]
fn wall_now() -> SystemTime {
    SystemTime::now()
}
