//! Templates: objects in which a key that ends in `.$` takes a value by its path.
//!
//! A template is [parsed](Template::parse) when a run is created, and again once per run by whoever fills it. What does not
//! change within the run is put in then ([`Template::shape`]); what is left are the holes of a [`Shape`]. It deliberately knows
//! no items and no batches: those fill the holes.

mod context;
mod run;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use warifu_dataset::{ItemHole, JsonPath, Part, SOURCES_SINCE, Shape};

use crate::spec::MapRunSpec;
use crate::{MapRunId, WallTime};

pub use context::{BatchHole, PayloadHole, TemplateHole};
pub use run::{RunTemplateProblem, RunTemplates, constant_item_bytes};

/// How the keys end that take a value by its path.
const BY_PATH: &str = ".$";

/// A template, its paths read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<H> {
    root: Vec<(String, Node<H>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node<H> {
    Constant(Value),
    Object(Vec<(String, Node<H>)>),
    List(Vec<Node<H>>),
    Taken(Taken<H>),
}

/// What a path takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Taken<H> {
    /// A value of the run's input.
    Input(JsonPath),
    /// Something that holds for the whole run.
    Fact(Fact),
    /// The object that items come from: the same for the whole run, or a hole.
    Source(H),
    /// Something that the template's user fills in.
    Hole(H),
}

/// What holds for a whole run, of one redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    ExecutionId,
    StartTime,
    RedriveCount,
    EnteredTime,
}

/// What templates can say of their run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFacts {
    /// The run; `$$.Execution.Id` is its name, `mapRuns/ID`.
    pub map_run: MapRunId,
    /// `$$.Execution.StartTime`
    pub start_time: WallTime,
    /// `$$.State.EnteredTime`
    pub entered_time: WallTime,
    /// `$$.Execution.RedriveCount`
    pub redrive_count: u32,
    /// `$$.Map.Item.Source`
    pub source: ItemSource,
}

/// What `$$.Map.Item.Source` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemSource {
    /// The same for all items of the run.
    OfRun(String),
    /// Each item's own object: the data says which ([`SourcedLines`](warifu_dataset::SourcedLines)).
    OfItem,
}

impl ItemSource {
    /// Of a run of `spec` that pinned `cut_version`; `of_run` is what it is where items have none of their own.
    pub fn pinned(spec: &MapRunSpec, cut_version: u32, of_run: String) -> Self {
        let of_items = spec.item_reader.objects.are_read() && cut_version >= SOURCES_SINCE;
        if of_items { Self::OfItem } else { Self::OfRun(of_run) }
    }
}

/// What is wrong at one place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The keys and places on the way there, `a.list[0].b.$`.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl<H: TemplateHole> Template<H> {
    /// Reads a template; all that is wrong with it at once.
    pub fn parse(template: &Map<String, Value>) -> Result<Self, Vec<TemplateProblem>> {
        let mut problems = Vec::new();
        let root = read_object(template, "", &mut problems);
        if problems.is_empty() { Ok(Self { root }) } else { Err(problems) }
    }
}

impl<H: Clone> Template<H> {
    /// What is left to be filled once `input` and `facts` are known; or every path that names nothing in `input`.
    pub fn shape(
        &self,
        input: &Map<String, Value>,
        facts: &TemplateFacts,
    ) -> Result<Shape<H>, Vec<TemplateProblem>> {
        let mut writer = Writer { input: Value::Object(input.clone()), facts, problems: Vec::new() };
        let fields: Vec<_> = self
            .root
            .iter()
            .map(|(name, node)| {
                let mut parts = Vec::new();
                writer.write(node, name, &mut parts);
                (name.clone(), parts)
            })
            .collect();
        if writer.problems.is_empty() { Ok(Shape::new(fields)) } else { Err(writer.problems) }
    }
}

/// True if an `itemSelector` asks for the object that each item comes from.
pub(crate) fn asks_for_source(selector: &Map<String, Value>) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::Object(object) => asks_for_source(object),
            Value::Array(values) => values.iter().any(in_value),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    let is_source = |value| matches!(read_reference::<ItemHole>(value), Ok(Taken::Source(_)));
    selector.iter().any(|(key, value)| (key.ends_with(BY_PATH) && is_source(value)) || in_value(value))
}

