//! A function as a handler.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::batch::sort_items;
use super::{Batch, BatchOutcome, Context, HandlerError};
use crate::handler::{BatchCall, Handler, HandlerAnswer};

/// Calls a function with items of type `T`.
struct Function<F, T> {
    function: F,
    items: PhantomData<fn() -> T>,
}

/// The handler that calls `function`.
pub(crate) fn handler_of<T, F, A, O, E>(function: F) -> Arc<dyn Handler>
where
    T: DeserializeOwned + Send + 'static,
    F: Fn(Batch<T>, Context) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O, E>> + Send + 'static,
    O: Into<BatchOutcome> + Send,
    E: Into<HandlerError> + Send,
{
    Arc::new(Function { function, items: PhantomData })
}

#[async_trait]
impl<T, F, A, O, E> Handler for Function<F, T>
where
    T: DeserializeOwned + Send + 'static,
    F: Fn(Batch<T>, Context) -> A + Send + Sync + 'static,
    A: Future<Output = Result<O, E>> + Send + 'static,
    O: Into<BatchOutcome> + Send,
    E: Into<HandlerError> + Send,
{
    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let (batch, sent) = sort_items::<T>(&call);
        if batch.is_empty() {
            return HandlerAnswer::Answered { outputs: None, failures: sent.invalid };
        }
        match (self.function)(batch, Context::new(call, cancel)).await {
            Ok(outcome) => outcome.into().into_answer(sent),
            Err(error) => HandlerAnswer::Failed(error.into().into_failure()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use warifu_common::model::{CallFailure, error_name};

    use super::*;
    use crate::sdk::{ITEM_INVALID, ItemError};
    use crate::testing::call_of;

    #[derive(Deserialize)]
    struct Number {
        n: i32,
    }

    const CSV: &str = "n\n1\nx\n-3\n";

    /// The answer for items 700 to 702 in short: `=` an output, `!` a failure.
    async fn shown<O, E, A>(function: impl Fn(Batch<Number>, Context) -> A + Send + Sync + 'static) -> String
    where
        A: Future<Output = Result<O, E>> + Send + 'static,
        O: Into<BatchOutcome> + Send + 'static,
        E: Into<HandlerError> + Send + 'static,
    {
        match handler_of(function).call(call_of(CSV), CancellationToken::new()).await {
            HandlerAnswer::Answered { outputs, failures } => {
                let item = |position| match failures.iter().find(|failed| failed.position == position) {
                    Some(failed) => format!("!{}", failed.failure.error),
                    None => {
                        let output = outputs.as_ref().and_then(|outputs| outputs.get(position));
                        format!("={}", String::from_utf8_lossy(output.unwrap_or_default()))
                    }
                };
                (0..3).map(item).collect::<Vec<_>>().join(" ")
            }
            HandlerAnswer::Failed(CallFailure { error, cause, .. }) => format!("{error}: {cause}"),
            answer => format!("{answer:?}"),
        }
    }

    fn double(number: &Number) -> Result<i32, ItemError> {
        if number.n < 0 { Err(ItemError::new("Negative", "")) } else { Ok(2 * number.n) }
    }

    #[tokio::test]
    async fn an_item_that_is_none_fails_alone_whatever_the_function_returns() {
        let by_item = |batch: Batch<Number>, _| async move {
            Ok::<_, HandlerError>(batch.iter().map(|number| double(number)).collect::<BatchOutcome>())
        };
        assert_eq!(shown(by_item).await, "=2 !Warifu.ItemInvalid !Negative");
        let unit = |_, _| async { Ok::<(), HandlerError>(()) };
        assert_eq!(shown(unit).await, "= !Warifu.ItemInvalid =");
        let by_place = |batch: Batch<Number>, _| async move {
            let mut outcome = BatchOutcome::with_outputs(batch.iter().map(|number| number.n));
            outcome.fail(0, ItemError::new("First", ""));
            outcome.fail_index(702, ItemError::new("Last", ""));
            Ok::<_, HandlerError>(outcome)
        };
        assert_eq!(shown(by_place).await, "!First !Warifu.ItemInvalid !Last");
    }

    #[tokio::test]
    async fn an_error_fails_the_batch_under_its_name() {
        let parse = |_: Batch<Number>, _| async { "x".parse::<u32>().map(drop) };
        assert_eq!(shown(parse).await, "States.TaskFailed: invalid digit found in string");
        let named = |_, _| async { Err::<(), _>(HandlerError::new("Geo.Down", "no route")) };
        assert_eq!(shown(named).await, "Geo.Down: no route");
        let any = |_, _| async { Err::<(), _>(anyhow::anyhow!("no route")) };
        assert_eq!(shown(any).await, "States.TaskFailed: no route");
    }

    #[tokio::test]
    async fn an_outcome_that_does_not_fit_its_batch_is_refused() {
        async fn expect<A>(
            function: impl Fn(Batch<Number>, Context) -> A + Send + Sync + 'static,
            cause: &str,
        ) where
            A: Future<Output = Result<BatchOutcome, HandlerError>> + Send + 'static,
        {
            assert_eq!(shown(function).await, format!("{}: {cause}", error_name::INVALID_HANDLER_OUTPUT));
        }
        let outputs = |_, _| async { Ok(BatchOutcome::with_outputs([1, 2, 3])) };
        expect(outputs, "3 outputs for 2 items; give exactly one for each").await;
        let position = |_, _| async {
            let mut outcome = BatchOutcome::succeeded();
            outcome.fail(2, "late");
            Ok(outcome)
        };
        expect(position, "a failure names the item at position 2, which is none of the batch's 2").await;
        let index = |_, _| async {
            let mut outcome = BatchOutcome::succeeded();
            outcome.fail_index(701, "it is invalid itself");
            Ok(outcome)
        };
        expect(index, "a failure names the item at index 701, which is none of the batch's 2").await;
        let unwritable = |_, _| async {
            let map = std::collections::BTreeMap::from([((1, 2), 3)]);
            Ok(BatchOutcome::with_outputs([&map, &map]))
        };
        expect(unwritable, "an output cannot be written as JSON: key must be a string").await;
    }

    #[tokio::test]
    async fn a_function_is_not_called_without_items_and_knows_who_they_are() {
        let handler = handler_of(|_: Batch<Number>, _| async { Err::<(), _>("it was called") });
        let answer = handler.call(call_of("n\nx\n"), CancellationToken::new()).await;
        let HandlerAnswer::Answered { failures, .. } = answer else { panic!("{answer:?}") };
        let cause = "the field `n`: \"x\" is no i32: invalid digit found in string";
        assert_eq!(failures[0].failure, CallFailure::business(ITEM_INVALID, cause));

        let facts = |batch: Batch<Number>, context: Context| async move {
            #[derive(Deserialize)]
            struct Input {
                k: String,
            }
            let Input { k } = context.batch_input()?;
            let since = context.deadline().duration_since(std::time::UNIX_EPOCH)?.as_millis();
            let keys: Vec<&str> = batch.iter().map(|item| item.idempotency_key()).collect();
            let call = (context.map_run_id(), context.batch_number(), context.attempt(), context.round());
            let text = format!("{call:?} {} {keys:?} {k} {since}", context.idempotency_key());
            Err::<(), HandlerError>(text.into())
        };
        let expected = "States.TaskFailed: (\"run-1\", 7, 1, 0) run-1/7/0 [\"run-1/700/0\", \"run-1/702/0\"] v 1700000000000";
        assert_eq!(shown(facts).await, expected);
    }

    #[tokio::test]
    async fn a_function_hears_of_the_end_of_its_call() {
        let handler = handler_of(|_: Batch<Number>, context: Context| async move {
            context.cancelled().await;
            Err::<(), _>(format!("cancelled: {}", context.is_cancelled()))
        });
        let cancel = CancellationToken::new();
        cancel.cancel();
        let answer = handler.call(call_of(CSV), cancel).await;
        assert!(matches!(answer, HandlerAnswer::Failed(failure) if failure.cause == "cancelled: true"));
    }
}
