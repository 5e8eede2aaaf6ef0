//! Seeded bugs: one rule of the protocol left out, or replaced by a more obvious one that is wrong.

/// A seeded bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// A worker whose session lapsed lets its handlers run on.
    LapseKeepsRunning,
    /// The answer to a Hello that was sent before the session lapsed still counts.
    AnswerAfterLapseTaken,
    /// More handler calls run than slots are held.
    HeldSlotsIgnored,
    /// Slots go back while their handler still runs.
    SlotsShrunkWhileRunning,
    /// A report that is sent again takes in what was done meanwhile, under the same number.
    ReportsRegrouped,
    /// Grants of an older stream count.
    OldStreamsHeeded,
    /// A worker goes back to a leader of an older term.
    OldLeadersHeeded,
    /// A worker learns a leader's term from Welcome only, not before it says Hello.
    TermLearntFromWelcome,
    /// A revoked batch is returned although its handler runs on.
    RunningReturned,
    /// A leader's expiry may come before the worker's own lapse.
    ExpiryBeforeLapse,
    /// A new leader opens no adoption window.
    NoAdoptionWindow,
    /// A new leader takes no slots for occupied by workers that it has not heard.
    UnknownForgotten,
    /// A new leader takes `maxConcurrency`, not `M`, for occupied.
    UnknownIsLimit,
    /// A leader goes on deciding when its writes have not been confirmed for too long.
    NeverStepDown,
    /// A new leader grants while the last one may still decide.
    GrantsBeforeStepDownWait,
    /// A new leader writes a stop while the last one may still grant.
    StopBeforeStepDownWait,
    /// The adoption window ends before the sessions of the last leader have.
    WindowTooShort,
    /// The window ends without the write that removes the unheard from the roster.
    WindowEndsWithoutRoster,
    /// An expiry takes effect before the roster says so.
    ExpiryBeforeRoster,
    /// A dead process's slots are free before the roster says so.
    DeadReleasedAtOnce,
    /// A process gets a lease before the roster names it.
    GrantsBeforeRoster,
    /// A lease is adopted whatever attempt it was granted for.
    AnyAttemptAdopted,
    /// A Hello is adopted although the window is shut.
    AdoptedAfterWindow,
    /// Slots are free at the sending of Revoke.
    RevokeFreesSlots,
    /// Batches are pending at the sending of Revoke.
    RevokeRequeues,
    /// A returned batch gives its slot back.
    ReturnFreesSlots,
    /// The end of a stream is taken for the end of the worker.
    StreamEndIsDeath,
    /// A later arrival counts for a newer Hello.
    HelloNumberIgnored,
    /// Shrink and Returned of an older session count.
    AnySessionHeeded,
    /// A lease that a Hello does not name stays.
    MissingKept,
    /// A batch in a commit in flight is requeued like any other.
    CommittingRequeued,
    /// Reports are answered when they arrive, not when they are durable.
    AnsweredBeforeDurable,
    /// A report counted before is counted again if it comes again.
    RepeatsCounted,
    /// A report that is in a commit already is staged once more.
    StagedTwice,
    /// A report that is in a commit is refused instead of left unanswered.
    UnderWayRefused,
    /// What fits of a report is counted, and the whole answered `Accepted`.
    PartsAccepted,
    /// A report counts for its batches, whichever lease they are under.
    TokenNotCompared,
    /// A report counts for the attempt that is due, whichever it was granted for.
    AttemptNotCompared,
    /// Tokens are compared without their term.
    TermNotCompared,
    /// What another lease counted is answered `Accepted`.
    SupersededAccepted,
    /// A batch that is leased is granted once more.
    LeasedGrantedAgain,
    /// `maxConcurrency` is not looked at.
    LimitIgnored,
    /// Grants go on while a commit with the stop is in flight.
    GrantsWhileStopping,
    /// Grants go on after the stop.
    GrantsAfterStop,
    /// The stop is written after the failure that crossed the tolerance, not with it.
    StopInLaterWrite,
    /// Failed batches beyond the tolerance do not stop the run.
    ToleranceIgnored,
    /// A write is not guarded by the term.
    WritesUnguarded,
    /// A transaction whose outcome is unknown is sent once more.
    UnknownRetried,
    /// A transaction whose outcome is unknown is taken for written.
    UnknownIsDone,
    /// A transaction whose outcome is unknown is taken for refused.
    UnknownIsRefused,
    /// A new leader reads the store before its first guarded write.
    RecoveryBeforeGuard,
    /// `M` comes down at a take-over.
    CeilingLoweredAtTakeOver,
    /// `M` comes down with `maxConcurrency`, whoever still holds slots.
    CeilingLoweredEarly,
    /// `maxConcurrency` goes up without `M`.
    CeilingRaisedLater,
}
