//! `itemProcessor`, with its retry policy.

use std::time::Duration;

use warifu_model::spec::{DEFAULT_BATCH_TIMEOUT, ItemProcessor};
use warifu_model::{HandlerName, JitterStrategy, Retrier, error_name};

use super::check;
use crate::wire::v1;
use crate::wire::violation::{Violations, quoted};

const FIELD: &str = "spec.item_processor";

/// ASL's bound of IntervalSeconds and MaxAttempts.
const MOST: u32 = 99_999_999;
/// ASL's bound of MaxDelaySeconds: a year.
const LONGEST_DELAY_SECONDS: u32 = 31_622_400;
/// Longest failure name.
const MAX_NAME_BYTES: usize = 256;
/// ASL's default of BackoffRate.
const DEFAULT_BACKOFF_RATE: f64 = 2.0;
/// ASL's default of MaxAttempts.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// Who handles the batches, or nothing if something is wrong with it.
pub(super) fn read(
    processor: Option<&v1::ItemProcessor>,
    violations: &mut Violations,
) -> Option<ItemProcessor> {
    let Some(processor) = processor else {
        violations.add(FIELD, "is required: name the handler");
        return None;
    };
    let payload = check::free_form(processor.payload.as_ref(), &format!("{FIELD}.payload"), violations);
    let output_path = (!processor.output_path.is_empty()).then(|| processor.output_path.clone());
    let retry = retry(&processor.retry, violations);
    let handler = handler(&processor.handler, &format!("{FIELD}.handler"), violations)?;
    Some(ItemProcessor { handler, timeout: timeout(processor.timeout_seconds), retry, payload, output_path })
}

/// A handler's name.
pub(super) fn handler(name: &str, field: &str, violations: &mut Violations) -> Option<HandlerName> {
    if name.is_empty() {
        violations.add(field, "is required: the name of a handler that workers have configured");
        return None;
    }
    HandlerName::new(name)
        .map_err(|error| violations.add(field, format!("{} is {}", quoted(name), error.rule)))
        .ok()
}

fn timeout(seconds: u32) -> Duration {
    if seconds == 0 { DEFAULT_BATCH_TIMEOUT } else { Duration::from_secs(seconds.into()) }
}

fn retry(policy: &[v1::Retrier], violations: &mut Violations) -> Vec<Retrier> {
    let last = policy.len().saturating_sub(1);
    let retriers = policy.iter().enumerate();
    retriers.map(|(i, r)| retrier(r, &format!("{FIELD}.retry[{i}]"), i == last, violations)).collect()
}

fn retrier(retrier: &v1::Retrier, field: &str, is_last: bool, violations: &mut Violations) -> Retrier {
    check_names(&retrier.error_equals, &format!("{field}.error_equals"), is_last, violations);
    let interval_seconds = retrier.interval_seconds.max(1);
    let max_attempts = retrier.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS);
    let backoff_rate = retrier.backoff_rate.unwrap_or(DEFAULT_BACKOFF_RATE);
    at_most(interval_seconds, MOST, &format!("{field}.interval_seconds"), violations);
    at_most(max_attempts, MOST, &format!("{field}.max_attempts"), violations);
    at_most(
        retrier.max_delay_seconds,
        LONGEST_DELAY_SECONDS,
        &format!("{field}.max_delay_seconds"),
        violations,
    );
    violations.require(
        backoff_rate.is_finite() && backoff_rate >= 1.0,
        &format!("{field}.backoff_rate"),
        || format!("is {backoff_rate}; it must be at least 1, or delays would shrink"),
    );
    let max_delay = retrier.max_delay_seconds;
    violations.require(
        max_delay == 0 || max_delay >= interval_seconds,
        &format!("{field}.max_delay_seconds"),
        || format!("is {max_delay}, shorter than the first delay of {interval_seconds} s"),
    );
    Retrier {
        error_equals: retrier.error_equals.clone(),
        interval: Duration::from_secs(interval_seconds.into()),
        max_attempts,
        backoff_rate,
        max_delay: (max_delay > 0).then(|| Duration::from_secs(max_delay.into())),
        jitter_strategy: jitter(retrier.jitter_strategy, &format!("{field}.jitter_strategy"), violations),
    }
}

fn at_most(value: u32, most: u32, field: &str, violations: &mut Violations) {
    violations.require(value <= most, field, || format!("is {value}; at most {most} is allowed"));
}

fn jitter(value: i32, field: &str, violations: &mut Violations) -> JitterStrategy {
    use v1::jitter_strategy::Type;
    match check::known(value, field, violations) {
        Type::Unspecified | Type::None => JitterStrategy::None,
        Type::Full => JitterStrategy::Full,
    }
}

fn check_names(names: &[String], field: &str, is_last: bool, violations: &mut Violations) {
    violations.require(!names.is_empty(), field, || {
        "is required: failure names, or States.ALL for every failure".to_owned()
    });
    for (i, name) in names.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            violations.add(format!("{field}[{i}]"), problem);
        }
    }
    let all = names.iter().any(|name| name == error_name::ALL);
    violations.require(!all || (names.len() == 1 && is_last), field, || {
        "States.ALL must stand alone, and in the last retrier: those after it could never match".to_owned()
    });
}

fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Some(format!("is {}; a failure name has 1 to {MAX_NAME_BYTES} bytes", quoted(name)));
    }
    let star = name.find('*')?;
    let at_end_of_prefix = star + 1 == name.len() && name[..star].ends_with('.') && star > 1;
    (!at_end_of_prefix).then(|| format!("is {}; `*` may only stand at the end, as in `Http.*`", quoted(name)))
}
