//! Plain domain types of Warifu: what a map run is, and what coordinator and workers say to each other.
//!
//! Owns ids, the specification of a map run, states and counts, the rules that both sides must
//! apply alike (retry, tolerance), and the lease protocol as plain data. It deliberately knows no
//! protobuf, no I/O, no clock and no async: `wire` translates these types, shells carry them.
//!
//! Start at [`spec::MapRunSpec`] for what users ask for, at [`protocol`] for the lease protocol.

mod access;
mod adaptive;
mod batch;
mod batch_size;
mod compensation;
mod counts;
mod failure;
mod id;
mod input;
pub mod protocol;
mod range_set;
mod retry;
pub mod spec;
mod state;
pub mod template;
mod time;
mod tolerance;
mod trace;
mod view;

pub use access::{AccessRules, NotAllowed};
pub use adaptive::{AdaptedLimit, AdaptiveConcurrency, LimitReason};
pub use batch::{BatchPlace, BatchState, BatchView};
pub use batch_size::{AutoSize, BatchSize, DEFAULT_MOST_ITEMS, FirstItems};
pub use compensation::{
    Compensation, CompensationCall, CompensationState, CompensationStatus, CompensationTrigger,
};
pub use counts::{BatchCounts, ItemCounts};
pub use failure::{
    CallFailure, ErrorGroup, ErrorSample, FailureCounts, FailureKind, ItemFailure, SourcePlace, error_name,
};
pub use id::{
    BatchOrdinal, HandlerName, IdError, Incarnation, LeaderTerm, LeaseEpoch, LeaseId, MapRunId, ReportNumber,
    SessionId, ShardNumber, WorkerId,
};
pub use input::{CsvEncoding, InputForm, ObjectCompression, SourceObjects, object_address};
pub use range_set::RangeSet;
pub use retry::{JitterStrategy, Retrier, RetryDecision, decide_retry, retry_delay};
pub use state::{LimitedBy, MapRunState, RunError};
pub use time::{Now, Timestamp, WallTime};
pub use tolerance::{Tolerance, TotalItems};
pub use trace::TraceParent;
pub use view::{
    ClusterView, MapRunView, PartRef, ResultLocation, Warning, WorkerHandler, WorkerState, WorkerView,
};
