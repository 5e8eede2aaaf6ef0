//! Whether the time that a request was signed with explains its refusal.
//!
//! S3 refuses a request that was signed a quarter of an hour away from its own time with 403, as if permission were lacking.
//! The SDK learns the store's time from every answer, and repeats what was refused for it, if the answer says so. The answer
//! to HEAD has no body to say so; and after a step of this machine's clock what was learnt is wrong, though the clock is right.

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// The header that brings the request's time to where its answer is read. No store sends it.
pub(super) const SIGNED_AT: &str = "x-warifu-signed-at";

/// Less is not why a request is refused, and more than any answer takes.
const TOLERATED_SECONDS: u64 = 240;

/// Notes in each answer when its request was signed.
#[derive(Debug)]
pub(super) struct NoteSigningTime;

/// A request's `x-amz-date`; the request itself is gone when its answer comes.
#[derive(Debug)]
struct SignedAt(String);

impl Storable for SignedAt {
    type Storer = StoreReplace<Self>;
}

impl Intercept for NoteSigningTime {
    fn name(&self) -> &'static str {
        "NoteSigningTime"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(signed_at) = context.request().headers().get("x-amz-date") {
            config.interceptor_state().store_put(SignedAt(signed_at.to_owned()));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        headers.remove(SIGNED_AT);
        if let Some(SignedAt(signed_at)) = config.load::<SignedAt>() {
            headers.try_insert(SIGNED_AT, signed_at.clone())?;
        }
        Ok(())
    }
}

/// Whether a request was signed at a time (`20260102T030405Z`) far from its answer's `Date`.
pub(super) fn are_far_apart(signed_at: &str, date: &str) -> bool {
    let signed_at = amz_date(signed_at);
    let date = DateTime::from_str(date, DateTimeFormat::HttpDate).ok();
    let apart = signed_at.zip(date).map(|(signed_at, date)| signed_at.secs().abs_diff(date.secs()));
    apart.is_some_and(|seconds| seconds > TOLERATED_SECONDS)
}

fn amz_date(text: &str) -> Option<DateTime> {
    let part = |range: std::ops::Range<usize>| text.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(9..11)?, part(11..13)?, part(13..15)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    DateTime::from_str(&text, DateTimeFormat::DateTime).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_time_is_compared_with_the_stores_own() {
        for (signed_at, expected) in [
            ("20261125T120000Z", false),
            ("20261125T120359Z", false),
            ("20261125T120500Z", true),
            ("20261125T110000Z", true),
            ("20261124T235959Z", true),
            ("no time", false),
            ("20261399T990000Z", false),
        ] {
            assert_eq!(are_far_apart(signed_at, "Wed, 25 Nov 2026 12:00:00 GMT"), expected, "{signed_at}");
        }
        assert!(!are_far_apart("20261125T120000Z", "never"));
    }
}
