//! `Retry` of the task that becomes the handler.

use serde_json::Value as Json;

use super::fields::{Fields, Job, Losses};
use super::path;

/// Fields of a retrier, as AWS and as a job spell them.
const RETRIER: [(&str, &str); 6] = [
    ("ErrorEquals", "errorEquals"),
    ("IntervalSeconds", "intervalSeconds"),
    ("MaxAttempts", "maxAttempts"),
    ("BackoffRate", "backoffRate"),
    ("MaxDelaySeconds", "maxDelaySeconds"),
    ("JitterStrategy", "jitterStrategy"),
];

/// Puts the retry policy into the item processor.
pub(super) fn read(task: &mut Fields<'_>, carried: &mut Job, losses: &mut Losses<'_>) {
    let Some(policy) = task.take("Retry") else { return };
    let at = task.path_of("Retry");
    let Some(policy) = policy.as_array() else {
        return losses.changes_the_work(at, "it is no array");
    };
    let retriers = policy.iter().enumerate();
    let retriers = retriers.map(|(i, retrier)| read_retrier(retrier, format!("{at}[{i}]"), losses));
    let retriers: Vec<Json> = retriers.collect();
    carried.insert("retry".to_owned(), Json::Array(retriers));
}

fn read_retrier(retrier: &Json, at: String, losses: &mut Losses<'_>) -> Json {
    let mut retrier = Fields::of(retrier, at, losses);
    retrier.pass_over(["Comment"]);
    let mut carried = Job::new();
    for (name, key) in RETRIER {
        retrier.copy(name, &mut carried, key);
    }
    for name in ["Assign", "Output"] {
        if retrier.take(name).is_some() {
            losses.beside(path::join(retrier.path(), name), "a map run has no variables and no state output");
        }
    }
    retrier.finish(losses);
    Json::Object(carried)
}
