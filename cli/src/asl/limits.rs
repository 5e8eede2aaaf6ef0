//! `MaxConcurrency` and the tolerated failures.

use super::fields::{Fields, Job, Losses};

/// Puts the limits into the job.
pub(super) fn read(state: &mut Fields<'_>, job: &mut Job, losses: &mut Losses<'_>) {
    for (name, key) in [
        ("MaxConcurrency", "maxConcurrency"),
        ("ToleratedFailurePercentage", "toleratedFailurePercentage"),
        ("ToleratedFailureCount", "toleratedFailureCount"),
    ] {
        state.copy_or_resolve(name, job, key, losses);
    }
}
