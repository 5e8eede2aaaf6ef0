//! Why a call failed, or one item of it.

use std::error::Error;

use warifu_common::model::{CallFailure, error_name};

use crate::handler::item_failure;

/// Why a call failed, and all its items with it: SYSTEM, so the job's retry policy may order another attempt.
///
/// Made of any error by `?` or `into()`, also of a text; it is shown with its sources, and named `States.TaskFailed`. Give
/// it a name where jobs should be able to tell it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError {
    name: Option<String>,
    message: String,
}

/// Why one item failed: BUSINESS, so it is not tried again unless it is [`retryable`](Self::retryable) or the job's retry
/// policy has its exact name.
///
/// Made of any error by `?` or `into()`, also of a text; it is shown with its sources, and named `States.TaskFailed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    name: Option<String>,
    message: String,
    retryable: bool,
}

impl HandlerError {
    /// A failure with a name of your own, such as `Geo.Unavailable`: at most 256 bytes, and 1 KiB of message.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: Some(name.into()), message: message.into() }
    }

    pub(super) fn into_failure(self) -> CallFailure {
        CallFailure::system(self.name.unwrap_or_else(|| error_name::TASK_FAILED.to_owned()), self.message)
    }
}

impl ItemError {
    /// A failure with a name of your own, such as `User.NoName`: at most 256 bytes, and 1 KiB of message.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: Some(name.into()), message: message.into(), retryable: false }
    }

    /// Another attempt may help: the retry policy counts as for SYSTEM failures.
    pub fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    pub(super) fn into_failure(self) -> CallFailure {
        item_failure(self.name, self.message, self.retryable)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { name: None, message: with_sources(&*error.into()) }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for ItemError {
    fn from(error: E) -> Self {
        Self { name: None, message: with_sources(&*error.into()), retryable: false }
    }
}

/// The error and what is behind it, as far as each says something new.
fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !message.ends_with(&more) {
            message = format!("{message}: {more}");
        }
        source = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn any_error_becomes_a_failure_with_its_sources() {
        let parse = || -> Result<u32, HandlerError> { Ok("x".parse::<u32>()?) };
        let expected = CallFailure::system("States.TaskFailed", "invalid digit found in string");
        assert_eq!(parse().unwrap_err().into_failure(), expected);
        let in_context = "x".parse::<u32>().context("cannot read the number").unwrap_err();
        let expected = "cannot read the number: invalid digit found in string";
        assert_eq!(HandlerError::from(in_context).message, expected);
        assert_eq!(
            ItemError::from("a text").into_failure(),
            CallFailure::business("States.TaskFailed", "a text")
        );
        let named = ItemError::new("Geo.Busy", "try later").retryable().into_failure();
        assert_eq!((named.error.as_str(), named.retryable), ("Geo.Busy", true));
    }
}
