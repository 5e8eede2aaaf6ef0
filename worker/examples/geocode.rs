//! A worker whose handler `geocode` asks a slow service about each place, and stops asking when nobody waits any more.
//!
//! The service is a table in this program, asked once in `pauseMs` of the job's `batchInput`. Columns: `place`. A place that
//! the service does not know fails for good, one that it cannot tell now is tried again by the job's retry policy.
//!
//! ```console
//! $ cargo run -p warifu-worker --example geocode
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;
use warifu_worker::{Batch, BatchOutcome, Context, HandlerError, Item, ItemError, Worker, termination};

/// What the service knows.
const PLACES: [(&str, f64, f64); 4] =
    [("Akita", 39.72, 140.10), ("Kyoto", 35.01, 135.77), ("Naha", 26.21, 127.68), ("Sapporo", 43.06, 141.35)];

#[derive(Deserialize)]
struct Query {
    place: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    /// Between two questions.
    pause_ms: u64,
}

#[derive(Serialize)]
struct Position {
    latitude: f64,
    longitude: f64,
}

/// The service. It charges for each question, but only once for each key.
#[derive(Default)]
struct Service {
    charged: Mutex<BTreeSet<String>>,
}

impl Service {
    fn ask(&self, query: &Item<Query>, attempt: u32) -> Result<Position, ItemError> {
        // The key of an item stays the same over attempts whose answer was lost, so those are free.
        let mut charged = self.charged.lock().map_err(|_| ItemError::from("the books are torn"))?;
        charged.insert(query.idempotency_key().to_owned());
        let place = query.place.as_str();
        if place == "Naha" && attempt == 1 {
            return Err(ItemError::new("Geo.Busy", "ask again").retryable());
        }
        let found = PLACES.iter().find(|(name, ..)| *name == place);
        found
            .map(|&(_, latitude, longitude)| Position { latitude, longitude })
            .ok_or_else(|| ItemError::new("Geo.Unknown", format!("there is no place {place:?}")))
    }
}

async fn geocode(
    service: Arc<Service>,
    batch: Batch<Query>,
    context: Context,
) -> Result<BatchOutcome, HandlerError> {
    let settings: Settings = context.batch_input()?;
    let mut pace = interval(Duration::from_millis(settings.pause_ms.max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut results = Vec::with_capacity(batch.len());
    for query in &batch {
        // Timeout, stop of the run, or loss of the lease: the slot is free for another batch as soon as this returns.
        tokio::select! {
            _ = pace.tick() => {}
            () = context.cancelled() => {
                let (batch, asked) = (context.batch_number(), results.len());
                warn!(batch, asked, "nobody waits for these places any more");
                return Err(HandlerError::new("Geo.Cancelled", "nobody waits any more"));
            }
        }
        results.push(service.ask(query, context.attempt()));
    }
    Ok(results.into_iter().collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    warifu_worker::log_to_stderr()?;
    let service = Arc::new(Service::default());
    Worker::builder()
        .slots(2)
        // What calls share is captured, and cloned for each.
        .handler_fn("geocode", move |batch, context| geocode(Arc::clone(&service), batch, context))
        .run_until(termination()?)
        .await?;
    Ok(())
}
