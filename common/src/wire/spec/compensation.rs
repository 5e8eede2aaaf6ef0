//! `compensation`.

use std::collections::BTreeSet;

use warifu_model::{Compensation, CompensationTrigger};

use super::{check, processor};
use crate::wire::v1;
use crate::wire::v1::compensation::Trigger;
use crate::wire::violation::Violations;

const FIELD: &str = "spec.compensation";

/// The compensation, if there is one and nothing is wrong with it.
pub(super) fn read(
    compensation: Option<&v1::Compensation>,
    violations: &mut Violations,
) -> Option<Compensation> {
    let compensation = compensation?;
    let handler = processor::handler(&compensation.handler, &format!("{FIELD}.handler"), violations);
    let on = triggers(&compensation.on, violations);
    Some(Compensation { handler: handler?, on })
}

fn triggers(on: &[i32], violations: &mut Violations) -> BTreeSet<CompensationTrigger> {
    violations.require(!on.is_empty(), &format!("{FIELD}.on"), || {
        "is required: TOLERANCE_EXCEEDED, ERROR, STOPPED, or several of them".to_owned()
    });
    let mut triggers = BTreeSet::new();
    for (i, value) in on.iter().enumerate() {
        let field = format!("{FIELD}.on[{i}]");
        // An unknown number was noted, and must not be noted as absent too.
        let known = Trigger::try_from(*value).is_ok();
        match trigger(check::known(*value, &field, violations)) {
            Some(trigger) => drop(triggers.insert(trigger)),
            None if known => violations.add(field, "is not set: TOLERANCE_EXCEEDED, ERROR or STOPPED"),
            None => {}
        }
    }
    triggers
}

/// The reason that a message names; `None` if it names none.
pub(in crate::wire) fn trigger(trigger: Trigger) -> Option<CompensationTrigger> {
    match trigger {
        Trigger::Unspecified => None,
        Trigger::ToleranceExceeded => Some(CompensationTrigger::ToleranceExceeded),
        Trigger::Error => Some(CompensationTrigger::Error),
        Trigger::Stopped => Some(CompensationTrigger::Stopped),
    }
}

impl From<CompensationTrigger> for Trigger {
    fn from(trigger: CompensationTrigger) -> Self {
        match trigger {
            CompensationTrigger::ToleranceExceeded => Self::ToleranceExceeded,
            CompensationTrigger::Error => Self::Error,
            CompensationTrigger::Stopped => Self::Stopped,
        }
    }
}

impl From<&Compensation> for v1::Compensation {
    fn from(compensation: &Compensation) -> Self {
        let on = compensation.on.iter().map(|trigger| Trigger::from(*trigger).into());
        Self { handler: compensation.handler.to_string(), on: on.collect() }
    }
}
