//! `noop`: does nothing.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{BatchCall, Handler, HandlerAnswer};

/// Does nothing, successfully: for measuring, and for counting a data set's records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noop;

#[async_trait]
impl Handler for Noop {
    fn puts_out(&self) -> bool {
        false
    }

    async fn call(&self, _call: BatchCall, _cancel: CancellationToken) -> HandlerAnswer {
        HandlerAnswer::Succeeded
    }
}
