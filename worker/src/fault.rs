//! What ends a run, put into words: the failure's name, what happened where, and what to do.

use warifu_common::dataset::{ConvertError, DataProblem, ProbeError};
use warifu_common::error_chain::Chain;
use warifu_common::model::error_name;
use warifu_common::model::protocol::RunFault;
use warifu_common::object_store::{ObjectError, ObjectLocation};

use crate::text::cut_cause;

/// The source cannot be read.
pub(crate) fn source_unreadable(error: &ObjectError) -> RunFault {
    match error {
        ObjectError::Changed { .. } => fault(error_name::SOURCE_CHANGED, Chain(error).to_string()),
        _ => fault(error_name::ITEM_READER_FAILED, Chain(error).to_string()),
    }
}

/// The source's header cannot be used.
pub(crate) fn header_unusable(place: &str, error: &ProbeError) -> RunFault {
    let cause = match error {
        ProbeError::NeedMore { .. } => format!("{place}: the header does not end within the object"),
        ProbeError::Header { problem, offset, detail } => {
            format!("{problem} ({place}, byte {offset}: {detail})")
        }
    };
    fault(error_name::ITEM_READER_FAILED, cause)
}

/// The source's data cannot be read as the job demands.
pub(crate) fn data_unreadable(place: &str, problem: &DataProblem) -> RunFault {
    let error = match problem {
        DataProblem::RecordTooLarge { .. } => error_name::RECORD_TOO_LARGE,
        DataProblem::QuoteOpenAtEnd { .. } => error_name::ITEM_READER_FAILED,
        DataProblem::ItemsMissing { .. } => error_name::SOURCE_CHANGED,
    };
    fault(error, format!("{place}: {problem}"))
}

/// An object of several cannot be put together with the others.
pub(crate) fn not_convertible(place: &ObjectLocation, error: &ConvertError) -> RunFault {
    let place = &place.to_string();
    match error {
        ConvertError::Header(error) => header_unusable(place, error),
        ConvertError::Data(problem) => data_unreadable(place, problem),
    }
}

/// What a source is rewritten as cannot be written.
pub(crate) fn staging_failed(error: &ObjectError) -> RunFault {
    let cause = format!("the source cannot be rewritten to be cut: {}", Chain(error));
    fault(error_name::ITEM_READER_FAILED, cause)
}

/// Result files cannot be written.
pub(crate) fn results_unwritable(error: &ObjectError) -> RunFault {
    fault(error_name::RESULT_WRITER_FAILED, Chain(error).to_string())
}

/// This worker must not read for the run.
pub(crate) fn unreadable_here(cause: impl Into<String>) -> RunFault {
    fault(error_name::ITEM_READER_FAILED, cause.into())
}

fn fault(error: &str, cause: String) -> RunFault {
    RunFault { error: error.to_owned(), cause: cut_cause(cause) }
}
