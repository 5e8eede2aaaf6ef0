//! Items that a handler produces, page by page.
//!
//! The reader is called with one item, as any handler is, so that every kind of handler can be one: what it puts out for
//! that item is a page. Pages are asked for one after another; the token of one asks for the next.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use warifu_common::dataset::{Batch, Header, RecordFormat};
use warifu_common::model::protocol::RunFault;
use warifu_common::model::template::RunTemplates;
use warifu_common::model::{CallFailure, FailureKind, HandlerName, error_name};

use super::output::Output;
use super::stage::Staging;
use crate::attempt::after;
use crate::classify::CallEnd;
use crate::clock::wall_now;
use crate::fault;
use crate::handler::{BatchCall, BatchIdentity, Handler, HandlerAnswer, RunFacts};
use crate::made_batch::batch_of_record;
use crate::timed_call::call_within;

/// Calls for one page, the first included: as many failures around a reader as this end the run.
const MAX_ATTEMPTS: u32 = 5;

/// Pages without items, one after another: a reader that gives more makes no progress.
const MAX_EMPTY_PAGES: u32 = 10_000;

/// The longest token: it is sent back and held in memory.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// What a page must look like, for messages.
const PAGE_FORM: &str =
    r#"{"items": […], "nextToken": "…"}, the token left out on the last page, or an array of all items"#;

/// A page as the reader gives it.
struct Page<'a> {
    items: Vec<&'a RawValue>,
    next_token: Option<String>,
}

/// The form with a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenPage<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    #[serde(default)]
    next_token: Option<String>,
}

/// Why a page is not to be had.
enum PageError {
    /// Another attempt may bring it.
    Again(CallFailure),
    /// None will.
    Never(String),
}

impl Staging<'_> {
    /// Writes the items of all pages that the handler `name` gives, a line each.
    pub(super) fn pages(&self, name: &HandlerName, output: &mut Output) -> Result<(), RunFault> {
        let reader = self.reader.as_ref().ok_or_else(|| {
            fault::unreadable_here(format!(
                "this worker has no handler {name}; configure it, or drain the worker"
            ))
        })?;
        if !reader.puts_out() {
            let cause = format!(
                "the handler {name} puts nothing out, so it cannot give items; take exec, http, lambda or one of an SDK"
            );
            return Err(fault::unreadable_here(cause));
        }
        let mut left = self.run.context.spec.item_reader.max_items.unwrap_or(u64::MAX);
        let (mut token, mut number, mut empty) = (None, 0, 0);
        let mut loops = Loops::default();
        loop {
            let place = || format!("{name}, page {number}");
            let answer = self
                .page(&**reader, token.as_deref(), number)
                .map_err(|cause| unreadable(&place(), &cause))?;
            let Page { items, next_token } =
                page_of(&answer).map_err(|cause| unreadable(&place(), &cause))?;
            let mut lines = Vec::new();
            for item in items.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                write_line(item, &mut lines);
            }
            output.write(&lines)?;
            left = left.saturating_sub(items.len() as u64);
            let Some(next) = next_token.filter(|next| !next.is_empty() && left > 0) else { return Ok(()) };
            if next.len() > MAX_TOKEN_BYTES {
                let cause =
                    format!("its token takes {} bytes; at most {MAX_TOKEN_BYTES} are allowed", next.len());
                return Err(unreadable(&place(), &cause));
            }
            if loops.has_seen(&next) {
                let cause =
                    "it gives a token that it gave before, and would be asked for the same pages for ever";
                return Err(unreadable(&place(), cause));
            }
            empty = if items.is_empty() { empty + 1 } else { 0 };
            if empty > MAX_EMPTY_PAGES {
                let cause = format!(
                    "it has given more than {MAX_EMPTY_PAGES} pages without an item, one after another"
                );
                return Err(unreadable(&place(), &cause));
            }
            token = Some(next);
            number += 1;
        }
    }

    /// The text of a page, or why it is not to be had.
    fn page(&self, reader: &dyn Handler, token: Option<&str>, number: u64) -> Result<Vec<u8>, String> {
        let batch = self.request(token, number);
        let mut pause = self.shop.steps.page_pause;
        for attempt in 1.. {
            let failure = match self.shop.runtime.block_on(self.ask(reader, &batch, number, attempt)) {
                Ok(text) => return Ok(text),
                Err(PageError::Never(cause)) => return Err(cause),
                Err(PageError::Again(failure)) => failure,
            };
            if attempt >= MAX_ATTEMPTS {
                let CallFailure { error, cause, .. } = failure;
                return Err(format!("it failed {attempt} times, at last with {error}: {cause}"));
            }
            tracing::warn!(map_run_id = %self.run.context.map_run, page = number, attempt, error = failure.error, cause = failure.cause, "a page of items failed");
            let pausing = self.shop.cancel.run_until_cancelled(tokio::time::sleep(pause));
            if self.shop.runtime.block_on(pausing).is_none() {
                break;
            }
            pause *= 2;
        }
        Err("the run is over".to_owned())
    }

    async fn ask(
        &self,
        reader: &dyn Handler,
        batch: &Arc<Batch>,
        number: u64,
        attempt: u32,
    ) -> Result<Vec<u8>, PageError> {
        let timeout = self.run.context.spec.item_processor.timeout;
        let identity = BatchIdentity {
            batch_number: number,
            first_index: 0,
            attempt,
            round: 0,
            deadline: after(wall_now(), timeout),
        };
        let facts = RunFacts {
            templates: RunTemplates::default(),
            batched: false,
            wants_outputs: true,
            reads_items: true,
            ..(*self.run.facts).clone()
        };
        let call = BatchCall::new(Arc::new(facts), identity, Arc::clone(batch), [0]);
        match call_within(reader, call, timeout, &self.shop.cancel).await {
            CallEnd::Answered(answer) => text_of(answer),
            CallEnd::TimedOut(failure) => Err(PageError::Again(failure)),
            CallEnd::Aborted | CallEnd::NotCalled | CallEnd::GivenUp => {
                Err(PageError::Never("the run is over".to_owned()))
            }
        }
    }

    /// The one item that the reader gets.
    fn request(&self, token: Option<&str>, number: u64) -> Arc<Batch> {
        let context = &self.run.context;
        let request = json!({
            "mapRunId": context.map_run.as_str(),
            "input": context.spec.input,
            "page": number,
            "nextToken": token,
        });
        batch_of_record(RecordFormat::JsonLines, Header::none(), &request.to_string())
    }
}

