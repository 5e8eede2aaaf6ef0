//! A Lambda function that does what the children of the captured lifecycles did, and holds where the test says.

use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::harness::{HttpService, ServiceAnswer};

/// The function and what it has seen.
pub(super) struct Function {
    service: HttpService,
    story: Arc<Story>,
}

#[derive(Default)]
struct Story {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// Indexes of items in the order in which they began.
    began: Vec<u64>,
    /// Items that would wait, wait; the missing object is missing.
    holds: bool,
}

impl Function {
    /// Starts it as a service.
    pub(super) fn start() -> Self {
        let story = Arc::<Story>::default();
        let service = HttpService::start({
            let story = Arc::clone(&story);
            move |request| ServiceAnswer::ok(&story.answer(&request.body["Items"][0]))
        });
        Self { service, story }
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        self.service.url("/2015-03-31/functions/function/invocations")
    }

    /// Forgets what has begun; from now on items wait, or do not.
    pub(super) fn begin(&self, holds: bool) {
        *self.story.seen.lock().unwrap() = Seen { began: Vec::new(), holds };
        self.story.changed.notify_all();
    }

    /// Indexes of the items that have begun since, in order.
    pub(super) fn began(&self) -> Vec<u64> {
        self.story.seen.lock().unwrap().began.clone()
    }
}

impl Story {
    /// What the child's states made of its input.
    fn answer(&self, item: &Value) -> Value {
        let index = item["index"].as_u64().unwrap();
        let mut seen = self.seen.lock().unwrap();
        seen.began.push(index);
        self.changed.notify_all();
        let error = |error: &str, message: &str| json!({"errorType": error, "errorMessage": message});
        if item["value"]["fail"] == true {
            return error("OwnedItemFailure", "intentional bounded native observation");
        }
        let is_missing = item["item"]["key"].as_str().is_some_and(|key| key.ends_with("/missing"));
        if is_missing && seen.holds {
            // Fails while the item after it is under way.
            let is_alone = |seen: &mut Seen| seen.holds && !seen.began.contains(&(index + 1));
            drop(self.changed.wait_while(seen, is_alone).unwrap());
            return error("S3.NoSuchKeyException", "The specified key does not exist.");
        }
        let waits = item["value"].is_object() || index > 1;
        drop(self.changed.wait_while(seen, |seen| seen.holds && waits).unwrap());
        json!({"item": item})
    }
}
