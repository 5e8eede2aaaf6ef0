//! The table of configurations.

use crate::limits::Limits;

const BASE: Limits = Limits::SMALLEST;

/// What tests exhaust.
pub const SMALL: &[Limits] = &[
    Limits {
        name: "take-over",
        about: "two leaders, two workers, leases of both batches",
        leaders: 2,
        hellos: 2,
        grants: 1,
        lapses: true,
        ..BASE
    },
    Limits {
        name: "slots",
        about: "leases of one and two batches with none, one or two slots, Slots, Shrink, Revoke",
        batches: 3,
        slots: 2,
        max_concurrency: 2,
        loose_slots: true,
        revokes: true,
        ..BASE
    },
    Limits {
        name: "parts",
        about: "partial reports, revocations, second attempts, reports over reconnects, unknown commits",
        attempts: 2,
        hellos: 2,
        revokes: true,
        losses: true,
        ..BASE
    },
    Limits {
        name: "restart",
        about: "a worker crashes and starts again, another says Goodbye",
        processes: 3,
        restart: true,
        batches: 1,
        span: 1,
        leaders: 2,
        grants: 1,
        lapses: true,
        goodbyes: true,
        ..BASE
    },
    Limits {
        name: "stop",
        about: "failures beyond the tolerance, a user's stop, unknown commits and late writes over a take-over",
        leaders: 2,
        grants: 1,
        tolerated: Some(0),
        stops: true,
        unknown_commits: true,
        ..BASE
    },
    Limits {
        name: "limit lowered",
        about: "maxConcurrency comes down from two to one, around a take-over",
        max_concurrency: 2,
        update_to: Some(1),
        leaders: 2,
        grants: 2,
        span: 1,
        lapses: true,
        ..BASE
    },
    Limits {
        name: "limit raised",
        about: "maxConcurrency goes up from one to two, around a take-over",
        max_concurrency: 1,
        update_to: Some(2),
        leaders: 2,
        grants: 2,
        span: 1,
        lapses: true,
        ..BASE
    },
    Limits {
        name: "three leaders",
        about: "two take-overs, the second while the first leader may still decide",
        span: 1,
        leaders: 3,
        hellos: 2,
        grants: 1,
        lapses: true,
        batches: 2,
        ..BASE
    },
];
