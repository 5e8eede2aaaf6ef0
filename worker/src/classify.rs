//! What an attempt means for each of its items: pure rules, the same for every handler.

use std::collections::HashMap;

use warifu_common::model::protocol::{CallOutcome, RunFault};
use warifu_common::model::{CallFailure, RangeSet, Retrier, RetryDecision, decide_retry, error_name};

use crate::handler::{FailedItem, HandlerAnswer, Outputs};
use crate::text::{cut_cause, cut_error};

/// How a call ended, before anything is decided about its items.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// The handler returned in time.
    Answered(HandlerAnswer),
    /// It did not.
    TimedOut(CallFailure),
    /// It was stopped with its run.
    Aborted,
    /// It was not called: no item was fit to be sent.
    NotCalled,
    /// It was not called: workers died of this batch too often.
    GivenUp,
}

/// Items that failed alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FailureGroup {
    /// Their offsets within the batch.
    pub(crate) items: RangeSet,
    /// Why.
    pub(crate) failure: CallFailure,
}

/// What became of the items of an attempt.
#[derive(Debug, PartialEq)]
pub(crate) struct Decided {
    /// How the call ended.
    pub(crate) call: CallOutcome,
    /// Failures that are final.
    pub(crate) failed: Vec<FailureGroup>,
    /// Offsets of items to send again.
    pub(crate) undecided: RangeSet,
    /// Retriers of the policy that ordered them, ascending.
    pub(crate) retriers: Vec<u32>,
    /// Outputs, by position among the items that were sent.
    pub(crate) outputs: Option<Outputs>,
    /// The handler asked to end the run.
    pub(crate) fault: Option<RunFault>,
}

/// Decides about the items at `sent` (offsets within the batch), and about `unfit`, which failed before the call.
pub(crate) fn decide(
    policy: &[Retrier],
    retries_used: &[u32],
    sent: &[u32],
    unfit: Vec<FailureGroup>,
    end: CallEnd,
) -> Decided {
    let mut decided = Decided {
        call: CallOutcome::Answered,
        failed: unfit,
        undecided: RangeSet::new(),
        retriers: Vec::new(),
        outputs: None,
        fault: None,
    };
    let groups = decided.take_end(sent, end);
    for mut group in groups {
        group.failure.error = cut_error(group.failure.error);
        group.failure.cause = cut_cause(group.failure.cause);
        match decide_retry(policy, retries_used, &group.failure) {
            RetryDecision::Again { retrier } if !is_never_retried(&group.failure) => {
                decided.send_again(retrier, &group.items);
            }
            RetryDecision::Again { .. } | RetryDecision::Final => decided.failed.push(group),
        }
    }
    decided
}

impl Decided {
    /// Notes how the call ended; returns what failed.
    fn take_end(&mut self, sent: &[u32], end: CallEnd) -> Vec<FailureGroup> {
        let answer = match end {
            CallEnd::NotCalled => return Vec::new(),
            CallEnd::GivenUp => {
                let cause =
                    "workers were lost too often while they ran this batch; look at what they last logged";
                let failure = CallFailure::system(error_name::WORKER_LOST, cause);
                return self.whole_call(CallOutcome::Failed, sent, failure);
            }
            CallEnd::Answered(answer) => answer,
            CallEnd::TimedOut(failure) => return self.whole_call(CallOutcome::TimedOut, sent, failure),
            CallEnd::Aborted => {
                let failure =
                    CallFailure::system(error_name::ABORTED, "the call was stopped with its map run");
                return self.whole_call(CallOutcome::Aborted, sent, failure);
            }
        };
        match answer {
            HandlerAnswer::Succeeded => Vec::new(),
            HandlerAnswer::Answered { outputs, failures } => match checked(sent.len(), outputs, failures) {
                Ok((outputs, failures)) => {
                    self.outputs = outputs;
                    group_by_failure(sent, failures)
                }
                Err(failure) => self.whole_call(CallOutcome::Failed, sent, failure),
            },
            HandlerAnswer::Failed(failure) => self.whole_call(CallOutcome::Failed, sent, failure),
            HandlerAnswer::RunFailed(fault) => {
                let failure = CallFailure::system(fault.error.clone(), fault.cause.clone());
                self.fault = Some(fault);
                self.whole_call(CallOutcome::Failed, sent, failure)
            }
        }
    }

    fn whole_call(&mut self, call: CallOutcome, sent: &[u32], failure: CallFailure) -> Vec<FailureGroup> {
        self.call = call;
        vec![FailureGroup { items: sent.iter().copied().collect(), failure }]
    }

    fn send_again(&mut self, retrier: usize, items: &RangeSet) {
        self.undecided.union_with(items);
        let retrier = u32::try_from(retrier).unwrap_or(u32::MAX);
        if let Err(place) = self.retriers.binary_search(&retrier) {
            self.retriers.insert(place, retrier);
        }
    }
}

