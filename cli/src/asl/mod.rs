//! Amazon States Language: a Distributed Map state as a job.
//!
//! Owns which field becomes which, and the words for what cannot be carried over. It deliberately checks no job: the
//! coordinator does, and says what it does not support yet. Pure: text and JSON in, a specification out.
//!
//! **Invariant:** a field of the state is carried over, or named in [`Conversion::losses`] with its path and the reason.
//! Left out in silence are only those that say nothing about the work: `Type`, `Comment`, `Next`, `End`, `QueryLanguage`
//! and `ProcessorConfig`.
//!
//! Start reading at [`convert`], then `find.rs` (which state) and `state.rs` (its fields).

mod batcher;
mod fields;
mod find;
mod function;
mod items;
mod limits;
mod path;
mod processor;
mod reader;
mod retry;
mod state;
mod template;
#[cfg(test)]
mod tests;
mod writer;

use serde_json::Value as Json;
use warifu_common::wire::v1::MapRunSpec;
use warifu_common::wire::{InvalidRequest, codec};

/// Longest definition that is read: what AWS takes at most.
pub(crate) const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// What became of a state.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// The job.
    pub(crate) spec: MapRunSpec,
    /// What it lacks of the state, in the order of the state's fields.
    pub(crate) losses: Vec<Loss>,
}

/// One thing that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// JSON path in the definition.
    pub(crate) path: String,
    /// Why, and what to do instead.
    pub(crate) why: String,
    /// Without it the job reads other items, hands them over in another form, or has other limits than the state.
    pub(crate) changes_the_work: bool,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// Why a definition gives no job at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AslError {
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// There is nothing to convert, or it is not clear what.
    #[error("{0}")]
    NoState(String),
    /// JSONata decides something that the job has to say.
    #[error("JSONata is not supported: {} by an expression; write the value, or a JSONPath with QueryLanguage JSONPath", given(.0))]
    Jsonata(Vec<String>),
    /// A value has a type that the job cannot have there.
    #[error("the state gives a job that cannot be read")]
    Invalid(#[source] InvalidRequest),
}

fn given(paths: &[String]) -> String {
    let verb = if paths.len() == 1 { "is" } else { "are" };
    format!("{} {verb} given", paths.join(", "))
}

/// True for JSON that is a state machine or a state, not a job.
pub(crate) fn is_asl(text: &str) -> bool {
    let is_map = |value: &Json| value.get("Type").is_some_and(|kind| kind == "Map");
    serde_json::from_str(text).is_ok_and(|value: Json| value.get("States").is_some() || is_map(&value))
}

/// Converts a Distributed Map state: the one of the state machine `text`, the one named `state`, or `text` itself.
///
/// `input` is the state's input, if it is known: what the state takes from it by path is then written into the job.
pub(crate) fn convert(text: &str, state: Option<&str>, input: Option<&Json>) -> Result<Conversion, AslError> {
    let definition: Json = serde_json::from_str(text).map_err(AslError::NotJson)?;
    let found = find::find(&definition, state)?;
    let (job, losses) = state::convert(&found, input)?;
    let job = Json::Object(job).to_string();
    let request = codec::parse_job_file(&job, &[]).map_err(AslError::Invalid)?;
    let spec = request.map_run.and_then(|run| run.spec).unwrap_or_default();
    Ok(Conversion { spec, losses })
}
