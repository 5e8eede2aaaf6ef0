//! Entries of executions: what each form makes of outcomes.

use proptest::prelude::*;
use serde_json::{Value, json};
use warifu_common::model::RangeSet;

use super::*;
use crate::classify::FailureGroup;
use crate::handler::Outputs;
use crate::testing::{call_of, unbatched_call_of};

const CSV: &str = "a\n0\n1\n2\n3\n";

/// The items 700 to 703 of batch 7.
fn call(batched: bool) -> BatchCall {
    if batched { call_of(CSV) } else { unbatched_call_of(CSV) }
}

fn decided(failed: Vec<FailureGroup>, undecided: &[u32], outputs: Option<Outputs>) -> Decided {
    Decided {
        call: CallOutcome::Answered,
        failed,
        undecided: undecided.iter().copied().collect(),
        retriers: Vec::new(),
        outputs,
        fault: None,
    }
}

fn group(items: &[u32], error: &str) -> FailureGroup {
    FailureGroup { items: items.iter().copied().collect(), failure: CallFailure::business(error, "why") }
}

fn outputs(texts: &[&str]) -> Option<Outputs> {
    let mut outputs = Outputs::new();
    texts.iter().for_each(|text| outputs.push(text.as_bytes()));
    Some(outputs)
}

fn write(transformation: Transformation, batched: bool, sent: &[u32], decided: &Decided) -> BatchLines {
    let call = call(batched).with_offsets(sent);
    let (start, stop) = (WallTime(1_000), WallTime(2_500));
    write_entries(&ExecutionOrder { transformation, call: &call, sent, redrive: 2, start, stop, decided })
}

