//! The job of a Map state: by `warifu convert`, with a handler that does what the child's states did.

use serde_json::{Map, Value, json};

use super::Stage;
use super::recording::{Case, MapState};
use super::values::with_bucket;

/// What `warifu convert` made of a state.
pub(super) enum Job {
    /// Nothing; it said why.
    Refused(String),
    /// A job that can be submitted.
    Ready { spec: Value },
}

impl Job {
    /// The job of `map_state`.
    #[track_caller]
    pub(super) fn of(stage: &Stage<'_>, case: &Case, map_state: &MapState) -> Self {
        let state = rewritten(stage, case, map_state);
        let input = with_bucket(&map_state.input, &stage.id);
        let file = stage.dev.write("state.json", state.to_string());
        let input = stage.dev.write("input.json", input.to_string());
        let arguments = ["convert", file.to_str().unwrap(), "--input", input.to_str().unwrap(), "-o", "json"];
        let converted = stage.dev.run(arguments);
        if converted.status == 2 {
            return Self::Refused(converted.stderr);
        }
        let mut spec = converted.expect(0).json();
        complete(&mut spec, &state, &stage.id);
        Self::Ready { spec }
    }

    /// The job, which there must be.
    #[track_caller]
    pub(super) fn ready(self) -> Value {
        match self {
            Self::Ready { spec } => spec,
            Self::Refused(said) => panic!("the state cannot be converted:\n{said}"),
        }
    }
}

/// Whether each child got one item, and no batch.
pub(super) fn is_without_batches(state: &Value) -> bool {
    state["ItemBatcher"].is_null()
}

/// The state as `convert` can take it: in JSONPath, distributed, without variables and accounts.
fn rewritten(stage: &Stage<'_>, case: &Case, map_state: &MapState) -> Value {
    let mut state = with_bucket(&map_state.state, &stage.id);
    let own_language = state["QueryLanguage"].take();
    if [&own_language, &map_state.query_language].into_iter().any(|language| *language == "JSONata") {
        state = as_json_path(&state);
    }
    state.as_object_mut().unwrap().remove("QueryLanguage");
    write_variables(&mut state, &assigned(case));
    let processor = if state["Iterator"].is_object() { "Iterator" } else { "ItemProcessor" };
    state[processor]["ProcessorConfig"] = json!({"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"});
    if let Some(place) = state.pointer_mut("/ItemReader/Parameters").and_then(Value::as_object_mut) {
        place.remove("ExpectedBucketOwner");
    }
    state
}

/// Plain expressions as paths, under the names that JSONPath has for them.
fn as_json_path(value: &Value) -> Value {
    let Value::Object(object) = value else { return value.clone() };
    let mut written = Map::new();
    for (key, value) in object {
        match value.as_str().and_then(path_of_expression) {
            Some(path) if key == "Items" => _ = written.insert("ItemsPath".to_owned(), path.into()),
            Some(path) if key.starts_with("Max") => _ = written.insert(format!("{key}Path"), path.into()),
            Some(path) => _ = written.insert(format!("{key}.$"), path.into()),
            None if key == "Arguments" => _ = written.insert("Parameters".to_owned(), as_json_path(value)),
            None => _ = written.insert(key.clone(), as_json_path(value)),
        }
    }
    Value::Object(written)
}

fn path_of_expression(text: &str) -> Option<String> {
    let expression = text.strip_prefix("{%")?.strip_suffix("%}")?.trim();
    if let Some(path) = expression.strip_prefix("$states.context.") {
        return Some(format!("$$.{path}"));
    }
    Some(format!("$.{}", expression.strip_prefix("$states.input.")?))
}

/// Variables that states before assign.
fn assigned(case: &Case) -> Map<String, Value> {
    let states = case.json["definition"]["States"].as_object().unwrap().values();
    let assigned = states.filter_map(|state| state["Assign"].as_object()).flatten();
    assigned.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `…Path` fields that name a variable become the field with its value; AWS takes the text of a number as one there.
fn write_variables(value: &mut Value, variables: &Map<String, Value>) {
    let Some(object) = value.as_object_mut() else { return };
    let variable = |value: &Value| -> Option<Value> {
        let value = variables.get(value.as_str()?.strip_prefix('$')?)?;
        Some(value.as_str().and_then(|text| text.parse::<u64>().ok()).map_or(value.clone(), Value::from))
    };
    let named: Vec<String> = object.keys().filter(|key| key.ends_with("Path")).cloned().collect();
    for key in named {
        if let Some(value) = variable(&object[&key]) {
            object.remove(&key);
            object.insert(key.trim_end_matches("Path").to_owned(), value);
        }
    }
    object.values_mut().for_each(|value| write_variables(value, variables));
}

/// What the state does not say, or what is a handler's: where results go, and what each child does.
fn complete(spec: &mut Value, state: &Value, bucket: &str) {
    if spec["resultWriter"].is_null() {
        spec["resultWriter"] = json!({
            "bucket": bucket, "prefix": "results/",
            "writerConfig": {"transformation": "NONE", "outputType": "JSON"},
        });
    }
    if is_without_batches(state) {
        // Children of it that do something are told one by one in `native.rs` and `lifecycle.rs`.
        spec["itemProcessor"] = json!({"handler": "echo"});
        return;
    }
    spec["itemProcessor"] = json!({"handler": "pass"});
    let children = state["ItemProcessor"]["States"].as_object().unwrap().values();
    for path in children.filter_map(|state| state["OutputPath"].as_str()) {
        spec["itemProcessor"]["outputPath"] = path.into();
    }
}