/// A handler in Rust can answer nonsense too.
fn checked(
    sent: usize,
    outputs: Option<Outputs>,
    failures: Vec<FailedItem>,
) -> Result<(Option<Outputs>, Vec<FailedItem>), CallFailure> {
    if outputs.as_ref().is_some_and(|outputs| outputs.len() != sent) {
        let got = outputs.map_or(0, |outputs| outputs.len());
        return Err(invalid_output(format!("{got} outputs for {sent} items; give exactly one for each")));
    }
    match failures.iter().find(|failed| failed.position >= sent) {
        Some(failed) => Err(invalid_output(format!("a failure names item {} of {sent}", failed.position))),
        None => Ok((outputs, failures)),
    }
}

/// An answer that is not of the documented form.
pub(crate) fn invalid_output(cause: impl Into<String>) -> CallFailure {
    CallFailure::system(error_name::INVALID_HANDLER_OUTPUT, cause)
}

/// Whether no retrier may order another attempt: a handler that breaks the form once breaks it again, an abort is an
/// order, and a batch that is given up was repeated enough.
fn is_never_retried(failure: &CallFailure) -> bool {
    const FINAL: [&str; 3] =
        [error_name::INVALID_HANDLER_OUTPUT, error_name::ABORTED, error_name::WORKER_LOST];
    FINAL.contains(&failure.error.as_str())
}

fn group_by_failure(sent: &[u32], failures: Vec<FailedItem>) -> Vec<FailureGroup> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    let mut group_of: HashMap<(String, String), Vec<usize>> = HashMap::new();
    let mut seen = RangeSet::new();
    for FailedItem { position, failure } in failures {
        if !seen.insert(sent[position]) {
            continue;
        }
        let alike = group_of.entry((failure.error.clone(), failure.cause.clone())).or_default();
        match alike.iter().find(|group| groups[**group].failure == failure) {
            Some(group) => drop(groups[*group].items.insert(sent[position])),
            None => {
                alike.push(groups.len());
                groups.push(FailureGroup { items: [sent[position]].into_iter().collect(), failure });
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use warifu_common::model::JitterStrategy;

    use super::*;

    fn policy(names: &[&str]) -> Vec<Retrier> {
        let retrier = |name: &&str| Retrier {
            error_equals: vec![(*name).to_owned()],
            interval: Duration::from_secs(1),
            max_attempts: 1,
            backoff_rate: 2.0,
            max_delay: None,
            jitter_strategy: JitterStrategy::None,
        };
        names.iter().map(retrier).collect()
    }

    fn failed(position: usize, failure: CallFailure) -> FailedItem {
        FailedItem { position, failure }
    }

    fn answered(failures: Vec<FailedItem>) -> CallEnd {
        CallEnd::Answered(HandlerAnswer::Answered { outputs: None, failures })
    }

    #[test]
    fn items_that_fail_alike_are_one_group_by_their_offset_in_the_batch() {
        let bad = CallFailure::business("Bad", "x");
        let end = answered(vec![
            failed(0, bad.clone()),
            failed(1, CallFailure::business("Bad", "y")),
            failed(2, bad.clone()),
        ]);
        let decided = decide(&[], &[], &[3, 5, 9], Vec::new(), end);
        assert_eq!(decided.call, CallOutcome::Answered);
        assert_eq!(decided.failed[0], FailureGroup { items: [3, 9].into_iter().collect(), failure: bad });
        assert_eq!(decided.failed[1].items, [5].into_iter().collect());
    }

    #[test]
    fn what_the_policy_orders_again_is_undecided_and_names_its_retrier() {
        let policy = policy(&["A", "States.ALL"]);
        let end = answered(vec![
            failed(0, CallFailure::system("Z", "")),
            failed(1, CallFailure::business("A", "")),
        ]);
        let decided = decide(&policy, &[0, 0], &[0, 1, 2], Vec::new(), end);
        assert_eq!(decided.undecided, [0, 1].into_iter().collect());
        assert_eq!(decided.retriers, [0, 1]);
        assert!(decided.failed.is_empty());
    }

    #[test]
    fn a_used_up_retrier_makes_the_failure_final() {
        let end = CallEnd::TimedOut(CallFailure::system(error_name::TIMEOUT, ""));
        let decided = decide(&policy(&["States.ALL"]), &[1], &[0, 1], Vec::new(), end);
        assert_eq!(decided.call, CallOutcome::TimedOut);
        assert_eq!(decided.failed[0].items.len(), 2);
    }

    #[test]
    fn neither_an_abort_nor_a_loss_too_many_nor_a_malformed_answer_is_ever_retried() {
        let malformed =
            CallEnd::Answered(HandlerAnswer::Answered { outputs: Some(Outputs::new()), failures: vec![] });
        for end in [CallEnd::Aborted, CallEnd::GivenUp, malformed] {
            let decided = decide(&policy(&["States.ALL"]), &[0], &[0], Vec::new(), end);
            assert!(decided.undecided.is_empty());
            assert_eq!(decided.failed.len(), 1);
        }
    }

    #[test]
    fn an_item_that_fails_twice_fails_once() {
        let end = answered(vec![
            failed(0, CallFailure::business("A", "")),
            failed(0, CallFailure::business("B", "")),
        ]);
        let decided = decide(&[], &[], &[0], Vec::new(), end);
        assert_eq!(decided.failed.len(), 1);
    }
}
