//! Protocol rules that tests may leave out, to prove that the simulation notices.

/// One rule left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokenRule {
    /// Reports are answered when they arrive, not when they are durable (P7).
    AnswerBeforeDurable,
    /// A report counted before is counted again if it comes again (S2).
    CountRepeats,
    /// Slots are free at the sending of Revoke (S4).
    FreeSlotsAtRevoke,
    /// The end of a stream is taken for the end of the worker (P11).
    StreamEndIsDeath,
    /// A new leader opens no adoption window (P15).
    NoAdoptionWindow,
    /// A new leader takes no slots for occupied by workers it has not heard (P15).
    ForgetUnknownSlots,
    /// Grants go on while the stop is on its way to the store.
    GrantWhileStopping,
    /// Max concurrency is not looked at when a lease brings slots.
    IgnoreMaxConcurrency,
    /// The limit that `adaptiveConcurrency` chose is not looked at when slots are given.
    IgnoreAdaptedLimit,
    /// A new leader adopts leases whose attempt or round is not the durable one (S5).
    AdoptAnyAttempt,
    /// A leader goes on deciding when its writes have not been confirmed for too long (P5).
    NeverStepDown,
    /// Batches of a run with a rate are granted as soon as there is a slot.
    IgnoreRate,
    /// Failed items beyond the tolerance do not stop the run.
    IgnoreTolerance,
    /// A try of a compensation is handed out before its count is durable.
    CompensateUncounted,
    /// A new leader takes the last one's try of a compensation for lost at once.
    ForgetOrphanedTry,
}
