//! Compares scan, composition and reading with the `csv` crate and with a naive machine, for any object and any cuts.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

pub mod machine;
pub mod naive;

use std::sync::Arc;

use warifu_dataset::{
    Batch, Checkpoint, Composed, ComposedShard, Composer, CutRules, DataProblem, Dialect, EntryState, Header,
    HeaderLocation, ItemHole, ItemShape, JsonPath, Limits, Part, Probe, ProbeError, ScanRequest, ShardPlan,
    ShardScan, SpanReader, SpanShard, SpanStep, probe, scan,
};

/// The JSON without items that every case takes.
pub const ENVELOPE: &str = r#"{"BatchInput":{},"Items":[]}"#;

/// An object's surroundings: all that decides what comes out.
#[derive(Debug, Clone)]
pub struct Case {
    pub dialect: Dialect,
    pub location: HeaderLocation,
    pub shard_size: u64,
    pub items_per_batch: u32,
    pub input_bytes: u64,
    pub max_items: Option<u64>,
    pub count_from: u64,
    pub end: u64,
    pub max_record_bytes: u64,
    /// How many bytes more a reader gets each time that it needs more.
    pub feed: usize,
    /// Scans first for this of the possible entries, instead of a guess.
    pub forced_guess: Option<usize>,
    /// Counts so many items at most in the first scan of each shard.
    pub first_limit: Option<u64>,
    /// What items look like in batches, if not as in the data.
    pub selector: Option<Vec<Selected>>,
}

