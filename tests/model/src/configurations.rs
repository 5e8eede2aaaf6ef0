//! The table of configurations.

use crate::limits::Limits;

const BASE: Limits = Limits::SMALLEST;
const TWO_LEADERS: Limits = Limits { leaders: 2, grants: 1, ..BASE };

/// What tests exhaust.
pub const SMALL: &[Limits] = &[
    Limits {
        name: "both workers",
        about: "each worker may meet either leader twice, leases of both batches",
        hellos: [2; 3],
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "slots",
        about: "leases of one and two of three batches with none, one or two slots, Slots, Shrink, Revoke",
        batches: 3,
        slots: 2,
        max_concurrency: 2,
        loose_slots: true,
        revokes: true,
        ..BASE
    },
    Limits {
        name: "parts",
        about: "partial reports, second attempts, revocations, streams that lose what is under way, reconnects",
        attempts: 2,
        hellos: [2; 3],
        revokes: true,
        losses: true,
        ..BASE
    },
    Limits {
        name: "reordering",
        about: "messages of an older stream arrive after those of a newer one, sessions lapse, reports come late",
        batches: 1,
        span: 1,
        attempts: 2,
        hellos: [2, 1, 1],
        grants: 3,
        packets: 2,
        lapses: true,
        ..BASE
    },
    Limits {
        name: "stop",
        about: "failures beyond the tolerance, a user's stop, unknown commits, late writes, a take-over",
        tolerated: Some(0),
        stops: true,
        unknown_commits: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "take-over",
        about: "the adoption window, with a batch that is composed in it",
        span: 1,
        late_batch: true,
        hellos: [2, 1, 1],
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "spans",
        about: "a lease of two batches is adopted, reported in parts, and revoked, around a take-over",
        hellos: [2, 1, 1],
        revokes: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "second attempt",
        about: "an attempt is counted, its answer is lost with the leader, the lease is claimed from the next one",
        batches: 1,
        span: 1,
        attempts: 2,
        hellos: [2; 3],
        unknown_commits: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "way back",
        about: "a worker that has said Hello to the new leader speaks to the old one again",
        span: 1,
        hellos: [3, 1, 1],
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "old leader",
        about: "a deposed leader takes a worker of the new one for gone",
        batches: 1,
        span: 1,
        hellos: [2, 1, 1],
        grants: 2,
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "restart",
        about: "a worker crashes and starts again, around a take-over; Goodbye",
        processes: 3,
        restart: true,
        batches: 1,
        span: 1,
        hellos: [2, 1, 2],
        grants: 2,
        goodbyes: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "limit lowered",
        about: "maxConcurrency comes down from two to one, around a take-over",
        span: 1,
        batches: 3,
        late_batch: true,
        max_concurrency: 2,
        update_to: Some(1),
        grants: 2,
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "limit raised",
        about: "maxConcurrency goes up from one to two, around a take-over",
        span: 1,
        max_concurrency: 1,
        update_to: Some(2),
        grants: 2,
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "three leaders",
        about: "two take-overs, the second while the leader in between may still decide",
        batches: 1,
        span: 1,
        leaders: 3,
        hellos: [2, 1, 1],
        lapses: true,
        ..TWO_LEADERS
    },
];

/// States and depth of each small configuration, by its name.
pub const EXPECTED: &[(&str, usize, usize)] = &[
    ("both workers", 29_464_528, 60),
    ("slots", 70_526, 45),
    ("parts", 1_986_725, 59),
    ("reordering", 238_485, 52),
    ("stop", 86_349, 35),
    ("take-over", 777_528, 48),
    ("spans", 125_196, 45),
    ("second attempt", 72_731, 46),
    ("way back", 3_562_826, 53),
    ("old leader", 431_286, 49),
    ("restart", 1_320_306, 55),
    ("limit lowered", 836_656, 62),
    ("limit raised", 654_586, 58),
    ("three leaders", 3_034_812, 56),
];

/// What a soak explores: none is known to be exhausted within a test's time.
pub const LARGE: &[Limits] = &[
    Limits {
        name: "large limit",
        about: "maxConcurrency comes down, and a worker that held slots is adopted",
        span: 1,
        batches: 3,
        late_batch: true,
        max_concurrency: 2,
        update_to: Some(1),
        hellos: [2, 1, 1],
        grants: 2,
        ..TWO_LEADERS
    },
    Limits {
        name: "large spans",
        about: "take-over with a lease of two batches and one that is composed in the window",
        batches: 3,
        late_batch: true,
        hellos: [2, 1, 1],
        lapses: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "large window",
        about: "\"both workers\" with two messages under way, revocations, losses and unknown commits",
        hellos: [2; 3],
        packets: 2,
        grants: 2,
        revokes: true,
        losses: true,
        lapses: true,
        unknown_commits: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "large three leaders",
        about: "two take-overs, three batches in spans of two, two slots",
        batches: 3,
        leaders: 3,
        slots: 2,
        max_concurrency: 2,
        hellos: [3; 3],
        loose_slots: true,
        lapses: true,
        unknown_commits: true,
        ..TWO_LEADERS
    },
    Limits {
        name: "large restart",
        about: "restarts and Goodbye with spans of two, and second attempts",
        processes: 3,
        restart: true,
        attempts: 2,
        hellos: [2; 3],
        grants: 2,
        lapses: true,
        goodbyes: true,
        ..TWO_LEADERS
    },
];
