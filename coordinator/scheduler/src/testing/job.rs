//! What the run of a story is to do.

use std::time::Duration;

use warifu_model::spec::{ItemBatcher, ItemProcessor, ItemReader, MapRunSpec, ResultWriter};
use warifu_model::{Compensation, CompensationTrigger, InputForm, JitterStrategy, Retrier};

use super::story::name;

/// One batch of one item at a time, compensated for whatever it ends by.
pub(crate) fn spec() -> MapRunSpec {
    let on =
        [CompensationTrigger::ToleranceExceeded, CompensationTrigger::Error, CompensationTrigger::Stopped];
    MapRunSpec {
        item_batcher: ItemBatcher { configured: true, max_items_per_batch: 1, ..ItemBatcher::default() },
        item_processor: ItemProcessor { timeout: Duration::from_secs(30), ..ItemProcessor::new(name("h")) },
        max_concurrency: Some(1),
        result_writer: Some(ResultWriter { bucket: "out".into(), ..ResultWriter::default() }),
        compensation: Some(Compensation { handler: name("undo"), on: on.into() }),
        ..MapRunSpec::new(ItemReader::of_object("b", "k", InputForm::default()), name("h"))
    }
}

/// Its processor, with retries after so long.
pub(crate) fn retried_after(interval: Duration) -> ItemProcessor {
    let retry = Retrier {
        error_equals: vec!["States.ALL".into()],
        interval,
        max_attempts: 3,
        backoff_rate: 1.0,
        max_delay: None,
        jitter_strategy: JitterStrategy::None,
    };
    ItemProcessor { retry: vec![retry], ..spec().item_processor }
}
