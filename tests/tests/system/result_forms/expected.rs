//! What the result files of the story must hold, worked out from its data.

use serde_json::{Value, json};

use super::files::ResultFiles;

/// Items of the story.
const ITEMS: u64 = 100;
/// Items of a batch: what the job says, or what holds without an `itemBatcher`.
const BATCH: (u64, u64) = (5, 25);

/// Fails alone until the redrive, with what.
const FAILING: [(u64, &str); 3] = [(7, "Told"), (12, "Other"), (13, "Told")];
/// Fail alone in the first attempt. The run is stopped before the first one's second attempt, and before the other one's first.
const AGAIN: [u64; 2] = [21, 70];
/// Fails its batch.
const EXITING: u64 = 25;
/// Hangs.
const HANGING: u64 = 50;

/// After which end of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Stopped,
    Redriven,
}

/// The data of the story.
pub(super) fn csv() -> String {
    let rows: String = (0..ITEMS).map(|index| format!("{index},{}\n", fate(index))).collect();
    format!("id,fail\n{rows}")
}

fn fate(index: u64) -> &'static str {
    match index {
        EXITING => "exit",
        HANGING => "hang",
        _ => match FAILING.iter().find(|(failing, _)| *failing == index) {
            Some((_, "Told")) => "told",
            Some(_) => "other",
            None if AGAIN.contains(&index) => "again",
            None => "",
        },
    }
}

fn item(index: u64) -> Value {
    json!({"id": index.to_string(), "fail": fate(index)})
}

fn output(index: u64) -> Value {
    json!([item(index), "x"])
}

/// Items that one handler call decided alike.
#[derive(Debug, Clone)]
struct Call {
    items: Vec<u64>,
    attempt: u64,
    redrive: u64,
    /// Status and error; `None`: succeeded.
    failure: Option<(&'static str, &'static str)>,
    /// No call decided them before the run ended: the coordinator wrote of them.
    left: bool,
}

/// What must be there.
pub(super) struct Expected {
    transformation: &'static str,
    batched: bool,
    calls: Vec<Call>,
    pending: Vec<u64>,
}

impl Expected {
    pub(super) fn new(transformation: &'static str, batched: bool, round: Round) -> Self {
        let size = if batched { BATCH.0 } else { BATCH.1 };
        let batches: Vec<Vec<u64>> =
            (0..ITEMS / size).map(|batch| (batch * size..(batch + 1) * size).collect()).collect();
        let mut expected = Self { transformation, batched, calls: Vec::new(), pending: Vec::new() };
        let stopped = batches.iter().position(|batch| batch.contains(&HANGING)).unwrap();
        batches[..stopped].iter().for_each(|batch| expected.first_run_of(batch));
        expected.fail(&batches[stopped], "ABORTED", "Warifu.Aborted");
        expected.pending = batches[stopped + 1..].concat();
        if round == Round::Redriven {
            expected.redrive(&batches);
        }
        expected
    }

    fn first_run_of(&mut self, batch: &[u64]) {
        if batch.contains(&EXITING) {
            return self.fail(batch, "FAILED", "Exec.Exit.3");
        }
        let failing = |index: &u64| FAILING.iter().find(|(failing, _)| failing == index);
        let good = batch.iter().copied().filter(|index| failing(index).is_none() && !AGAIN.contains(index));
        self.succeed(good.collect(), 1, 0);
        for error in ["Told", "Other"] {
            let alike =
                batch.iter().copied().filter(|index| failing(index).is_some_and(|(_, own)| *own == error));
            self.fail(&alike.collect::<Vec<_>>(), "FAILED", error);
        }
        self.leave(batch.iter().copied().filter(|index| AGAIN.contains(index)).collect());
    }

    /// Whatever did not succeed is sent once more, batch by batch, and succeeds.
    fn redrive(&mut self, batches: &[Vec<u64>]) {
        let done: Vec<u64> = self
            .calls
            .iter()
            .filter(|call| call.failure.is_none())
            .flat_map(|call| call.items.clone())
            .collect();
        self.calls.retain(|call| call.failure.is_none());
        self.pending.clear();
        for batch in batches {
            let sent = batch.iter().copied().filter(|index| !done.contains(index));
            let (again, at_once) = sent.partition(|index| AGAIN.contains(index));
            self.succeed(at_once, 1, 1);
            self.succeed(again, 2, 1);
        }
    }

    fn succeed(&mut self, items: Vec<u64>, attempt: u64, redrive: u64) {
        self.add(Call { items, attempt, redrive, failure: None, left: false });
    }

    fn fail(&mut self, items: &[u64], status: &'static str, error: &'static str) {
        let failure = Some((status, error));
        self.add(Call { items: items.to_vec(), attempt: 1, redrive: 0, failure, left: false });
    }

    fn leave(&mut self, items: Vec<u64>) {
        let failure = Some(("ABORTED", "Warifu.Aborted"));
        self.add(Call { items, attempt: 1, redrive: 0, failure, left: true });
    }

    fn add(&mut self, call: Call) {
        if !call.items.is_empty() {
            self.calls.push(call);
        }
    }

    /// The executions of AWS: a call's items together, or each alone.
    fn executions(&self, succeeded: bool) -> Vec<Call> {
        let calls = self.calls.iter().filter(|call| call.failure.is_none() == succeeded);
        let alone = |call: &Call| {
            let one = |index: &u64| Call { items: vec![*index], ..call.clone() };
            if self.batched { vec![call.clone()] } else { call.items.iter().map(one).collect() }
        };
        calls.flat_map(alone).collect()
    }