fn entries(lines: &Lines) -> Vec<Value> {
    let text = std::str::from_utf8(&lines.text).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn inner(entry: &Value, key: &str) -> Value {
    serde_json::from_str(entry[key].as_str().unwrap()).unwrap()
}

#[test]
fn a_batch_is_one_execution_with_its_items_as_aws_sends_them() {
    let decided = decided(Vec::new(), &[], outputs(&["10", "", "{\"x\":1}", "[4]"]));
    let lines = write(Transformation::None, true, &[0, 1, 2, 3], &decided);
    let [entry] = &entries(&lines.succeeded)[..] else { panic!("one entry") };
    assert_eq!((lines.succeeded.count, lines.failed), (4, Lines::default()));
    assert_eq!(
        inner(entry, "Input"),
        json!({"BatchInput": {"k": "v"}, "Items": [{"a": "0"}, {"a": "1"}, {"a": "2"}, {"a": "3"}]})
    );
    assert_eq!(inner(entry, "Output"), json!([10, null, {"x": 1}, [4]]));
    assert_eq!((&entry["Name"], &entry["RedriveCount"]), (&json!("7"), &json!(2)));
    assert_eq!(
        (&entry["StartDate"], &entry["StopDate"]),
        (&json!("1970-01-01T00:00:01.000Z"), &json!("1970-01-01T00:00:02.500Z"))
    );
}

#[test]
fn without_a_batcher_each_item_is_an_execution() {
    let decided = decided(vec![group(&[1, 3], "Bad")], &[], outputs(&["10", "", "12", ""]));
    let lines = write(Transformation::None, false, &[0, 1, 2, 3], &decided);
    let shown = |entry: &Value, what: &str| (entry["Name"].as_str().unwrap().to_owned(), inner(entry, what));
    let succeeded: Vec<_> = entries(&lines.succeeded).iter().map(|entry| shown(entry, "Output")).collect();
    assert_eq!(succeeded, [("700".to_owned(), json!(10)), ("702".to_owned(), json!(12))]);
    let failed: Vec<_> = entries(&lines.failed).iter().map(|entry| shown(entry, "Input")).collect();
    assert_eq!(failed, [("701".to_owned(), json!({"a": "1"})), ("703".to_owned(), json!({"a": "3"}))]);
    assert_eq!((lines.succeeded.count, lines.failed.count), (2, 2));
}

#[test]
fn items_of_a_batch_that_fail_alone_have_an_entry_for_each_reason_and_the_others_theirs() {
    let failed = vec![group(&[0], "A"), group(&[3], "B")];
    let decided = decided(failed, &[1], outputs(&["", "", "12", ""]));
    let lines = write(Transformation::None, true, &[0, 1, 2, 3], &decided);
    let [entry] = &entries(&lines.succeeded)[..] else { panic!("one entry") };
    assert_eq!(inner(entry, "Input")["Items"], json!([{"a": "2"}]));
    assert_eq!(inner(entry, "Output"), json!([12]));
    let failed = entries(&lines.failed);
    let shown: Vec<_> =
        failed.iter().map(|entry| (entry["Error"].clone(), inner(entry, "Input")["Items"].clone())).collect();
    assert_eq!(shown, [(json!("A"), json!([{"a": "0"}])), (json!("B"), json!([{"a": "3"}]))]);
    assert!(failed.iter().all(|entry| entry["Status"] == "FAILED" && entry["Cause"] == "why"));
}

#[test]
fn a_call_that_ended_as_a_whole_gives_its_status_to_all() {
    for (call, status, error) in [
        (CallOutcome::Failed, "FAILED", json!("E")),
        (CallOutcome::TimedOut, "TIMED_OUT", json!("E")),
        (CallOutcome::Aborted, "ABORTED", Value::Null),
    ] {
        let decided = Decided { call, ..decided(vec![group(&[0, 1, 2, 3], "E")], &[], None) };
        for transformation in [Transformation::None, Transformation::Compact, Transformation::Flatten] {
            let lines = write(transformation, true, &[0, 1, 2, 3], &decided);
            assert_eq!(lines.succeeded, Lines::default());
            let [entry] = &entries(&lines.failed)[..] else { panic!("one entry") };
            assert_eq!((entry["Status"].as_str(), &entry["Error"]), (Some(status), &error));
        }
    }
}

#[test]
fn compact_has_outputs_alone_and_flatten_opens_arrays_by_one_level() {
    let own = decided(Vec::new(), &[], outputs(&["1", "[2,[3]]", "", "[]"]));
    let whole = decided(Vec::new(), &[], Some(Outputs::of_batch(b"{\"n\":4}", 0, 4)));
    let nothing = decided(Vec::new(), &[], None);
    let all = [0, 1, 2, 3];
    let table = [
        (Transformation::Compact, true, &own, json!([[1, [2, [3]], null, []]])),
        (Transformation::Flatten, true, &own, json!([1, [2, [3]], null, []])),
        (Transformation::Compact, false, &own, json!([1, [2, [3]], null, []])),
        (Transformation::Flatten, false, &own, json!([1, 2, [3], null])),
        (Transformation::Compact, true, &whole, json!([{"n": 4}])),
        (Transformation::Flatten, true, &whole, json!([{"n": 4}])),
        (Transformation::Compact, true, &nothing, json!([null])),
        (Transformation::Flatten, true, &nothing, json!([null])),
    ];
    for (transformation, batched, decided, expected) in table {
        let lines = write(transformation, batched, &all, decided);
        assert_eq!(Value::from(entries(&lines.succeeded)), expected, "{transformation:?} {batched}");
        assert_eq!(lines.succeeded.count, 4);
    }
}

#[test]
fn the_one_output_of_a_batch_is_its_output_though_items_failed() {
    let reply = br#"{"batchItemFailures":[{"itemIdentifier":700}]}"#;
    let decided = decided(vec![group(&[0], "A")], &[], Some(Outputs::of_batch(reply, 1, 4)));
    let lines = write(Transformation::None, true, &[0, 1, 2, 3], &decided);
    let [entry] = &entries(&lines.succeeded)[..] else { panic!("one entry") };
    assert_eq!(entry["Output"].as_str().unwrap().as_bytes(), reply);
}

proptest! {
    /// 0: failed for one reason, 1: for another, 2: to be sent again, 3: succeeded.
    #[test]
    fn every_item_that_was_decided_stands_in_one_entry(fates in prop::collection::vec(0_u8..4, 4), batched: bool) {
        let with = |fate: u8| -> Vec<u32> {
            (0..4).zip(&fates).filter(|(_, own)| **own == fate).map(|(offset, _)| offset).collect()
        };
        let groups = [(0, "A"), (1, "B")].map(|(fate, error)| group(&with(fate), error));
        let groups = groups.into_iter().filter(|group| !group.items.is_empty()).collect();
        let decided = decided(groups, &with(2), outputs(&["0", "1", "2", "3"]));
        let lines = write(Transformation::None, batched, &[0, 1, 2, 3], &decided);
        let mut seen = RangeSet::new();
        for (entry, success) in entries(&lines.succeeded)
            .iter()
            .map(|entry| (entry, true))
            .chain(entries(&lines.failed).iter().map(|entry| (entry, false)))
        {
            let input = inner(entry, "Input");
            let items = if batched { input["Items"].as_array().unwrap().clone() } else { vec![input] };
            for item in items {
                let offset: u32 = item["a"].as_str().unwrap().parse().unwrap();
                prop_assert!(seen.insert(offset), "item {} is there twice", offset);
                prop_assert_eq!(success, fates[offset as usize] == 3);
            }
        }
        let expected: RangeSet = (0..4).filter(|offset| fates[*offset as usize] != 2).collect();
        prop_assert_eq!(seen, expected);
    }
}
