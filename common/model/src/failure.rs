//! Failures of handler calls and of single items.

use serde::{Deserialize, Serialize};

use crate::{WallTime, WorkerId};

/// Failure names that the platform itself gives.
pub mod error_name {
    /// More items failed than the run tolerates.
    pub const TOLERANCE_EXCEEDED: &str = "States.ExceedToleratedFailureThreshold";
    /// The source cannot be read or parsed.
    pub const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
    /// Results cannot be written.
    pub const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";
    /// A handler call, or the run, took longer than its timeout.
    pub const TIMEOUT: &str = "States.Timeout";
    /// A path of a template, or `outputPath`, names nothing.
    pub const PARAMETER_PATH_FAILURE: &str = "States.ParameterPathFailure";
    /// Matches every failure but a timeout in `errorEquals`.
    pub const TASK_FAILED: &str = "States.TaskFailed";
    /// Matches every failure in `errorEquals`.
    pub const ALL: &str = "States.ALL";
    /// The source object changed while the run read it.
    pub const SOURCE_CHANGED: &str = "Warifu.SourceChanged";
    /// A record is over `max_record_bytes`.
    pub const RECORD_TOO_LARGE: &str = "Warifu.RecordTooLarge";
    /// A batch lost its worker too often.
    pub const WORKER_LOST: &str = "Warifu.WorkerLost";
    /// A handler's answer is not of the documented form.
    pub const INVALID_HANDLER_OUTPUT: &str = "Warifu.InvalidHandlerOutput";
    /// A configured column is missing from an item.
    pub const COLUMN_MISSING: &str = "Warifu.ColumnMissing";
    /// A record is not JSON.
    pub const INVALID_JSON: &str = "Warifu.InvalidJson";
    /// A field holds bytes that are not UTF-8.
    pub const INVALID_TEXT: &str = "Warifu.InvalidText";
    /// A user stopped the run, or it failed while the batch was in progress.
    pub const ABORTED: &str = "Warifu.Aborted";
}

/// Who has to act on a failure: the data's owner, or the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The item itself is at fault; trying again would fail again.
    Business,
    /// Something around it is at fault; trying again may help.
    System,
}

/// Why a handler call, or one item of it, failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallFailure {
    /// A failure name (`Sql.23505`, `States.Timeout`, a handler's own `errorType`); at most 256 bytes.
    pub error: String,
    /// What happened; at most 1 KiB on the wire.
    pub cause: String,
    /// Whose fault it is.
    pub kind: FailureKind,
    /// The handler asked for another attempt although it is a business failure.
    pub retryable: bool,
}

impl CallFailure {
    /// A failure around the item: may be retried.
    pub fn system(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cause.into(), kind: FailureKind::System, retryable: false }
    }

    /// A failure of the item itself: not retried unless the job names it.
    pub fn business(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cause.into(), kind: FailureKind::Business, retryable: false }
    }
}

/// Items that failed for good, by whose fault it is. Aborted ones are no failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailureCounts {
    /// The items themselves are at fault.
    pub business: u64,
    /// Something around them is.
    pub system: u64,
}

impl FailureCounts {
    /// Adds `items` that failed for good.
    pub fn add(&mut self, kind: FailureKind, items: u64) {
        match kind {
            FailureKind::Business => self.business += items,
            FailureKind::System => self.system += items,
        }
    }

    /// Of both kinds.
    pub fn sum(&self) -> u64 {
        self.business + self.system
    }
}

/// Where an item came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourcePlace {
    /// First byte of the record in its object.
    pub byte_offset: u64,
    /// Bytes of the record, without its terminator.
    pub byte_length: u64,
    /// Line in the object on which the record begins, from 1.
    pub line: u64,
}

/// One item that failed for good, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// The item's global index.
    pub index: u64,
    /// Its batch's global number.
    pub batch_number: u64,
    /// Where it came from.
    pub place: SourcePlace,
    /// Why it failed.
    pub failure: CallFailure,
    /// True if the last attempt timed out.
    pub timed_out: bool,
    /// Handler calls that it took.
    pub attempts: u32,
    /// Who ran the last attempt.
    pub worker: WorkerId,
    /// When its failure was counted.
    pub fail_time: WallTime,
}

/// Failures of one error name, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorGroup {
    /// The failure name that they share.
    pub error: String,
    /// Whose fault they are.
    pub kind: FailureKind,
    /// How many items.
    pub count: u64,
    /// When the first was counted; of a name that came up behind many others, when it had overtaken one.
    pub first_time: WallTime,
    /// When the latest was counted.
    pub last_time: WallTime,
    /// The first few, with place and message.
    pub samples: Vec<ErrorSample>,
}

/// One example of an error group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorSample {
    /// The item's global index.
    pub index: u64,
    /// Where it came from.
    pub place: SourcePlace,
    /// What happened.
    pub message: String,
}
