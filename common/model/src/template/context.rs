//! What a template can take of AWS's context object, `$$`.

use warifu_dataset::{ItemHole, JsonPath, PathStep};

use super::{Fact, Taken};
use crate::MapRunId;

/// What every template can take.
const EVERYWHERE: &str = "$$.Execution.Id, .StartTime, .RedriveCount and .Input, $$.State.EnteredTime, and paths into the input ($…)";

/// What a kind of template takes beyond what every template does.
pub trait TemplateHole: Sized {
    /// What that is, for messages.
    const TAKES: &'static str;

    /// What a path that begins with `$` takes, if it is not a value of the run's input.
    fn of_path(_path: &JsonPath) -> Option<Self> {
        None
    }

    /// What `$$.Map.Item.NAME` takes, `rest` being what follows in the path.
    fn of_item(name: &str, rest: &JsonPath) -> Option<Self>;

    /// What takes the object that an item comes from, where it can be taken.
    fn of_source() -> Option<Self> {
        None
    }
}

/// `itemSelector`
impl TemplateHole for ItemHole {
    const TAKES: &'static str = "$$.Map.Item.Index, .Value and .Source";

    fn of_item(name: &str, rest: &JsonPath) -> Option<Self> {
        match name {
            "Value" => Some(ItemHole::Value(rest.clone())),
            "Index" if rest.steps().is_empty() => Some(ItemHole::Index),
            _ => None,
        }
    }

    fn of_source() -> Option<Self> {
        Some(ItemHole::Source)
    }
}

/// What `batchInput` can take of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchHole {
    /// `RUN/NUMBER`
    Id,
    /// Its number over the whole data set.
    Number,
    /// Items of the call.
    Size,
}

impl BatchHole {
    /// Appends what it stands for in the batch `number` of `map_run`, in a call with `item_count` items.
    pub fn write(self, map_run: &MapRunId, number: u64, item_count: usize, out: &mut Vec<u8>) {
        let text = match self {
            BatchHole::Id => format!("\"{map_run}/{number}\""),
            BatchHole::Number => number.to_string(),
            BatchHole::Size => item_count.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

impl TemplateHole for BatchHole {
    const TAKES: &'static str = "$$.Map.Item.BatchId, .BatchNumber and .BatchSize";

    fn of_item(name: &str, rest: &JsonPath) -> Option<Self> {
        match name {
            _ if !rest.steps().is_empty() => None,
            "BatchId" => Some(BatchHole::Id),
            "BatchNumber" => Some(BatchHole::Number),
            "BatchSize" => Some(BatchHole::Size),
            _ => None,
        }
    }
}

/// What `payload` can take of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadHole {
    /// Something of its batch.
    Batch(BatchHole),
    /// A value of the event as it would be without a payload.
    Event(JsonPath),
}

impl TemplateHole for PayloadHole {
    const TAKES: &'static str = "$$.Map.Item.BatchId, .BatchNumber and .BatchSize";

    fn of_path(path: &JsonPath) -> Option<Self> {
        Some(PayloadHole::Event(path.clone()))
    }

    fn of_item(name: &str, rest: &JsonPath) -> Option<Self> {
        BatchHole::of_item(name, rest).map(PayloadHole::Batch)
    }
}

/// What `text` takes, a path that begins with `$$`.
pub(super) fn read<H: TemplateHole>(text: &str) -> Result<Taken<H>, String> {
    let path = JsonPath::parse(&text[1..]).map_err(|problem| problem.to_string())?;
    let names: Vec<&str> = path.steps().iter().map_while(name).collect();
    let rest = |steps: usize| JsonPath::of_steps(text, &path.steps()[steps..]);
    let is = |known: &[&str]| path.steps().len() == known.len() && names == known;
    let taken = match &names[..] {
        ["Execution", "Input", ..] => Some(Taken::Input(rest(2))),
        ["Map", "Item", "Source"] if is(&["Map", "Item", "Source"]) => H::of_source().map(Taken::Source),
        ["Map", "Item", name, ..] => H::of_item(name, &rest(3)).map(Taken::Hole),
        _ if is(&["Execution", "Id"]) => Some(Taken::Fact(Fact::ExecutionId)),
        _ if is(&["Execution", "StartTime"]) => Some(Taken::Fact(Fact::StartTime)),
        _ if is(&["Execution", "RedriveCount"]) => Some(Taken::Fact(Fact::RedriveCount)),
        _ if is(&["State", "EnteredTime"]) => Some(Taken::Fact(Fact::EnteredTime)),
        _ => None,
    };
    taken.ok_or_else(|| {
        format!("the context object has no such value here; there are {}, {EVERYWHERE}", H::TAKES)
    })
}

fn name(step: &PathStep) -> Option<&str> {
    match step {
        PathStep::Name(name) => Some(name),
        PathStep::Index(_) => None,
    }
}
