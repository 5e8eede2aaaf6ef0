//! The limit that `adaptiveConcurrency` chose, as the API shows it.

use warifu_model::{AdaptedLimit, LimitReason};

use super::v1;

impl From<AdaptedLimit> for v1::AdaptedLimit {
    fn from(adapted: AdaptedLimit) -> Self {
        Self {
            limit: adapted.limit,
            reason: v1::adapted_limit::Reason::from(adapted.reason).into(),
            message: adapted.reason.to_string(),
        }
    }
}

impl From<LimitReason> for v1::adapted_limit::Reason {
    fn from(reason: LimitReason) -> Self {
        match reason {
            LimitReason::Starting => Self::Starting,
            LimitReason::Rising { .. } => Self::Rising,
            LimitReason::Latency { .. } => Self::Latency,
            LimitReason::Failures { .. } => Self::Failures,
            LimitReason::Unreached => Self::Unreached,
            LimitReason::TargetDuration => Self::TargetDuration,
            LimitReason::MaxConcurrency => Self::MaxConcurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limit_is_shown_with_its_reason_in_words() {
        let ms = Duration::from_millis;
        let latency = LimitReason::Latency { call_time: ms(2_100), least_call_time: ms(900) };
        let rising = LimitReason::Rising { call_time: ms(3) };
        let failures = LimitReason::Failures { failed: 3, calls: 40 };
        for (reason, name, message) in [
            (LimitReason::Starting, "STARTING", "too few calls have ended to tell"),
            (rising, "RISING", "a call takes 3.000 ms, no longer than with fewer: it is raised"),
            (latency, "LATENCY", "a call takes 2.100 s, and 900.000 ms with fewer"),
            (failures, "FAILURES", "3 of 40 calls failed or timed out: it was halved"),
            (LimitReason::Unreached, "UNREACHED", "fewer batches are in progress than it allows"),
            (LimitReason::TargetDuration, "TARGET_DURATION", "targetDuration needs no more"),
            (LimitReason::MaxConcurrency, "MAX_CONCURRENCY", "maxConcurrency allows no more"),
        ] {
            let shown = v1::AdaptedLimit::from(AdaptedLimit { limit: 7, reason });
            assert_eq!((shown.limit, shown.reason().as_str_name()), (7, name));
            assert_eq!(shown.message, message);
        }
    }
}