/// One entry of an item's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    Index,
    Item,
    Column(&'static str),
    Text(&'static str),
}

/// The name of a shape's entry.
pub fn entry_name(place: usize) -> String {
    format!("entry \"{place}\"")
}

fn shape_of(selector: &[Selected]) -> ItemShape {
    let path = |text: &str| ItemHole::Value(JsonPath::parse(text).unwrap());
    let part = |selected: &Selected| match selected {
        Selected::Index => Part::Hole(ItemHole::Index),
        Selected::Item => Part::Hole(path("$")),
        Selected::Column(name) => Part::Hole(path(&format!("$['{name}']"))),
        Selected::Text(text) => Part::Text(serde_json::to_string(text).unwrap()),
    };
    let entry = |(place, selected)| (entry_name(place), vec![part(selected)]);
    ItemShape::new(selector.iter().enumerate().map(entry))
}

impl Default for Case {
    fn default() -> Self {
        Self {
            dialect: Dialect { delimiter: b',', lenient_quotes: true },
            location: HeaderLocation::Given(vec!["a".into(), "b".into()]),
            shard_size: 8 << 20,
            items_per_batch: 3,
            input_bytes: 262_144,
            max_items: None,
            count_from: 0,
            end: u64::MAX,
            max_record_bytes: 1 << 20,
            feed: 1 << 20,
            forced_guess: None,
            first_limit: None,
            selector: None,
        }
    }
}

impl Case {
    pub fn limits(&self) -> Limits {
        Limits { max_record_bytes: self.max_record_bytes, ..Limits::default() }
    }

    pub fn plan(&self, probe: &Probe, object: &[u8]) -> ShardPlan {
        ShardPlan {
            data_start: probe.data_start,
            count_from: self.count_from.max(probe.data_start),
            end: self.end.min(object.len() as u64),
            object_size: object.len() as u64,
            shard_size: self.shard_size,
        }
    }

    pub fn rules(&self, header: Header) -> CutRules {
        CutRules {
            max_items: self.items_per_batch,
            max_input_bytes: self.input_bytes,
            envelope_bytes: ENVELOPE.len() as u64,
            header,
            format: self.dialect.into(),
            sourced: false,
            max_record_bytes: self.max_record_bytes,
            shape: self.selector.as_deref().map(shape_of),
        }
    }
}

/// What scan and composition made of an object.
pub struct Outcome {
    pub shards: Vec<ComposedShard>,
    pub problem: Option<DataProblem>,
    pub items: u64,
    pub rescans: usize,
}

/// Probes with heads that grow as they are asked for, from a single byte.
pub fn probe_growing(object: &[u8], case: &Case) -> Result<Probe, ProbeError> {
    let mut head = 1;
    loop {
        let given = object.len().min(head);
        let at_end = given == object.len();
        match probe(&object[..given], at_end, case.dialect.into(), &case.location, &case.limits()) {
            Err(ProbeError::NeedMore { bytes }) => {
                assert!(!at_end && bytes > given as u64, "asks for more than there is");
                head = bytes as usize;
            }
            other => return other,
        }
    }
}

/// Scans one shard of a plan.
pub fn scan_shard(
    object: &[u8],
    plan: &ShardPlan,
    rules: &CutRules,
    shard: u32,
    (entry, item_limit): (Option<EntryState>, Option<u64>),
) -> ShardScan {
    let range = plan.range(shard);
    scan(&ScanRequest {
        bytes: &object[range.start as usize..range.end as usize],
        range,
        previous: (shard > 0).then(|| object[range.start as usize - 1]),
        entry,
        ends_object: plan.ends_object(shard),
        item_limit,
        rules,
    })
}

fn forced_entry(object: &[u8], case: &Case, plan: &ShardPlan, shard: u32) -> Option<EntryState> {
    let before = (shard > 0).then(|| object[plan.range(shard).start as usize - 1]);
    let possible = EntryState::possible_after(before, case.dialect.into());
    case.forced_guess.map(|guess| possible[guess % possible.len()])
}

/// Scans and composes all shards.
pub fn compose_all(object: &[u8], case: &Case, plan: &ShardPlan, rules: &CutRules) -> Outcome {
    let mut composer = Composer::new(plan, case.max_items, case.dialect.into(), &case.limits());
    let mut outcome = Outcome { shards: Vec::new(), problem: None, items: 0, rescans: 0 };
    while !composer.is_complete() {
        let shard = composer.next_shard();
        let first = scan_shard(
            object,
            plan,
            rules,
            shard,
            (forced_entry(object, case, plan, shard), case.first_limit),
        );
        machine::check_exits(object, &first, case.dialect.delimiter, shard == 0);
        let mut composed = composer.compose(&first);
        if let Composed::Rescan { entry, item_limit } = composed {
            outcome.rescans += 1;
            assert_eq!((entry, item_limit), (composer.entry(), composer.item_limit()));
            let second = scan_shard(object, plan, rules, shard, (Some(entry), item_limit));
            machine::check_exits(object, &second, case.dialect.delimiter, shard == 0);
            composed = composer.compose(&second);
        }
        match composed {
            Composed::Shard(composed) => outcome.shards.push(composed),
            Composed::Invalid(problem) => {
                outcome.problem = Some(problem);
                break;
            }
            Composed::Rescan { .. } => panic!("a rescan was not enough"),
        }
    }
    outcome.items = composer.items();
    outcome
}

/// Reads all batches of a composed shard from `start` on.
pub fn read_from(
    object: &[u8],
    case: &Case,
    rules: &Arc<CutRules>,
    shard: SpanShard,
    start: Checkpoint,
    skip_to: Option<u32>,
) -> (Vec<Batch>, Option<DataProblem>) {
    let mut reader = SpanReader::new(Arc::clone(rules), shard, start);
    if let Some(ordinal) = skip_to {
        reader.skip_to(ordinal);
    }
    let mut batches = Vec::new();
    let mut given = case.feed;
    loop {
        let position = reader.position() as usize;
        let end = object.len().min(position + given);
        match reader.next_batch(&object[position..end], end == object.len()) {
            Ok(SpanStep::Batch(batch)) => {
                batches.push(batch);
                given = case.feed;
            }
            Ok(SpanStep::NeedMore) => {
                assert!(end < object.len(), "needs more than there is");
                given = end - reader.position() as usize + case.feed;
            }
            Ok(SpanStep::End) => return (batches, None),
            Err(problem) => return (batches, Some(problem)),
        }
    }
}

/// Checks everything about one object; returns `None` if its header is refused.
pub fn check(object: &[u8], case: &Case) -> Option<Outcome> {
    let probe = probe_growing(object, case).ok()?;
    let plan = case.plan(&probe, object);
    let rules = Arc::new(case.rules(probe.header.clone()));
    let expected = naive::expect(object, case, &probe, &plan);
    let outcome = compose_all(object, case, &plan, &rules);
    assert_eq!(outcome.problem, expected.problem);
    if outcome.problem.is_none() {
        assert_eq!(outcome.items, expected.item_count());
        assert_eq!(outcome.shards.len(), expected.shards.len());
    }
    let (mut first_item, mut first_batch, mut newlines) = (0, 0, 0);
    for (composed, expected) in outcome.shards.iter().zip(&expected.shards) {
        let numbers = (composed.first_item, composed.first_batch, composed.first_line);
        assert_eq!(numbers, (first_item, first_batch, newlines));
        check_shard(object, case, &rules, &plan, composed, expected);
        first_item += u64::from(composed.items);
        first_batch += u64::from(composed.batches);
        newlines += naive::newlines(object, composed.range.start, composed.range.end);
    }
    Some(outcome)
}

/// Every checkpoint of a shard gives the batches that the naive cutter gives.
fn check_shard(
    object: &[u8],
    case: &Case,
    rules: &Arc<CutRules>,
    plan: &ShardPlan,
    composed: &ComposedShard,
    expected: &naive::ExpectedShard,
) {
    let batches = &expected.batches;
    assert_eq!(composed.batches as usize, batches.len());
    assert_eq!(composed.items as usize, batches.iter().map(Vec::len).sum::<usize>());
    assert_eq!(composed.checkpoints.is_empty(), batches.is_empty());
    let shard = SpanShard {
        range: composed.range,
        ends_object: plan.ends_object(composed.shard),
        items: composed.items,
    };
    for checkpoint in &composed.checkpoints {
        let (read, problem) = read_from(object, case, rules, shard, *checkpoint, None);
        naive::assert_same_problem(problem.as_ref(), expected.read_problem.as_ref());
        let from = checkpoint.batch as usize;
        let missing = usize::from(problem.is_some());
        assert_eq!(read.len() + missing, batches.len() - from);
        for (batch, expected) in read.iter().zip(&batches[from..]) {
            naive::check_batch(object, case, rules, composed.range, batch, expected);
        }
        for (ordinal, batch) in (checkpoint.batch..).zip(&read) {
            assert_eq!(batch.ordinal, ordinal);
        }
    }
    check_middle_batch(object, case, rules, shard, composed, expected);
}

/// Skipping to a batch gives the same as reading up to it.
fn check_middle_batch(
    object: &[u8],
    case: &Case,
    rules: &Arc<CutRules>,
    shard: SpanShard,
    composed: &ComposedShard,
    expected: &naive::ExpectedShard,
) {
    let Some(first) = composed.checkpoints.first() else { return };
    assert_eq!((first.batch, first.item), (0, 0));
    assert!(composed.checkpoints.len() <= 64);
    let middle = composed.batches / 2;
    let (read, problem) = read_from(object, case, rules, shard, *first, Some(middle));
    naive::assert_same_problem(problem.as_ref(), expected.read_problem.as_ref());
    let wanted = &expected.batches[middle as usize..];
    assert_eq!(read.len() + usize::from(problem.is_some()), wanted.len());
    for (batch, expected) in read.iter().zip(wanted) {
        naive::check_batch(object, case, rules, composed.range, batch, expected);
    }
}
