//! Seeded bugs: one rule of the protocol left out, or replaced by a more obvious one that is wrong.

/// A seeded bug as the table of bugs has it.
#[derive(Debug, Clone, Copy)]
pub struct SeededBug {
    /// Which.
    pub mutation: Mutation,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// What happens instead of the rule.
    pub about: &'static str,
    /// The configuration in which the search finds it.
    pub configuration: &'static str,
}

/// Rules that the simulation leaves out of the real code, too: the name that it has there.
pub const ALSO_SIMULATED: &[(Mutation, &str)] = &[
    (Mutation::AnsweredBeforeDurable, "BrokenRule::AnswerBeforeDurable"),
    (Mutation::RepeatsCounted, "BrokenRule::CountRepeats"),
    (Mutation::RevokeFreesSlots, "BrokenRule::FreeSlotsAtRevoke"),
    (Mutation::StreamEndIsDeath, "BrokenRule::StreamEndIsDeath"),
    (Mutation::NoAdoptionWindow, "BrokenRule::NoAdoptionWindow"),
    (Mutation::UnknownForgotten, "BrokenRule::ForgetUnknownSlots"),
    (Mutation::GrantsWhileStopping, "BrokenRule::GrantWhileStopping"),
    (Mutation::LimitIgnored, "BrokenRule::IgnoreMaxConcurrency"),
    (Mutation::AnyAttemptAdopted, "BrokenRule::AdoptAnyAttempt"),
    (Mutation::NeverStepDown, "BrokenRule::NeverStepDown"),
    (Mutation::ToleranceIgnored, "BrokenRule::IgnoreTolerance"),
    (Mutation::LapseKeepsRunning, "BrokenSessionRule::KeepLapsedLeases"),
    (Mutation::HeldSlotsIgnored, "BrokenSessionRule::IgnoreHeldSlots"),
];

/// Rules that the model does not have, and the simulation does: rule, what is left out, its name there.
pub const ONLY_SIMULATED: &[(&str, &str, &str)] = &[(
    "S2",
    "Refused reports are sent again as they are, instead of regrouped by what is left.",
    "BrokenSessionRule::NeverForgetRefused",
)];