    /// Entries of items or executions that succeeded.
    pub(super) fn succeeded_count(&self) -> usize {
        match self.transformation {
            "ITEMS" => {
                self.calls.iter().filter(|call| call.failure.is_none()).map(|call| call.items.len()).sum()
            }
            _ => self.executions(true).len(),
        }
    }

    #[track_caller]
    pub(super) fn compare(&self, found: &ResultFiles, id: &str) {
        let same = |what: &str, found: Vec<Value>, expected: Vec<Value>| {
            assert_eq!(in_order(found), in_order(expected), "{id}: {what}");
        };
        let shown = |entries: &[Value]| entries.iter().map(|entry| self.shown(entry, id)).collect();
        match self.transformation {
            "COMPACT" | "FLATTEN" => same("succeeded", found.succeeded.clone(), self.outputs()),
            _ => same("succeeded", shown(&found.succeeded), self.entries(true)),
        }
        same("failed", shown(&found.failed), self.entries(false));
        match self.transformation {
            "NONE" => {
                same("pending", found.pending.iter().map(pending_input).collect(), self.pending_inputs())
            }
            _ => assert_eq!(pending_indexes(&found.pending), self.pending, "{id}: pending"),
        }
    }

    /// What a file of outputs alone holds.
    fn outputs(&self) -> Vec<Value> {
        let outputs = self.executions(true).into_iter().map(|call| self.output_of(&call));
        match self.transformation {
            "COMPACT" => outputs.collect(),
            _ => outputs.flat_map(|output| output.as_array().unwrap().clone()).collect(),
        }
    }

    fn output_of(&self, call: &Call) -> Value {
        if self.batched {
            call.items.iter().map(|index| output(*index)).collect()
        } else {
            output(call.items[0])
        }
    }

    fn input_of(&self, items: &[u64]) -> Value {
        if !self.batched {
            return item(items[0]);
        }
        json!({"BatchInput": {"k": "v"}, "Items": items.iter().map(|index| item(*index)).collect::<Vec<_>>()})
    }

    fn pending_inputs(&self) -> Vec<Value> {
        let size = if self.batched { BATCH.0 } else { 1 };
        self.pending.chunks(size as usize).map(|items| self.input_of(items)).collect()
    }

    /// The entries of items or executions, as far as they are the same from run to run.
    fn entries(&self, succeeded: bool) -> Vec<Value> {
        let size = if self.batched { BATCH.0 } else { BATCH.1 };
        if self.transformation == "ITEMS" {
            let calls = self.calls.iter().filter(|call| call.failure.is_none() == succeeded);
            let lines = |call: &Call| -> Vec<Value> {
                let status = call.failure.map_or("SUCCEEDED", |(status, _)| status);
                let common = |index: &u64| json!([index, index / size, status, call.attempt]);
                let end = |index: &u64| match call.failure {
                    None => output(*index),
                    Some((_, error)) if call.left => json!([null, error]),
                    Some((_, error)) => json!([item(*index), error]),
                };
                call.items.iter().map(|index| json!([common(index), end(index)])).collect()
            };
            return calls.flat_map(lines).collect();
        }
        let entry = |call: Call| {
            let number = if self.batched { call.items[0] / size } else { call.items[0] };
            let input = self.input_of(&call.items);
            match call.failure {
                None => json!([number.to_string(), "SUCCEEDED", call.redrive, input, self.output_of(&call)]),
                Some(("ABORTED", _)) => json!([number.to_string(), "ABORTED", call.redrive, input, null]),
                Some((status, error)) => json!([number.to_string(), status, call.redrive, input, error]),
            }
        };
        self.executions(succeeded).into_iter().map(entry).collect()
    }

    /// The same of an entry that was found, after a look at all that is not compared.
    fn shown(&self, entry: &Value, id: &str) -> Value {
        if self.transformation == "ITEMS" {
            let common = json!([entry["index"], entry["batch"], entry["status"], entry["attempts"]]);
            return match entry["status"].as_str() {
                Some("SUCCEEDED") => json!([common, entry["output"]]),
                _ => json!([common, [entry["item"], entry["error"]]]),
            };
        }
        let (status, name) = (entry["Status"].as_str().unwrap(), entry["Name"].as_str().unwrap());
        assert_eq!(entry["ExecutionArn"], format!("arn:aws:states:::execution:mapRuns/{id}:{name}"));
        assert_eq!(entry["StateMachineArn"], format!("arn:aws:states:::stateMachine:mapRuns/{id}"));
        let (start, stop) = (entry["StartDate"].as_str(), entry["StopDate"].as_str());
        assert!(stop.is_some() && start <= stop && (start.is_some() || status == "ABORTED"), "{entry}");
        let end = match status {
            "SUCCEEDED" => serde_json::from_str(entry["Output"].as_str().unwrap()).unwrap(),
            _ => entry["Error"].clone(),
        };
        json!([name, status, entry["RedriveCount"], inner(entry, "Input"), end])
    }
}

fn inner(entry: &Value, key: &str) -> Value {
    serde_json::from_str(entry[key].as_str().unwrap()).unwrap()
}

fn pending_input(entry: &Value) -> Value {
    assert_eq!((&entry["Status"], &entry["InputDetails"]), (&json!("PENDING"), &json!({"Included": true})));
    inner(entry, "Input")
}

fn pending_indexes(ranges: &[Value]) -> Vec<u64> {
    let mut indexes: Vec<u64> = ranges
        .iter()
        .flat_map(|range| range["firstIndex"].as_u64().unwrap()..=range["lastIndex"].as_u64().unwrap())
        .collect();
    indexes.sort_unstable();
    indexes
}

/// Nothing is said of the order within and between files.
fn in_order(mut entries: Vec<Value>) -> Vec<Value> {
    entries.sort_by_key(ToString::to_string);
    entries
}
