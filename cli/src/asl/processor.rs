//! `ItemProcessor`: what of a child's states becomes the handler.
//!
//! A batch is one handler call, so one Task of the child can become it. What the child does beside it is named: the handler
//! has to do that, too.

use serde_json::{Map, Value as Json, json};

use super::fields::{Fields, Job, Losses};
use super::state::expressions;
use super::{AslError, function, path, retry, template};

/// How AWS names the calling of a function; partitions differ in what stands before.
const LAMBDA_INVOKE: &str = ":states:::lambda:invoke";

/// The expression that is a state's whole input.
const WHOLE_INPUT: &str = "$states.input";

/// The handler that gives back what it gets.
const ECHO: &str = "echo";

/// Puts the item processor into the job.
pub(super) fn read(
    state: &mut Fields<'_>,
    language: Option<&str>,
    job: &mut Job,
    losses: &mut Losses<'_>,
) -> Result<(), AslError> {
    let iterator = state.object("Iterator", losses);
    let Some(mut processor) = state.object("ItemProcessor", losses).or(iterator) else {
        losses.changes_the_work(
            state.path_of("ItemProcessor"),
            "it is missing; name the handler in itemProcessor.handler",
        );
        return Ok(());
    };
    processor.pass_over(["ProcessorConfig", "Comment", "QueryLanguage"]);
    let start = processor.take("StartAt").and_then(Json::as_str).unwrap_or_default();
    let states = processor.take("States").and_then(Json::as_object);
    let at = processor.path_of("States");
    processor.finish(losses);
    let Some(states) = states else {
        losses.changes_the_work(at, "there are none; name the handler in itemProcessor.handler");
        return Ok(());
    };
    let carried = match the_task(states) {
        Some((name, task)) => read_task(name, task, &path::join(&at, name), language, losses)?,
        None => without_task(start, states, &at, losses),
    };
    for (name, other) in states {
        if !carried.stands_for.contains(&name.as_str()) {
            losses.beside(
                path::join(&at, name),
                format!("{} is not part of a handler call: the handler has to do it", kind(other)),
            );
        }
    }
    job.insert("itemProcessor".to_owned(), Json::Object(carried.job));
    Ok(())
}

/// The item processor, and the states that it does the work of.
struct Carried<'a> {
    job: Job,
    stands_for: Vec<&'a str>,
}

fn kind(state: &Json) -> String {
    let kind = state.get("Type").and_then(Json::as_str).unwrap_or("unknown");
    format!("a state of type {kind}")
}

fn is_kind(state: &Json, kind: &str) -> bool {
    state.get("Type").is_some_and(|value| value == kind)
}

/// The only Task.
fn the_task(states: &Map<String, Json>) -> Option<(&String, &Json)> {
    let mut tasks = states.iter().filter(|(_, state)| is_kind(state, "Task"));
    let first = tasks.next();
    first.filter(|_| tasks.next().is_none())
}

/// A child without a Task, or with several: one that changes nothing is `echo`; else the handler is named after the child.
fn without_task<'a>(
    start: &str,
    states: &'a Map<String, Json>,
    at: &str,
    losses: &mut Losses<'_>,
) -> Carried<'a> {
    if states.values().all(changes_nothing) {
        let stands_for = states.keys().map(String::as_str).collect();
        return Carried { job: handler(ECHO), stands_for };
    }
    let name = function::handler_name(start);
    losses.beside(
        at,
        format!("there is not one Task that could become the handler; it is called `{name}` after StartAt"),
    );
    Carried { job: handler(&name), stands_for: Vec::new() }
}

fn handler(name: &str) -> Job {
    [("handler".to_owned(), json!(name))].into_iter().collect()
}

/// A Pass or Succeed that hands on what it gets.
fn changes_nothing(state: &Json) -> bool {
    const HARMLESS: [&str; 5] = ["Type", "Comment", "Next", "End", "QueryLanguage"];
    let plain = |state: &Map<String, Json>| state.keys().all(|key| HARMLESS.contains(&key.as_str()));
    (is_kind(state, "Pass") || is_kind(state, "Succeed")) && state.as_object().is_some_and(plain)
}

fn read_task<'a>(
    name: &'a str,
    task: &Json,
    at: &str,
    outer_language: Option<&str>,
    losses: &mut Losses<'_>,
) -> Result<Carried<'a>, AslError> {
    let language = task.get("QueryLanguage").and_then(Json::as_str).or(outer_language);
    if language == Some("JSONata") {
        refuse_expressions(task, at)?;
    }
    let mut task = Fields::of(task, at.to_owned(), losses);
    task.pass_over(["Type", "Comment", "Next", "End", "QueryLanguage", "Credentials"]);
    let called = called(&mut task, losses);
    let mut carried = handler(&called.name.unwrap_or_else(|| function::handler_name(name)));
    task.copy("TimeoutSeconds", &mut carried, "timeoutSeconds");
    retry::read(&mut task, &mut carried, losses);
    if let Some(payload) = called.payload {
        carried.insert("payload".to_owned(), payload);
    }
    output(&mut task, called.wraps_answer, &mut carried, losses);
    lose_the_rest(&mut task, losses);
    task.finish(losses);
    Ok(Carried { job: carried, stands_for: vec![name] })
}

