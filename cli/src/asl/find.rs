//! Which Map state of a definition is meant.

use serde_json::{Map, Value as Json};

use super::{AslError, path};

/// States nest at most so deep: a definition's text is bounded, its nesting by the parser.
const STATES: &str = "States";

/// A Map state and where it stands.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Its name; empty if the definition is the state itself.
    pub(super) name: &'a str,
    /// Where it stands.
    pub(super) path: String,
    /// The state.
    pub(super) state: &'a Json,
    /// The query language of what is around it.
    pub(super) query_language: Option<&'a str>,
    /// The state machine that it stands at the top of.
    pub(super) machine: Option<&'a Map<String, Json>>,
}

impl Found<'_> {
    fn is_distributed(&self) -> bool {
        let processor = self.state.get("ItemProcessor").or_else(|| self.state.get("Iterator"));
        processor
            .and_then(|processor| processor.pointer("/ProcessorConfig/Mode"))
            .is_some_and(|mode| mode == "DISTRIBUTED")
    }
}

/// The one Distributed Map state of `definition`, or the one named `wanted`, or `definition` itself.
pub(super) fn find<'a>(definition: &'a Json, wanted: Option<&str>) -> Result<Found<'a>, AslError> {
    let no_state = |text: String| Err(AslError::NoState(text));
    let Some(object) = definition.as_object() else {
        return no_state("it is no JSON object; a state machine or one Map state is wanted".to_owned());
    };
    let mut found = Vec::new();
    if object.get("Type").is_some_and(|kind| kind == "Map") {
        found.push(Found {
            name: "",
            path: "$".to_owned(),
            state: definition,
            query_language: None,
            machine: None,
        });
    } else if object.contains_key(STATES) {
        collect(object, "$", None, Some(object), &mut found);
    } else {
        return no_state(
            "it has neither `States` nor `\"Type\": \"Map\"`: it is no state machine and no Map state"
                .to_owned(),
        );
    }
    match wanted {
        Some(name) => named(found, name),
        None => only(found),
    }
}

/// All Map states below `machine`, those inside others behind them.
fn collect<'a>(
    machine: &'a Map<String, Json>,
    at: &str,
    outer_language: Option<&'a str>,
    top: Option<&'a Map<String, Json>>,
    found: &mut Vec<Found<'a>>,
) {
    let language = machine.get("QueryLanguage").and_then(Json::as_str).or(outer_language);
    let states_at = path::join(at, STATES);
    for (name, state) in machine.get(STATES).and_then(Json::as_object).into_iter().flatten() {
        let at = path::join(&states_at, name);
        if state.get("Type").is_some_and(|kind| kind == "Map") {
            found.push(Found { name, path: at.clone(), state, query_language: language, machine: top });
        }
        for (inside, at) in inside(state, &at) {
            collect(inside, &at, language, None, found);
        }
    }
}

/// The state machines inside a state, with their places.
fn inside<'a>(state: &'a Json, at: &str) -> Vec<(&'a Map<String, Json>, String)> {
    let mut machines = Vec::new();
    for name in ["ItemProcessor", "Iterator"] {
        machines
            .extend(state.get(name).and_then(Json::as_object).map(|machine| (machine, path::join(at, name))));
    }
    let branches = state.get("Branches").and_then(Json::as_array).into_iter().flatten().enumerate();
    machines.extend(
        branches.filter_map(|(i, branch)| Some((branch.as_object()?, format!("{at}.Branches[{i}]")))),
    );
    machines
}

fn named<'a>(found: Vec<Found<'a>>, name: &str) -> Result<Found<'a>, AslError> {
    let names = names(&found);
    let mut found = found.into_iter().filter(|found| found.name == name);
    let problem = match (found.next(), found.next()) {
        (Some(found), None) if found.is_distributed() => return Ok(found),
        (Some(found), None) => not_distributed(&found),
        (Some(one), Some(other)) => {
            format!(
                "the name `{name}` stands for several states, {} and {}: rename one",
                one.path, other.path
            )
        }
        (None, _) if names.is_empty() => format!("there is no Map state, so none named `{name}`"),
        (None, _) => format!("there is no Map state named `{name}`; there are {names}"),
    };
    Err(AslError::NoState(problem))
}

