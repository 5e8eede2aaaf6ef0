//! Errors as people read them: what, where, what to do. The one place that prints an error's chain.

use tonic::Status;
use warifu_common::status::CallError;
use warifu_common::wire::{FieldViolation, InvalidRequest};

use crate::text;

/// Something that the user, not the program, has to mend.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Problem {
    what: String,
    advice: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Problem {
    /// States what is wrong, and where.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), advice: Vec::new(), source: None }
    }

    /// Names the error behind it, which decides about the exit status.
    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Adds a line that says what to do.
    pub(crate) fn advise(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }
}

/// An error in full: its chain on the first line, wrong fields one per line, then what to do.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut rendered = Rendered::default();
    for cause in error.chain() {
        rendered.add(cause);
    }
    let mut text = format!("error: {}\n", rendered.messages.join(": "));
    text.extend(rendered.violations.iter().map(|line| format!("  {line}\n")));
    let advice = if rendered.advice.is_empty() { rendered.general_advice } else { rendered.advice };
    text.extend(advice.iter().map(|line| format!("hint: {line}\n")));
    text
}

/// The parts of an error's text, gathered along its chain.
#[derive(Default)]
struct Rendered {
    messages: Vec<String>,
    violations: Vec<FieldViolation>,
    /// From who knows what the command was to do.
    advice: Vec<String>,
    /// From the answer alone: for when nobody knew better.
    general_advice: Vec<String>,
}

impl Rendered {
    fn add(&mut self, cause: &(dyn std::error::Error + 'static)) {
        if let Some(status) = cause.downcast_ref::<Status>() {
            let error = CallError::from(status);
            self.general_advice.extend(advice_for(&error));
            match error.violations.is_empty() {
                true => self.add_message(error.message),
                false => self.add_violations(error.violations),
            }
        } else if let Some(InvalidRequest { violations }) = cause.downcast_ref::<InvalidRequest>() {
            self.add_violations(violations.clone());
        } else {
            self.add_message(cause.to_string());
        }
        if let Some(problem) = cause.downcast_ref::<Problem>() {
            self.advice.extend(problem.advice.iter().cloned());
        }
    }

    fn add_message(&mut self, message: String) {
        // A wrapper often repeats what it wraps.
        if !self.messages.last().is_some_and(|above| above.contains(&message)) {
            self.messages.push(message);
        }
    }

    fn add_violations(&mut self, violations: Vec<FieldViolation>) {
        if self.messages.is_empty() {
            self.messages.push("the request is invalid".to_owned());
        }
        self.violations.extend(violations);
    }
}

/// What to do about an answer whose own message cannot know the command line.
fn advice_for(error: &CallError) -> Option<String> {
    let advice = match error.reason.as_deref() {
        Some("MAP_RUN_NOT_FOUND") => "`warifu list` shows the runs that there are",
        Some("WORKER_NOT_FOUND") => "`warifu workers` shows the workers that there are",
        Some("MAP_RUN_EXISTS") => "choose another --id, or leave it out",
        Some("HANDLER_NOT_AVAILABLE") => "`warifu workers` shows which handlers there are",
        Some("UNAUTHENTICATED") => "set WARIFU_TOKEN to a valid token",
        Some("OUTCOME_UNKNOWN") => "look with `warifu get` before repeating it",
        Some(_) | None => {
            return error.retry_after.map(|pause| format!("try again in {}", text::time_span(pause)));
        }
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_advice() {
        let error = anyhow::Error::from(Problem::new("no file `users.csv`").advise("name one that exists"));
        assert_eq!(render(&error), "error: no file `users.csv`\nhint: name one that exists\n");
    }

    #[test]
    fn a_problem_knows_better_what_to_do_than_the_answer_behind_it() {
        let answer = Status::unavailable("nobody leads");
        let problem = Problem::new("cannot stop the run").advise("stop it later").caused_by(answer);
        let error = anyhow::Error::from(problem);
        assert_eq!(render(&error), "error: cannot stop the run: nobody leads\nhint: stop it later\n");
        assert_eq!(crate::exit::Exit::of_error(&error), crate::exit::Exit::Unreachable);
    }

    #[test]
    fn a_chain_is_one_line_without_repetitions() {
        let cause: Result<(), Status> = Err(Status::not_found("map run `x` does not exist"));
        let error = cause.context("get mapRuns/x").expect_err("the answer is an error");
        assert_eq!(render(&error), "error: get mapRuns/x: map run `x` does not exist\n");
        let repeated = anyhow::anyhow!("disk is full").context("write a.csv: disk is full");
        assert_eq!(render(&repeated), "error: write a.csv: disk is full\n");
    }

    #[test]
    fn wrong_fields_stand_one_per_line() {
        let wrong = InvalidRequest {
            violations: vec![
                FieldViolation::new("spec.item_reader.key", "must not be empty"),
                FieldViolation::new("", "the text is empty"),
            ],
        };
        let answer: Result<(), InvalidRequest> = Err(wrong);
        let error = answer.context("the job file a.yaml cannot be used").expect_err("the answer is an error");
        assert_eq!(
            render(&error),
            "error: the job file a.yaml cannot be used\n  \
             spec.item_reader.key: must not be empty\n  the text is empty\n"
        );
    }

    #[test]
    fn an_answer_without_a_message_still_says_something() {
        let error = anyhow::Error::from(Status::permission_denied(""));
        assert!(render(&error).starts_with("error: the call failed: "), "{}", render(&error));
    }
}