/// Refuses JSONata in what the job has to say of the task. The whole input is what a handler gets anyway.
fn refuse_expressions(task: &Json, at: &str) -> Result<(), AslError> {
    let mut paths = Vec::new();
    for name in ["Arguments", "TimeoutSeconds"] {
        if let Some(value) = task.get(name) {
            expressions(value, &path::join(at, name), &mut paths);
        }
    }
    let payload = path::join(&path::join(at, "Arguments"), "Payload");
    paths
        .retain(|path| !(*path == payload && task.pointer("/Arguments/Payload").is_some_and(is_whole_input)));
    if paths.is_empty() { Ok(()) } else { Err(AslError::Jsonata(paths)) }
}

fn is_whole_input(value: &Json) -> bool {
    let inside = |text: &str| Some(text.trim().strip_prefix("{%")?.strip_suffix("%}")?.trim() == WHOLE_INPUT);
    value.as_str().and_then(inside).unwrap_or(false)
}

/// What a Task calls, and with what.
struct Called {
    name: Option<String>,
    payload: Option<Json>,
    /// The answer lies in `Payload` of the task's result.
    wraps_answer: bool,
}

fn called(task: &mut Fields<'_>, losses: &mut Losses<'_>) -> Called {
    let resource = task.take("Resource").and_then(Json::as_str).unwrap_or_default();
    if resource.ends_with(LAMBDA_INVOKE) || resource.ends_with("lambda:invoke.waitForTaskToken") {
        return invoked(task, resource, losses);
    }
    let name = function::name_in_arn(resource).map(function::handler_name);
    let placeholder =
        resource.starts_with("${").then(|| function::handler_name(function::name_of_function(resource)));
    let name = name.or(placeholder);
    if name.is_none() {
        let why = format!(
            "{resource} is no function and no activity: a handler has to do it; it is called after the state"
        );
        losses.beside(task.path_of("Resource"), why);
    }
    let payload = ["Parameters", "Arguments"].into_iter().find_map(|name| payload(task, name, losses));
    Called { name, payload, wraps_answer: false }
}

/// `lambda:invoke`: the function and its event stand in the parameters.
fn invoked(task: &mut Fields<'_>, resource: &str, losses: &mut Losses<'_>) -> Called {
    if !resource.ends_with(LAMBDA_INVOKE) {
        losses.changes_the_work(
            task.path_of("Resource"),
            "a batch ends with its handler call; it cannot wait for a task token",
        );
    }
    let mut called = Called { name: None, payload: None, wraps_answer: true };
    for name in ["Parameters", "Arguments"] {
        let Some(mut parameters) = task.object(name, losses) else { continue };
        let function = parameters.take("FunctionName").and_then(Json::as_str);
        called.name = function.map(function::name_of_function).map(function::handler_name);
        called.payload = payload(&mut parameters, "Payload", losses);
        if let Some(reference) = parameters.take("Payload.$")
            && reference != "$"
        {
            losses.changes_the_work(
                parameters.path_of("Payload.$"),
                format!("{reference} is a part of the batch; the handler gets the whole, or what `payload` makes of it"),
            );
        }
        let beside = "workers decide how they call a function";
        parameters.lose(
            [
                ("FunctionName.$", "the handler is one for the whole run: it is called after the state"),
                ("Qualifier", beside),
                ("InvocationType", beside),
                ("ClientContext", beside),
                ("LogType", beside),
            ],
            losses,
        );
        parameters.finish(losses);
    }
    called
}

/// A template for the event, if the field has one.
fn payload(fields: &mut Fields<'_>, name: &str, losses: &mut Losses<'_>) -> Option<Json> {
    let value = fields.take(name).filter(|value| !is_whole_input(value))?;
    if !value.is_object() {
        losses.changes_the_work(fields.path_of(name), "a payload is an object");
        return None;
    }
    Some(template::carried(value, &fields.path_of(name), template::Kind::Payload, losses))
}

/// Which part of the handler's answer is the output.
fn output(task: &mut Fields<'_>, wraps_answer: bool, carried: &mut Job, losses: &mut Losses<'_>) {
    let reference = task.take("OutputPath").and_then(Json::as_str);
    let of_answer = |reference: &str| match reference.strip_prefix("$.Payload") {
        Some(rest) if wraps_answer => Some(format!("${rest}")),
        _ => None,
    };
    match reference {
        None | Some("$") if wraps_answer => losses.beside(
            task.path(),
            "its output is what the function answered, without StatusCode and the other fields around Payload",
        ),
        None | Some("$") => {}
        Some(reference) => match of_answer(reference) {
            Some(whole) if whole == "$" => {}
            Some(part) => _ = carried.insert("outputPath".to_owned(), json!(part)),
            None if wraps_answer => {
                losses.changes_the_work(task.path_of("OutputPath"), format!("{reference} is not in the function's answer"));
            }
            None => _ = carried.insert("outputPath".to_owned(), json!(reference)),
        },
    }
}

fn lose_the_rest(task: &mut Fields<'_>, losses: &mut Losses<'_>) {
    let shapes = "a handler's answer is its output; shape it in the handler";
    task.lose(
        [
            ("InputPath", "the handler gets the whole batch; take the part in the handler"),
            ("ResultSelector", shapes),
            ("ResultPath", shapes),
            ("Output", shapes),
            ("Assign", "a map run has no variables"),
            ("Catch", "a failure that no retrier takes fails the batch's items; handle it in the handler"),
            (
                "TimeoutSecondsPath",
                "one time limit holds for every batch: write itemProcessor.timeoutSeconds",
            ),
            ("HeartbeatSeconds", "handlers send no heartbeats; timeoutSeconds limits a call"),
            ("HeartbeatSecondsPath", "handlers send no heartbeats; timeoutSeconds limits a call"),
        ],
        losses,
    );
}