/// True if `template` takes anything by path.
pub fn takes_by_path(template: &Map<String, Value>) -> bool {
    fn any_in(value: &Value) -> bool {
        match value {
            Value::Object(object) => takes_by_path(object),
            Value::Array(values) => values.iter().any(any_in),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    template.iter().any(|(key, value)| key.ends_with(BY_PATH) || any_in(value))
}

fn read_object<H: TemplateHole>(
    object: &Map<String, Value>,
    at: &str,
    problems: &mut Vec<TemplateProblem>,
) -> Vec<(String, Node<H>)> {
    let mut entries = Vec::with_capacity(object.len());
    for (key, value) in object {
        let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let Some(name) = key.strip_suffix(BY_PATH) else {
            entries.push((key.clone(), read_value(value, &place, problems)));
            continue;
        };
        if object.contains_key(name) {
            let problem = format!("{name:?} stands beside it, and both would make the same entry");
            problems.push(TemplateProblem { place: place.clone(), problem });
        }
        match read_reference(value) {
            Ok(taken) => entries.push((name.to_owned(), Node::Taken(taken))),
            Err(problem) => problems.push(TemplateProblem { place, problem }),
        }
    }
    entries
}

fn read_value<H: TemplateHole>(value: &Value, place: &str, problems: &mut Vec<TemplateProblem>) -> Node<H> {
    match value {
        Value::Object(object) if takes_by_path(object) => Node::Object(read_object(object, place, problems)),
        Value::Array(values) => {
            let read = |(i, value)| read_value(value, &format!("{place}[{i}]"), problems);
            Node::List(values.iter().enumerate().map(read).collect())
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Node::Constant(value.clone())
        }
    }
}

fn read_reference<H: TemplateHole>(value: &Value) -> Result<Taken<H>, String> {
    let Value::String(text) = value else {
        return Err(format!("is {value}; a key that ends in `.$` takes a JSONPath, in quotes"));
    };
    let shown = |problem: String| format!("`{text}`: {problem}");
    match text.strip_prefix("$$") {
        Some(_) => context::read(text).map_err(shown),
        None => {
            let path = JsonPath::parse(text).map_err(|problem| shown(problem.to_string()))?;
            Ok(H::of_path(&path).map_or(Taken::Input(path), Taken::Hole))
        }
    }
}

/// Writes what is known of a template as JSON text.
struct Writer<'a> {
    input: Value,
    facts: &'a TemplateFacts,
    problems: Vec<TemplateProblem>,
}

impl Writer<'_> {
    fn write<H: Clone>(&mut self, node: &Node<H>, place: &str, parts: &mut Vec<Part<H>>) {
        match node {
            Node::Constant(value) => parts.push(Part::Text(value.to_string())),
            Node::Taken(taken) => parts.push(self.take(taken, place)),
            Node::List(values) => {
                for (i, value) in values.iter().enumerate() {
                    parts.push(text(if i == 0 { "[" } else { "," }));
                    self.write(value, &format!("{place}[{i}]"), parts);
                }
                parts.push(text(if values.is_empty() { "[]" } else { "]" }));
            }
            Node::Object(entries) => {
                for (i, (name, value)) in entries.iter().enumerate() {
                    let key = Value::from(name.as_str());
                    parts.push(Part::Text(format!("{}{key}:", if i == 0 { "{" } else { "," })));
                    self.write(value, &format!("{place}.{name}"), parts);
                }
                parts.push(text("}"));
            }
        }
    }

    fn take<H: Clone>(&mut self, taken: &Taken<H>, place: &str) -> Part<H> {
        match taken {
            Taken::Hole(hole) => Part::Hole(hole.clone()),
            Taken::Source(hole) => match &self.facts.source {
                ItemSource::OfItem => Part::Hole(hole.clone()),
                ItemSource::OfRun(source) => fact_text(source),
            },
            Taken::Fact(Fact::RedriveCount) => Part::Redrives(self.facts.redrive_count),
            Taken::Fact(Fact::ExecutionId) => fact_text(&self.facts.map_run.resource_name()),
            Taken::Fact(Fact::StartTime) => fact_text(&self.facts.start_time.to_string()),
            Taken::Fact(Fact::EnteredTime) => fact_text(&self.facts.entered_time.to_string()),
            Taken::Input(path) => match path.find_in(&self.input) {
                Some(value) => Part::Text(value.to_string()),
                None => {
                    let problem = format!("{path} names nothing in the run's input");
                    self.problems.push(TemplateProblem { place: format!("{place}{BY_PATH}"), problem });
                    text("null")
                }
            },
        }
    }
}

fn fact_text<H>(fact: &str) -> Part<H> {
    Part::Text(Value::from(fact).to_string())
}

fn text<H>(text: &str) -> Part<H> {
    Part::Text(text.to_owned())
}
