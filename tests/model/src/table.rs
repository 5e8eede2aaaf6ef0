//! The tables of `docs/model.md`, so that the document says what the tests check.

use crate::configurations::{EXPECTED, LARGE, SMALL};
use crate::limits::Limits;
use crate::mutation::{ALSO_SIMULATED, ONLY_SIMULATED, SEEDED_BUGS};

/// The configurations, with what a search of each small one meets.
pub fn configuration_table() -> String {
    let mut table = String::from(
        "| configuration | explores | leaders | processes, Hellos | batches, span, attempts | maxConcurrency, slots | leases by leader | messages | also | states | depth |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for limits in SMALL {
        let (_, states, depth) =
            EXPECTED.iter().find(|expected| expected.0 == limits.name).unwrap_or(&("", 0, 0));
        table += &row(limits, &states.to_string(), &depth.to_string());
    }
    for limits in LARGE {
        table += &row(limits, "soak", "");
    }
    table
}

fn row(limits: &Limits, states: &str, depth: &str) -> String {
    let limit = match limits.update_to {
        Some(to) => format!("{} → {to}", limits.max_concurrency),
        None => limits.max_concurrency.to_string(),
    };
    let hellos = &limits.hellos[..usize::from(limits.processes)];
    format!(
        "| {} | {} | {} | {}, {hellos:?} | {}, {}, {} | {limit}, {} | {} | {} | {} | {states} | {depth} |\n",
        limits.name,
        limits.about,
        limits.leaders,
        limits.processes,
        limits.batches,
        limits.span,
        limits.attempts,
        limits.slots,
        limits.grants,
        limits.packets,
        also(limits),
    )
}

fn also(limits: &Limits) -> String {
    let also = [
        (limits.late_batch, "late batch"),
        (limits.restart, "restart"),
        (limits.revokes, "Revoke"),
        (limits.loose_slots, "Slots"),
        (limits.stops, "stop"),
        (limits.tolerated.is_some(), "failures"),
        (limits.unknown_commits, "unknown commits"),
        (limits.losses, "losses"),
        (limits.lapses, "lapses"),
        (limits.goodbyes, "Goodbye"),
    ];
    also.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

/// The seeded bugs, and who notices each.
pub fn bug_table() -> String {
    let mut table = String::from(
        "| rule | what happens instead | the model notices in | the simulation notices as |\n| --- | --- | --- | --- |\n",
    );
    for bug in SEEDED_BUGS {
        let simulated = ALSO_SIMULATED.iter().find(|(mutation, _)| *mutation == bug.mutation);
        let simulated = simulated.map(|(_, name)| format!("`{name}`")).unwrap_or_default();
        table += &format!("| {} |{} | {} | {simulated} |\n", bug.rule, bug.about, bug.configuration);
    }
    for (rule, about, name) in ONLY_SIMULATED {
        table += &format!("| {rule} | {about} | not modelled | `{name}` |\n");
    }
    table
}
