//! What keeps a run from going faster, in words.

use warifu_common::wire::v1::{MapRun, limited_by, map_run};

use crate::advice;

/// The limit that `adaptiveConcurrency` chose, and why.
pub(crate) fn adapted_limit(run: &MapRun) -> String {
    let Some(adapted) = &run.adapted_limit else { return String::new() };
    format!("at most {}, {}: {}", adapted.limit, adapted.reason().as_str_name(), adapted.message)
}

/// What keeps a running run from going faster, and what to do about it.
pub(crate) fn limit_advice(run: &MapRun) -> &'static str {
    let is_chosen = run.adapted_limit.as_ref().is_some_and(advice::is_below_ceiling);
    if run.state() != map_run::State::Running {
        return "";
    }
    match run.progress.map(|progress| progress.limited_by()).unwrap_or_default() {
        limited_by::Type::Unspecified => "",
        limited_by::Type::Concurrency if is_chosen => {
            "CONCURRENCY: as many batches are in progress as adaptiveConcurrency allows now"
        }
        limited_by::Type::Concurrency => {
            "CONCURRENCY: maxConcurrency batches are in progress; raise it with `warifu update`"
        }
        limited_by::Type::Workers => {
            "WORKERS: every slot is taken, or no worker has the handler; look at `warifu workers`, add workers"
        }
        limited_by::Type::Handler => "HANDLER: everything is leased; what remains is the handler's own time",
        limited_by::Type::Rate => "RATE: maxItemsPerSecond; raise it with `warifu update`",
        limited_by::Type::Source => "SOURCE: the source is not scanned fast enough; add workers",
        limited_by::Type::RetryBackoff => {
            "RETRY_BACKOFF: what remains waits for its next attempt; see the failures"
        }
        limited_by::Type::Store => "STORE: outcomes wait for the state store; look at `warifu cluster`",
    }
}

#[cfg(test)]
mod tests {
    use warifu_common::wire::v1::{AdaptedLimit, Progress, adapted_limit::Reason};

    use super::*;

    fn held_by(reason: Reason) -> MapRun {
        let message = "a call takes 2.100 s, and 900.000 ms with fewer".to_owned();
        let limited_by = limited_by::Type::Concurrency.into();
        MapRun {
            state: map_run::State::Running.into(),
            adapted_limit: Some(AdaptedLimit { limit: 7, reason: reason.into(), message }),
            progress: Some(Progress { limited_by, ..Progress::default() }),
            ..MapRun::default()
        }
    }

    #[test]
    fn a_limit_that_was_chosen_is_shown_with_why() {
        let expected = "at most 7, LATENCY: a call takes 2.100 s, and 900.000 ms with fewer";
        assert_eq!(adapted_limit(&held_by(Reason::Latency)), expected);
        assert_eq!(adapted_limit(&MapRun::default()), "");
    }

    #[test]
    fn nobody_is_told_to_raise_max_concurrency_where_it_is_not_the_limit() {
        assert!(limit_advice(&held_by(Reason::Latency)).contains("adaptiveConcurrency"));
        assert!(limit_advice(&held_by(Reason::MaxConcurrency)).contains("`warifu update`"));
    }
}
