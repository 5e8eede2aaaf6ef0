//! Whose fault failures are, where the configuration knows better than the handler.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use warifu_common::config::handlers::ErrorClasses;
use warifu_common::model::CallFailure;

use super::{BatchCall, Handler, HandlerAnswer};

/// A handler whose failures get the kinds that the configuration gives to their names. The handler knows nothing of it.
pub struct Classified {
    handler: Arc<dyn Handler>,
    classes: ErrorClasses,
}

impl Classified {
    /// Gives failures of `handler` the kinds of `classes`; those that no pattern names keep theirs.
    pub fn new(handler: Arc<dyn Handler>, classes: ErrorClasses) -> Self {
        Self { handler, classes }
    }

    fn classify(&self, failure: &mut CallFailure) {
        if let Some(kind) = self.classes.kind_of(&failure.error) {
            failure.kind = kind;
        }
    }
}

#[async_trait]
impl Handler for Classified {
    async fn check(&self) -> Result<(), String> {
        self.handler.check().await
    }

    fn check_timeout(&self) -> Duration {
        self.handler.check_timeout()
    }

    fn takes_events(&self) -> bool {
        self.handler.takes_events()
    }

    async fn close(&self) {
        self.handler.close().await;
    }

    async fn call(&self, call: BatchCall, cancel: CancellationToken) -> HandlerAnswer {
        let mut answer = self.handler.call(call, cancel).await;
        match &mut answer {
            HandlerAnswer::Answered { failures, .. } => {
                failures.iter_mut().for_each(|failed| self.classify(&mut failed.failure));
            }
            HandlerAnswer::Failed(failure) => self.classify(failure),
            // It ends the run, whatever kind it is.
            HandlerAnswer::Succeeded | HandlerAnswer::RunFailed(_) => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use warifu_common::config::handlers::ErrorPattern;
    use warifu_common::model::FailureKind;

    use super::*;
    use crate::handler::FailedItem;
    use crate::testing::{Scripted, call_of};

    async fn classified(answer: HandlerAnswer) -> HandlerAnswer {
        let patterns = |text| vec![ErrorPattern::parse(text).unwrap()];
        let classes = ErrorClasses { business: patterns("Acme.*"), system: patterns("Acme.Slow") };
        let handler = Scripted(move |_, _| ready(answer.clone()));
        Classified::new(Arc::new(handler), classes).call(call_of("a\n1\n2\n"), CancellationToken::new()).await
    }

    #[tokio::test]
    async fn failures_of_calls_and_of_items_get_the_kind_of_their_name() {
        let failed = HandlerAnswer::Failed(CallFailure::system("Acme.Bad", "c"));
        assert_eq!(classified(failed).await, HandlerAnswer::Failed(CallFailure::business("Acme.Bad", "c")));
        let slow = CallFailure { retryable: true, ..CallFailure::business("Acme.Slow", "") };
        let other = CallFailure::business("Other", "");
        let failures = vec![
            FailedItem { position: 0, failure: slow.clone() },
            FailedItem { position: 1, failure: other.clone() },
        ];
        let HandlerAnswer::Answered { failures, .. } =
            classified(HandlerAnswer::Answered { outputs: None, failures }).await
        else {
            panic!("the items' failures are gone")
        };
        assert_eq!(failures[0].failure, CallFailure { kind: FailureKind::System, ..slow });
        assert_eq!(failures[1].failure, other);
        assert_eq!(classified(HandlerAnswer::Succeeded).await, HandlerAnswer::Succeeded);
    }
}