/// The only Distributed Map state; those inside it are its own matter.
fn only(found: Vec<Found<'_>>) -> Result<Found<'_>, AslError> {
    let (mut distributed, others): (Vec<_>, Vec<_>) = found.into_iter().partition(Found::is_distributed);
    let outermost: Vec<&Found<'_>> = outermost(&distributed);
    let problem = match (outermost.len(), others.as_slice()) {
        (1, _) => return Ok(distributed.swap_remove(0)),
        (0, []) => "there is no Map state".to_owned(),
        (0, [inline]) => not_distributed(inline),
        (0, _) => format!("none of its Map states is distributed: {}", names(&others)),
        (_, _) => {
            format!("it has several Distributed Map states: choose one with --state: {}", names(&distributed))
        }
    };
    Err(AslError::NoState(problem))
}

/// Those that stand in no other. A state is found before those inside it.
fn outermost<'f, 'a>(found: &'f [Found<'a>]) -> Vec<&'f Found<'a>> {
    let mut outer: Vec<&Found<'_>> = Vec::new();
    for state in found {
        let is_inside = outer.iter().any(|outer| state.path.starts_with(&format!("{}.", outer.path)));
        if !is_inside {
            outer.push(state);
        }
    }
    outer
}

fn not_distributed(found: &Found<'_>) -> String {
    let path = path::join(&path::join(&path::join(&found.path, "ItemProcessor"), "ProcessorConfig"), "Mode");
    format!("the Map state at {} is an inline one: {path} has to be DISTRIBUTED", found.path)
}

fn names(found: &[Found<'_>]) -> String {
    let names: Vec<String> = found.iter().map(|found| format!("`{}`", found.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(mode: &str, inside: Json) -> Json {
        json!({"Type": "Map", "ItemProcessor": {"ProcessorConfig": {"Mode": mode}, "StartAt": "T", "States": inside}})
    }

    fn problem(definition: &Json, wanted: Option<&str>) -> String {
        find(definition, wanted).unwrap_err().to_string()
    }

    #[test]
    fn the_only_distributed_map_is_found_wherever_it_stands() {
        let distributed = map("DISTRIBUTED", json!({"T": map("DISTRIBUTED", json!({}))}));
        let machine = json!({"States": {
            "In line": map("INLINE", json!({})),
            "P": {"Type": "Parallel", "Branches": [{"QueryLanguage": "JSONata", "States": {"M": distributed}}]},
        }});
        let found = find(&machine, None).unwrap();
        assert_eq!(
            (found.path.as_str(), found.query_language),
            ("$.States.P.Branches[0].States.M", Some("JSONata"))
        );
        let inner = find(&machine, Some("T")).unwrap();
        assert_eq!(inner.path, "$.States.P.Branches[0].States.M.ItemProcessor.States.T");
        assert_eq!(find(&distributed, None).unwrap().path, "$");
    }

    #[test]
    fn several_need_a_choice_and_a_wrong_choice_is_answered_with_those_that_there_are() {
        let machine = json!({"States": {"A": map("DISTRIBUTED", json!({})), "B": map("DISTRIBUTED", json!({})), "C": map("INLINE", json!({}))}});
        assert_eq!(
            problem(&machine, None),
            "it has several Distributed Map states: choose one with --state: `A`, `B`"
        );
        assert_eq!(find(&machine, Some("B")).unwrap().path, "$.States.B");
        assert_eq!(problem(&machine, Some("X")), "there is no Map state named `X`; there are `A`, `B`, `C`");
        assert!(
            problem(&machine, Some("C"))
                .contains("$.States.C.ItemProcessor.ProcessorConfig.Mode has to be DISTRIBUTED")
        );
    }

    #[test]
    fn what_is_no_state_machine_is_said_to_be_none() {
        assert!(problem(&json!([]), None).contains("no JSON object"));
        assert!(problem(&json!({"itemReader": {}}), None).contains("no state machine and no Map state"));
        assert_eq!(problem(&json!({"States": {"A": {"Type": "Pass"}}}), None), "there is no Map state");
    }
}
