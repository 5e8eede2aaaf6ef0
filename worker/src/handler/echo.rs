//! `echo`: gives back each item.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{BatchCall, Handler, HandlerAnswer, Outputs};

/// Gives back each item as its output.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn call(&self, call: BatchCall, _cancel: CancellationToken) -> HandlerAnswer {
        if !call.run().wants_outputs {
            return HandlerAnswer::Succeeded;
        }
        let mut outputs = Outputs::with_capacity(call.item_count(), call.usual_json_bytes());
        for item in call.items() {
            outputs.push_with(|text| item.write_json(text));
        }
        HandlerAnswer::Answered { outputs: Some(outputs), failures: Vec::new() }
    }
}
