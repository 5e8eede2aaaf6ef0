//! The limits of a run: those that it is created with, and their later changes.

use prost_types::FieldMask;
use warifu_model::spec::{
    LEAST_ITEMS_PER_SECOND, LONGEST_TARGET_DURATION, LimitsUpdate, MOST_ITEMS_PER_SECOND,
    SHORTEST_TARGET_DURATION,
};
use warifu_model::{AdaptiveConcurrency, Tolerance};

use crate::suggest;
use crate::wire::time::duration;
use crate::wire::v1;
use crate::wire::violation::{InvalidRequest, Violations, quoted};

/// What an update mask may name.
const UPDATABLE: [&str; 4] = [
    "spec.max_concurrency",
    "spec.tolerated_failure_count",
    "spec.tolerated_failure_percentage",
    "spec.max_items_per_second",
];

/// Failures that the run may have.
pub(super) fn tolerance(spec: &v1::MapRunSpec, violations: &mut Violations) -> Tolerance {
    if let Some(percentage) = spec.tolerated_failure_percentage {
        violations.require((0.0..=100.0).contains(&percentage), "spec.tolerated_failure_percentage", || {
            format!("is {percentage}; it must lie between 0 and 100")
        });
    }
    Tolerance { count: spec.tolerated_failure_count, percentage: spec.tolerated_failure_percentage }
}

/// The ceiling of batches in progress.
pub(super) fn max_concurrency(spec: &v1::MapRunSpec) -> Option<u32> {
    (spec.max_concurrency > 0).then_some(spec.max_concurrency)
}

/// That the concurrency is chosen below that ceiling.
pub(super) fn adaptive_concurrency(
    spec: &v1::MapRunSpec,
    violations: &mut Violations,
) -> Option<AdaptiveConcurrency> {
    let target = spec.adaptive_concurrency.as_ref()?.target_duration.as_ref();
    let target_duration = target.and_then(duration);
    let bounds = SHORTEST_TARGET_DURATION..=LONGEST_TARGET_DURATION;
    let in_bounds = target_duration.is_some_and(|target| bounds.contains(&target));
    violations.require(target.is_none() || in_bounds, "spec.adaptive_concurrency.target_duration", || {
        format!("must lie between 1s and {}s (a year), or be absent", LONGEST_TARGET_DURATION.as_secs())
    });
    Some(AdaptiveConcurrency { target_duration })
}

/// Items that are begun in a second.
pub(super) fn max_items_per_second(spec: &v1::MapRunSpec, violations: &mut Violations) -> Option<f64> {
    let rate = spec.max_items_per_second;
    if rate == 0.0 {
        return None;
    }
    let bounds = LEAST_ITEMS_PER_SECOND..=MOST_ITEMS_PER_SECOND;
    violations.require(bounds.contains(&rate), "spec.max_items_per_second", || {
        format!(
            "is {rate}; it must lie between {LEAST_ITEMS_PER_SECOND} and {MOST_ITEMS_PER_SECOND:e}, or be 0 or absent for no limit"
        )
    });
    Some(rate)
}

/// The limits that `mask` names, with their values from `spec`. What is named and absent lifts its limit.
pub fn limits_update(
    spec: Option<&v1::MapRunSpec>,
    mask: Option<&FieldMask>,
) -> Result<LimitsUpdate, InvalidRequest> {
    let absent = v1::MapRunSpec::default();
    let spec = spec.unwrap_or(&absent);
    let mut violations = Violations::default();
    let mut update = LimitsUpdate::default();
    let named = mask.map_or(&[][..], |mask| &mask.paths);
    for path in named {
        match path.as_str() {
            "spec.max_concurrency" => update.max_concurrency = Some(max_concurrency(spec)),
            "spec.tolerated_failure_count" => {
                update.tolerated_failure_count = Some(spec.tolerated_failure_count);
            }
            "spec.tolerated_failure_percentage" => {
                update.tolerated_failure_percentage = Some(tolerance(spec, &mut violations).percentage);
            }
            "spec.max_items_per_second" => {
                update.max_items_per_second = Some(max_items_per_second(spec, &mut violations));
            }
            other => {
                let advice = suggest::advice(other, UPDATABLE);
                violations.add("update_mask", format!("{} cannot be changed; {advice}", quoted(other)));
            }
        }
    }
    violations.into_result(update)
}
