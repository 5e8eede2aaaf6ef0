//! The templates of a job, and paths into its input: whatever does not depend on an item is looked up here.

use serde_json::{Map, Value as Json};
use warifu_dataset::JsonPath;
use warifu_model::spec::{LARGEST_MAX_INPUT_BYTES_PER_BATCH, MapRunSpec};
use warifu_model::template::{ItemSource, RunTemplates, TemplateFacts, constant_item_bytes};
use warifu_model::{MapRunId, WallTime};

use crate::wire::v1;
use crate::wire::violation::Violations;

/// Checks that every path can be read, that those into the input name something there, and that what the templates make of
/// every item and batch has room.
pub(super) fn check(spec: &MapRunSpec, violations: &mut Violations) {
    let templates = match RunTemplates::new(spec, &largest_facts()) {
        Ok(templates) => templates,
        Err(problems) => {
            return problems.into_iter().for_each(|problem| violations.add(problem.field, problem.problem));
        }
    };
    let limit = spec.item_batcher.max_input_bytes_per_batch;
    let envelope = templates.envelope_bytes();
    violations.require(envelope < limit, "spec.item_batcher.max_input_bytes_per_batch", || {
        format!("is {limit}, but a batch without items takes {envelope} bytes: make batchInput smaller or the limit larger")
    });
    let item = templates.item.as_ref().map_or(0, constant_item_bytes);
    violations.require(item <= LARGEST_MAX_INPUT_BYTES_PER_BATCH, "spec.item_selector", || {
        format!("makes {item} bytes of every item, whatever is in it; at most {LARGEST_MAX_INPUT_BYTES_PER_BATCH} are allowed")
    });
}

/// Facts that take as many bytes as those of any run.
fn largest_facts() -> TemplateFacts {
    TemplateFacts {
        map_run: MapRunId::new(&"r".repeat(MapRunId::MAX_BYTES)).expect("letters alone are an ID"),
        start_time: WallTime(0),
        entered_time: WallTime(0),
        redrive_count: u32::MAX,
        source: ItemSource::OfRun(String::new()),
    }
}

/// The reader with what its paths name in the input, in place of the paths.
pub(super) fn resolved(
    reader: &v1::ItemReader,
    input: &Map<String, Json>,
    violations: &mut Violations,
) -> v1::ItemReader {
    let mut resolved = reader.clone();
    let fields = [
        ("bucket", &mut resolved.bucket, &mut resolved.bucket_path),
        ("key", &mut resolved.key, &mut resolved.key_path),
        ("prefix", &mut resolved.prefix, &mut resolved.prefix_path),
    ];
    for (name, value, path) in fields {
        let path = std::mem::take(path);
        if path.is_empty() {
            continue;
        }
        let field = format!("spec.item_reader.{name}_path");
        violations.require(value.is_empty(), &field, || format!("stands beside `{name}`; give one of them"));
        match text_at(&path, input) {
            Ok(text) => *value = text,
            Err(problem) => {
                violations.add(field, problem);
                // What is missing is noted once.
                *value = "unresolved".to_owned();
            }
        }
    }
    resolved
}

fn text_at(path: &str, input: &Map<String, Json>) -> Result<String, String> {
    let parsed = JsonPath::parse(path).map_err(|problem| format!("`{path}`: {problem}"))?;
    match parsed.find_in(&Json::Object(input.clone())) {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{path} names {other} in the run's input, which is no text")),
        None => Err(format!("{path} names nothing in the run's input")),
    }
}
