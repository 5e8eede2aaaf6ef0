//! Which templates are taken, and what they become.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};
use warifu_dataset::ItemHole;

use super::*;

fn facts() -> TemplateFacts {
    TemplateFacts {
        map_run: MapRunId::new("run-1").unwrap(),
        start_time: WallTime(1_700_000_000_123),
        entered_time: WallTime(1_700_000_001_000),
        redrive_count: 2,
        source: ItemSource::OfRun("s3://input/users.csv".into()),
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn filled<H: TemplateHole + Clone + std::fmt::Debug>(
    template: Value,
    input: Value,
) -> Result<String, Vec<TemplateProblem>> {
    let shape = Template::<H>::parse(&object(template))?.shape(&object(input), &facts())?;
    let mut json = Vec::new();
    shape.write(&mut json, |hole, out| out.extend_from_slice(format!("<{hole:?}>").as_bytes()));
    Ok(String::from_utf8(json).unwrap())
}

#[test]
fn a_template_keeps_constants_and_takes_values_of_input_run_and_batch() {
    let template = json!({
        "constant": {"a": [1, {"b": "x\"y"}]},
        "nested": {"list": [{"tag.$": "$.tag"}, [], 7]},
        "all.$": "$",
        "deep.$": "$$.Execution.Input.user['full name'][0]",
        "id.$": "$$.Execution.Id", "start.$": "$$.Execution.StartTime", "redrives.$": "$$.Execution.RedriveCount",
        "entered.$": "$$.State.EnteredTime",
        "batch.$": "$$.Map.Item.BatchId", "number.$": "$$.Map.Item.BatchNumber", "size.$": "$$.Map.Item.BatchSize",
        "empty": {},
    });
    let input = json!({"tag": "csv", "user": {"full name": [1.50]}});
    let expected = concat!(
        r#"{"constant":{"a":[1,{"b":"x\"y"}]},"nested":{"list":[{"tag":"csv"},[],7]},"#,
        r#""all":{"tag":"csv","user":{"full name":[1.5]}},"deep":1.5,"id":"mapRuns/run-1","#,
        r#""start":"2023-11-14T22:13:20.123Z","redrives":2,"entered":"2023-11-14T22:13:21.000Z","#,
        r#""batch":<Id>,"number":<Number>,"size":<Size>,"empty":{}}"#,
    );
    assert_eq!(filled::<BatchHole>(template, input).unwrap(), expected);
}

#[test]
fn an_item_selector_takes_the_item_and_a_payload_the_event() {
    let template = json!({
        "i.$": "$$.Map.Item.Index", "all.$": "$$.Map.Item.Value", "id.$": "$$.Map.Item.Value.user.id",
        "from.$": "$$.Map.Item.Source",
    });
    let shape = Template::<ItemHole>::parse(&object(template)).unwrap().shape(&Map::new(), &facts()).unwrap();
    let holes: Vec<String> = shape
        .holes()
        .map(|hole| match hole {
            ItemHole::Index => "index".to_owned(),
            ItemHole::Value(path) => format!("{path} {}", path.steps().len()),
            ItemHole::Source => "source".to_owned(),
        })
        .collect();
    assert_eq!(holes, ["index", "$$.Map.Item.Value 0", "$$.Map.Item.Value.user.id 2"]);
    let event =
        filled::<PayloadHole>(json!({"e.$": "$.Items[0]", "of.$": "$$.Execution.Input.a"}), json!({"a": 5}));
    let event = event.unwrap();
    assert!(event.starts_with(r#"{"e":<Event(JsonPath { text: "$.Items[0]""#), "{event}");
    assert!(event.ends_with(r#","of":5}"#), "{event}");
}

#[test]
fn everything_that_is_wrong_is_named_with_its_place() {
    let template = json!({
        "a.$": 7,
        "nested": [{"b.$": "States.Format('{}', $.a)"}],
        "c.$": "$$.Map.Item.Value",
        "d.$": "$$",
        "e.$": "$$.Execution.Name",
        "f.$": "$.x[*]",
        "g": 1, "g.$": "$.g",
        "h.$": "$$.Map.Item.BatchId.x",
        "i.$": "$$.Map.Item.Source",
        "j.$": "x",
    });
    let problems = filled::<BatchHole>(template, json!({})).unwrap_err();
    let expected = [
        ("a.$", "is 7; a key that ends in `.$` takes a JSONPath"),
        ("nested[0].b.$", "`States.Format('{}', $.a)`: intrinsic functions"),
        (
            "c.$",
            "`$$.Map.Item.Value`: the context object has no such value here; there are $$.Map.Item.BatchId",
        ),
        ("d.$", "`$$`: the context object has no such value here"),
        ("e.$", "`$$.Execution.Name`: the context object"),
        ("f.$", "`$.x[*]`: `[*` may name several values"),
        ("g.$", "\"g\" stands beside it"),
        ("h.$", "`$$.Map.Item.BatchId.x`: the context object"),
        ("i.$", "`$$.Map.Item.Source`: the context object"),
        ("j.$", "`x`: a JSONPath begins with `$`"),
    ];
    for (problem, (place, text)) in problems.iter().zip(expected) {
        assert_eq!(problem.place, place);
        assert!(problem.problem.starts_with(text), "{problem:?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn a_path_that_names_nothing_in_the_input_is_named_with_its_place() {
    let problems =
        filled::<BatchHole>(json!({"a": [{"b.$": "$.no"}], "c.$": "$$.Execution.Input.no"}), json!({"x": 1}));
    let problems: Vec<String> = problems
        .unwrap_err()
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.problem))
        .collect();
    assert_eq!(
        problems,
        [
            "a[0].b.$: $.no names nothing in the run's input",
            "c.$: $$.Execution.Input.no names nothing in the run's input",
        ]
    );
}

#[test]
fn what_is_measured_of_a_shape_is_the_same_in_every_redrive() {
    let template =
        Template::<BatchHole>::parse(&object(json!({"r.$": "$$.Execution.RedriveCount"}))).unwrap();
    let bytes = |redrive_count| {
        template.shape(&Map::new(), &TemplateFacts { redrive_count, ..facts() }).unwrap().constant_bytes()
    };
    assert_eq!(bytes(0), bytes(u32::MAX));
    assert_eq!(bytes(0), r#"{"r":4294967295}"#.len() as u64);
}

#[test]
fn items_have_their_own_source_where_many_objects_are_read_and_the_selector_asks_for_it() {
    let selector = object(json!({"of": [{"file.$": "$$.Map.Item.Source"}], "all.$": "$$.Map.Item.Value"}));
    let shape = |source| {
        let facts = TemplateFacts { source, ..facts() };
        let shape = Template::<ItemHole>::parse(&selector).unwrap().shape(&Map::new(), &facts).unwrap();
        shape.holes().cloned().collect::<Vec<_>>()
    };
    assert_eq!(shape(ItemSource::OfItem)[0], ItemHole::Source);
    assert_eq!(shape(ItemSource::OfRun(String::new())).len(), 1);
    assert!(asks_for_source(&selector));
    assert!(!asks_for_source(&object(json!({"a": "$$.Map.Item.Source", "b.$": "$$.Map.Item.Index"}))));
}