/// Notices that tokens repeat, after at most three times as many pages as lie on the way there, and holds one token.
#[derive(Default)]
struct Loops {
    held: Option<String>,
    /// Tokens until another one is held, and how many that will be.
    left: u64,
    stride: u64,
}

impl Loops {
    fn has_seen(&mut self, token: &str) -> bool {
        if self.held.as_deref() == Some(token) {
            return true;
        }
        if self.left == 0 {
            self.stride = (self.stride * 2).max(1);
            self.left = self.stride;
            self.held = Some(token.to_owned());
        }
        self.left -= 1;
        false
    }
}

/// What the reader put out.
fn text_of(answer: HandlerAnswer) -> Result<Vec<u8>, PageError> {
    let sorted = |failure: CallFailure| match failure.kind {
        FailureKind::Business if !failure.retryable => {
            PageError::Never(format!("{}: {}", failure.error, failure.cause))
        }
        _ => PageError::Again(failure),
    };
    match answer {
        HandlerAnswer::Answered { outputs, mut failures } => match (failures.pop(), outputs) {
            (Some(failed), _) => Err(sorted(failed.failure)),
            (None, Some(outputs)) if !outputs.is_empty() => Ok(outputs.get(0).unwrap_or_default().to_vec()),
            (None, _) => Err(no_output()),
        },
        HandlerAnswer::Succeeded => Err(no_output()),
        HandlerAnswer::Failed(failure) if failure.error == error_name::INVALID_HANDLER_OUTPUT => {
            Err(PageError::Never(format!("{}: {}", failure.error, failure.cause)))
        }
        HandlerAnswer::Failed(failure) => Err(sorted(failure)),
        HandlerAnswer::RunFailed(fault) => Err(PageError::Never(format!("{}: {}", fault.error, fault.cause))),
    }
}

fn no_output() -> PageError {
    PageError::Never(format!(
        "{}: it puts nothing out; wanted is {PAGE_FORM}",
        error_name::INVALID_HANDLER_OUTPUT
    ))
}

fn page_of(text: &[u8]) -> Result<Page<'_>, String> {
    let invalid = |error: serde_json::Error| {
        format!("{}: {error}; wanted is {PAGE_FORM}", error_name::INVALID_HANDLER_OUTPUT)
    };
    if text.trim_ascii_start().first() == Some(&b'[') {
        let items = serde_json::from_slice(text).map_err(invalid)?;
        return Ok(Page { items, next_token: None });
    }
    let TokenPage { items, next_token } = serde_json::from_slice(text).map_err(invalid)?;
    Ok(Page { items, next_token })
}

/// An item as it stands in the page. Line breaks in JSON are white space.
fn write_line(item: &RawValue, lines: &mut Vec<u8>) {
    lines.extend(item.get().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    lines.push(b'\n');
}

fn unreadable(place: &str, cause: &str) -> RunFault {
    fault::unreadable_here(format!("the items of {place} cannot be had: {cause}"))
}
