//! Payload templates: objects in which keys that end in `.$` take their value by path.

use serde_json::{Map, Value as Json};

use super::fields::Losses;
use super::path;

/// What of AWS's context object templates of every kind may take.
const CONTEXT: [&str; 5] = [
    "$$.Execution.Id",
    "$$.Execution.StartTime",
    "$$.Execution.RedriveCount",
    "$$.Execution.Input",
    "$$.State.EnteredTime",
];

/// Where a template stands decides what else it may take.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `ItemSelector`: the item.
    Selector,
    /// `BatchInput`: the batch, of which the items are not known.
    BatchInput,
    /// The payload of a task: the batch, which is what `$` is there.
    Payload,
}

impl Kind {
    fn context(self) -> [&'static str; 3] {
        match self {
            Kind::Selector => ["$$.Map.Item.Index", "$$.Map.Item.Value", "$$.Map.Item.Source"],
            Kind::BatchInput | Kind::Payload => {
                ["$$.Map.Item.BatchId", "$$.Map.Item.BatchNumber", "$$.Map.Item.BatchSize"]
            }
        }
    }

    /// True for a path that is into the state's input.
    fn takes_of_input(self, reference: &Json) -> bool {
        let is_path = |text: &str| text.starts_with('$') && !text.starts_with("$$");
        match self {
            Kind::Selector | Kind::BatchInput => reference.as_str().is_some_and(is_path),
            Kind::Payload => false,
        }
    }

    fn takes(self, reference: &str) -> bool {
        CONTEXT.iter().chain(&self.context()).any(|known| {
            reference.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

/// The template without the entries that a job cannot have; those are noted.
pub(super) fn carried(template: &Json, at: &str, kind: Kind, losses: &mut Losses<'_>) -> Json {
    match template {
        Json::Object(object) => Json::Object(object_carried(object, at, kind, losses)),
        Json::Array(values) => {
            let carried = values.iter().enumerate();
            Json::Array(carried.map(|(i, value)| carried_at(value, at, i, kind, losses)).collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => template.clone(),
    }
}

fn carried_at(value: &Json, at: &str, index: usize, kind: Kind, losses: &mut Losses<'_>) -> Json {
    carried(value, &format!("{at}[{index}]"), kind, losses)
}

fn object_carried(
    object: &Map<String, Json>,
    at: &str,
    kind: Kind,
    losses: &mut Losses<'_>,
) -> Map<String, Json> {
    let mut carried_object = Map::new();
    for (key, value) in object {
        let at = path::join(at, key);
        if let Some(name) = key.strip_suffix(".$")
            && kind.takes_of_input(value)
            && losses.input_stays_behind()
        {
            carried_object.extend(constant(value, &at, losses).map(|value| (name.to_owned(), value)));
            continue;
        }
        let problem = if key.ends_with(".$") { problem(value, kind) } else { None };
        match problem {
            Some(why) => losses.changes_the_work(at, why),
            None => _ = carried_object.insert(key.clone(), carried(value, &at, kind, losses)),
        }
    }
    carried_object
}

/// What a path takes from an input that no job can have, as a constant.
fn constant(reference: &Json, at: &str, losses: &mut Losses<'_>) -> Option<Json> {
    let value = losses.resolve(reference, at)?;
    if has_paths(&value) {
        let why =
            format!("{reference} takes a value with keys that end in `.$`, which a job would read as paths");
        losses.changes_the_work(at, why);
        return None;
    }
    Some(value)
}

fn has_paths(value: &Json) -> bool {
    match value {
        Json::Object(object) => object.iter().any(|(key, value)| key.ends_with(".$") || has_paths(value)),
        Json::Array(values) => values.iter().any(has_paths),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

/// Why a job cannot take a value so.
fn problem(reference: &Json, kind: Kind) -> Option<String> {
    let Some(text) = reference.as_str() else {
        return Some(format!("{reference} is no path"));
    };
    if let Some(function) = text.strip_prefix("States.") {
        let name = function.split('(').next().unwrap_or_default();
        return Some(format!(
            "the intrinsic function States.{name} is not supported; let the handler compute it"
        ));
    }
    if text.starts_with("$$") {
        return (!kind.takes(text))
            .then(|| format!("{text} of the context object is not there in a map run"));
    }
    match text.strip_prefix('$') {
        Some(rest) if !starts_a_name(rest) => None,
        Some(_) => Some(format!("{text} is a variable, which a map run has none of; write its value")),
        None => Some(format!("`{text}` is no path")),
    }
}

fn starts_a_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_map_run_has_is_carried_and_the_rest_is_named() {
        let template = json!({
            "constant": 1, "fromInput.$": "$.a[0]", "index.$": "$$.Map.Item.Index", "key.$": "$$.Map.Item.Key",
            "of.$": "$$.Map.Item.Value.id", "name.$": "States.Format('{}', $.a)", "variable.$": "$total",
            "nested": {"list": [{"x.$": "$$.StateMachine.Id"}]}, "batch.$": "$$.Map.Item.BatchId",
        });
        let mut losses = Losses::new(None);
        let job = carried(&template, "$.ItemSelector", Kind::Selector, &mut losses);
        assert_eq!(
            job,
            json!({
                "constant": 1, "fromInput.$": "$.a[0]", "index.$": "$$.Map.Item.Index",
                "of.$": "$$.Map.Item.Value.id", "nested": {"list": [{}]},
            })
        );
        let lost: Vec<String> = losses.into_list().into_iter().map(|loss| loss.path).collect();
        assert_eq!(
            lost,
            [
                "$.ItemSelector['key.$']",
                "$.ItemSelector['name.$']",
                "$.ItemSelector['variable.$']",
                "$.ItemSelector.nested.list[0]['x.$']",
                "$.ItemSelector['batch.$']",
            ]
        );
    }

    #[test]
    fn a_task_takes_the_batch_apart() {
        let template = json!({"rows.$": "$.Items", "all.$": "$", "run.$": "$$.Execution.Id", "mode": "fast"});
        let mut losses = Losses::new(None);
        let job = carried(&template, "$.Payload", Kind::Payload, &mut losses);
        assert_eq!(job, template);
        assert!(losses.into_list().is_empty());
    }

    #[test]
    fn an_input_that_is_no_object_gives_constants_since_no_job_can_have_it() {
        let input = json!(["a", {"b.$": "$.c"}]);
        let mut losses = Losses::new(Some(&input));
        let template =
            json!({"first.$": "$[0]", "item.$": "$$.Map.Item.Value", "all.$": "$", "none.$": "$[7]"});
        let job = carried(&template, "$.ItemSelector", Kind::Selector, &mut losses);
        assert_eq!(job, json!({"first": "a", "item.$": "$$.Map.Item.Value"}));
        let lost: Vec<String> = losses.into_list().into_iter().map(|loss| loss.path).collect();
        assert_eq!(lost, ["$.ItemSelector['all.$']", "$.ItemSelector['none.$']"]);
    }
}
