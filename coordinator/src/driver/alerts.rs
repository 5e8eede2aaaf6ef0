//! How operators hear that too many items of a run fail: a line in the log, and a counter.

use warifu_model::FailureKind;
use warifu_scheduler::ErrorRateAlert;

use crate::metrics::Metrics;

/// Logs an alert and counts it.
pub(super) fn tell(metrics: &Metrics, alert: &ErrorRateAlert) {
    metrics.note_alert(alert.level);
    let (kind, error, items) = &alert.top_error;
    let kind = match kind {
        FailureKind::Business => "BUSINESS",
        FailureKind::System => "SYSTEM",
    };
    tracing::warn!(
        map_run_id = %alert.map_run,
        redrive = alert.redrive,
        alert_level = alert.level.name(),
        error_rate = alert.error_rate(),
        decided_items = alert.decided_items,
        failed_items = alert.failure_counts.sum(),
        business_failures = alert.failure_counts.business,
        system_failures = alert.failure_counts.system,
        top_error = error,
        top_error_kind = kind,
        top_error_items = items,
        "the error rate of a map run is high"
    );
}