macro_rules! seeded_bugs {
    ($(#[doc = $about:literal] $name:ident: $rule:literal in $configuration:literal,)+) => {
        /// A seeded bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutation {
            $(#[doc = $about] $name,)+
        }

        /// Every bug that the search finds, and where.
        pub const SEEDED_BUGS: &[SeededBug] = &[
            $(SeededBug {
                mutation: Mutation::$name,
                rule: $rule,
                about: $about,
                configuration: $configuration,
            },)+
        ];
    };
}

seeded_bugs! {
    /// A worker whose session lapsed lets its handlers run on.
    LapseKeepsRunning: "P3" in "reordering",
    /// The answer to a Hello that was sent before the session lapsed still counts.
    AnswerAfterLapseTaken: "P3" in "reordering",
    /// More handler calls run than slots are held.
    HeldSlotsIgnored: "S1" in "slots",
    /// Slots go back while their handler still runs.
    SlotsShrunkWhileRunning: "S1" in "slots",
    /// A report that is sent again takes in what was done meanwhile, under the same number.
    ReportsRegrouped: "S2" in "slots",
    /// Grants of an older stream count.
    OldStreamsHeeded: "S5, P4" in "reordering",
    /// A worker goes back to a leader of an older term.
    OldLeadersHeeded: "P14" in "way back",
    /// A new leader does not wait any more for a worker that has said Hello, although the Welcome may be lost.
    HelloIsEnough: "P14, P15" in "way back",
    /// And takes it for gone by when it said Hello, although it may have gone back to the old leader.
    ExpiryWhileWaitedFor: "P14, P15" in "way back",
    /// A revoked batch is returned although its handler runs on.
    RunningReturned: "S4, P16" in "slots",
    /// A leader's expiry may come before the worker's own lapse.
    ExpiryBeforeLapse: "P1, P2" in "reordering",
    /// A new leader opens no adoption window.
    NoAdoptionWindow: "P15" in "take-over",
    /// A new leader takes no slots for occupied by workers that it has not heard.
    UnknownForgotten: "P15" in "take-over",
    /// A new leader takes `maxConcurrency`, not `M`, for occupied.
    UnknownIsLimit: "P15, M" in "large limit",
    /// A leader goes on deciding when its writes have not been confirmed for too long.
    NeverStepDown: "P5" in "stop",
    /// A new leader writes a stop while the last one may still grant.
    StopBeforeStepDownWait: "P15" in "stop",
    /// The adoption window ends before the sessions of the last leader have.
    WindowTooShort: "P15" in "take-over",
    /// The window ends without the write that removes the unheard from the roster.
    WindowEndsWithoutRoster: "P15, P2" in "three leaders",
    /// An expiry takes effect before the roster says so.
    ExpiryBeforeRoster: "P2" in "old leader",
    /// A dead process's slots are free before the roster says so.
    DeadReleasedAtOnce: "P12" in "restart",
    /// A process gets a lease before the roster names it.
    GrantsBeforeRoster: "roster" in "take-over",
    /// A lease is adopted whatever attempt it was granted for.
    AnyAttemptAdopted: "S5" in "second attempt",
    /// A Hello is adopted although the window is shut.
    AdoptedAfterWindow: "S5" in "take-over",
    /// Slots are free at the sending of Revoke.
    RevokeFreesSlots: "S4, P20" in "slots",
    /// Batches are pending at the sending of Revoke.
    RevokeRequeues: "S4, P20" in "slots",
    /// A returned batch gives its slot back.
    ReturnFreesSlots: "S4" in "slots",
    /// The end of a stream is taken for the end of the worker.
    StreamEndIsDeath: "P11" in "slots",
    /// A later arrival counts for a newer Hello.
    HelloNumberIgnored: "P13" in "reordering",
    /// Shrink and Returned of an older session count.
    AnySessionHeeded: "S2" in "reordering",
    /// A lease that a Hello does not name stays.
    MissingKept: "P9" in "parts",
    /// A batch in a commit in flight is requeued like any other.
    CommittingRequeued: "S3" in "reordering",
    /// Reports are answered when they arrive, not when they are durable.
    AnsweredBeforeDurable: "P7" in "slots",
    /// A report counted before is counted again if it comes again.
    RepeatsCounted: "S2, P6" in "parts",
    /// A report that is in a commit already is staged once more.
    StagedTwice: "S2" in "slots",
    /// A report that is in a commit is refused instead of left unanswered.
    UnderWayRefused: "P8" in "slots",
    /// A report counts for its batches, whichever lease they are under.
    TokenNotCompared: "P6" in "reordering",
    /// A report counts for the attempt that is due, whichever lease and attempt it is of.
    AttemptNotCompared: "S2" in "reordering",
    /// Tokens are compared without their term.
    TermNotCompared: "P6" in "take-over",
    /// What another lease counted is answered `Accepted`.
    SupersededAccepted: "S3" in "reordering",
    /// A batch that is leased is granted once more.
    LeasedGrantedAgain: "P6" in "slots",
    /// `maxConcurrency` is not looked at.
    LimitIgnored: "S1" in "slots",
    /// Grants go on while a commit with the stop is in flight.
    GrantsWhileStopping: "stop" in "stop",
    /// Grants go on after the stop.
    GrantsAfterStop: "stop" in "stop",
    /// The stop is written after the failure that crossed the tolerance, not with it.
    StopInLaterWrite: "stop" in "stop",
    /// Failed batches beyond the tolerance do not stop the run.
    ToleranceIgnored: "tolerance" in "stop",
    /// A write is not guarded by the term.
    WritesUnguarded: "store" in "take-over",
    /// A transaction whose outcome is unknown is sent once more.
    UnknownRetried: "store, P8" in "stop",
    /// A transaction whose outcome is unknown is taken for written.
    UnknownIsDone: "store, P8" in "stop",
    /// A transaction whose outcome is unknown is taken for refused.
    UnknownIsRefused: "store, P8" in "stop",
    /// A new leader reads the store before its first guarded write.
    RecoveryBeforeGuard: "store" in "take-over",
    /// `M` comes down at a take-over.
    CeilingLoweredAtTakeOver: "M" in "limit lowered",
    /// `M` comes down with `maxConcurrency`, whoever still holds slots.
    CeilingLoweredEarly: "M" in "limit lowered",
    /// `maxConcurrency` goes up without `M`.
    CeilingRaisedLater: "M" in "limit raised",
}

impl Mutation {
    /// True if it harms progress alone: no property of safety notices it.
    pub fn stops_progress(self) -> bool {
        matches!(self, Mutation::MissingKept | Mutation::AnswerAfterLapseTaken | Mutation::AnyAttemptAdopted)
    }
}
