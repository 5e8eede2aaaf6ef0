//! What must come out, computed with the `csv` crate and without any cuts.

use serde_json::{Map, Value};
use warifu_dataset::{
    Batch, ByteRange, CutRules, DataProblem, EntryState, HeaderLocation, ItemProblem, Probe, ShardPlan,
};

use super::machine::walk;
use super::{Case, ENVELOPE, Selected, entry_name};

/// One record that is an item.
#[derive(Debug, Clone)]
pub struct ExpectedItem {
    pub start: u64,
    pub end: u64,
    pub fields: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub struct ExpectedShard {
    pub batches: Vec<Vec<ExpectedItem>>,
    /// What only a reader can find: the last record goes on beyond what is composed.
    pub read_problem: Option<DataProblem>,
}

#[derive(Debug)]
pub struct Expected {
    pub shards: Vec<ExpectedShard>,
    pub problem: Option<DataProblem>,
}

impl Expected {
    pub fn item_count(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.batches).map(|batch| batch.len() as u64).sum()
    }
}

/// How many line feeds lie in `[start, end)`.
pub fn newlines(object: &[u8], start: u64, end: u64) -> u64 {
    object[start as usize..end as usize].iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The records' fields as the `csv` crate reads the whole object.
fn read_csv(object: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .buffer_capacity(object.len().max(8))
        .from_reader(object);
    reader.byte_records().map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
}

/// All records of the data with the places that the naive walk gives them.
fn records(object: &[u8], case: &Case, probe: &Probe) -> Vec<ExpectedItem> {
    let mut all = read_csv(object, case.dialect.delimiter);
    if case.location == HeaderLocation::FirstRow && !all.is_empty() {
        let header = all.remove(0);
        let names: Vec<&[u8]> = probe.header.names.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(header, names);
    }
    let data = &object[probe.data_start as usize..];
    let places = walk(data, probe.data_start, EntryState::RecordStart, case.dialect.delimiter).records;
    assert_eq!(all.len(), places.len(), "the naive walk and the csv crate disagree");
    all.into_iter().zip(places).map(|(fields, (start, end))| ExpectedItem { start, end, fields }).collect()
}

/// Everything that must come out.
pub fn expect(object: &[u8], case: &Case, probe: &Probe, plan: &ShardPlan) -> Expected {
    let records = records(object, case, probe);
    let mut expected = Expected { shards: Vec::new(), problem: None };
    let mut left = case.max_items.unwrap_or(u64::MAX);
    for shard in 0..plan.shard_count() {
        if left == 0 {
            break;
        }
        let range = plan.range(shard);
        let counts = plan.counts_items(shard);
        let mut items: Vec<_> =
            records.iter().filter(|record| counts && range.contains(record.start)).cloned().collect();
        let truncated = items.len() as u64 > left;
        items.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= items.len() as u64;
        let inherited =
            records.iter().find(|record| counts && record.start < range.start && record.end >= range.start);
        let too_large =
            inherited.into_iter().chain(&items).find_map(|record| too_large(record, range.end, case));
        let open_quote = if truncated { None } else { open_quote(object, case, probe, range.end) };
        expected.problem = too_large.or(open_quote);
        if expected.problem.is_some() {
            break;
        }
        let ends_object = range.end == object.len() as u64;
        let read_problem = items.last().and_then(|last| read_problem(object, case, probe, last));
        let batches = cut(items, case, &probe.header.names, range, ends_object);
        expected.shards.push(ExpectedShard { batches, read_problem });
    }
    // A record that goes on is read to its end only if no later shard proved it too large.
    if expected.problem.is_some() {
        for shard in &mut expected.shards {
            let found = shard.batches.last().and_then(|batch| batch.last());
            shard.read_problem = found.and_then(|last| read_problem(object, case, probe, last));
        }
    }
    expected
}

fn too_large(record: &ExpectedItem, known_to: u64, case: &Case) -> Option<DataProblem> {
    let (start, limit) = (record.start, case.max_record_bytes);
    let length_at_least = record.end.min(known_to).saturating_sub(start);
    (length_at_least > limit).then_some(DataProblem::RecordTooLarge { start, length_at_least, limit })
}

fn open_quote(object: &[u8], case: &Case, probe: &Probe, end: u64) -> Option<DataProblem> {
    if case.dialect.lenient_quotes || end != object.len() as u64 {
        return None;
    }
    let data = &object[probe.data_start as usize..];
    let walk = walk(data, probe.data_start, EntryState::RecordStart, case.dialect.delimiter);
    (walk.exit == EntryState::Quoted).then(|| DataProblem::QuoteOpenAtEnd {
        quote_offset: walk.open_quote.unwrap(),
        record_start: walk.open_record.unwrap(),
    })
}

/// What reading `record` to its end finds.
fn read_problem(object: &[u8], case: &Case, probe: &Probe, record: &ExpectedItem) -> Option<DataProblem> {
    let end = object.len() as u64;
    let quote = if record.end == end { open_quote(object, case, probe, end) } else { None };
    let large = too_large(record, end, case);
    large.or(quote)
}

/// Both are the same problem; how much of a record is seen depends on how the input grows.
pub fn assert_same_problem(found: Option<&DataProblem>, expected: Option<&DataProblem>) {
    let same = match (found, expected) {
        (
            Some(DataProblem::RecordTooLarge { start, length_at_least, limit }),
            Some(DataProblem::RecordTooLarge { start: at, length_at_least: length, limit: bound }),
        ) => (start, limit) == (at, bound) && length_at_least > limit && length_at_least <= length,
        (found, expected) => found == expected,
    };
    assert!(same, "reading found {found:?}, not {expected:?}");
}

/// The cutting rule, as plainly as can be.
fn cut(
    items: Vec<ExpectedItem>,
    case: &Case,
    names: &[String],
    shard: ByteRange,
    ends_object: bool,
) -> Vec<Vec<ExpectedItem>> {
    let mut batches: Vec<Vec<ExpectedItem>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = shaped_json_bytes(&item, case, names);
        let crossing = item.end >= shard.end && !ends_object;
        let full = batches.last().is_none_or(|batch| batch.len() as u32 >= case.items_per_batch.max(1));
        if full || crossing || bytes + 1 + size > case.input_bytes {
            bytes = ENVELOPE.len() as u64 + size;
            batches.push(vec![item]);
        } else {
            bytes += 1 + size;
            batches.last_mut().unwrap().push(item);
        }
    }
    batches
}

/// The same of the item in its shape, with an index of 20 digits; what it lacks counts as an empty entry.
fn shaped_json_bytes(item: &ExpectedItem, case: &Case, names: &[String]) -> u64 {
    let Some(selector) = &case.selector else { return item_json_bytes(item, names) };
    let bare = item_json_bytes(item, names);
    let column = |name: &str| {
        let column = names.iter().position(|known| known == name)?;
        let only = ExpectedItem { fields: item.fields.get(column).cloned().into_iter().collect(), ..*item };
        Some(item_json_bytes(&only, &["x".to_owned()]) - r#"{"x":}"#.len() as u64)
    };
    let mut bytes = 2 + selector.len().saturating_sub(1) as u64;
    for (place, selected) in selector.iter().enumerate() {
        bytes += serde_json::to_string(&entry_name(place)).unwrap().len() as u64 + 1;
        bytes += match selected {
            Selected::Index => u64::MAX.to_string().len() as u64,
            Selected::Item => bare,
            Selected::Column(name) => column(name).unwrap_or(0),
            Selected::Text(text) => serde_json::to_string(text).unwrap().len() as u64,
        };
    }
    bytes
}

/// The item's JSON with `serde_json`; each byte that is not ASCII counts one.
fn item_json_bytes(item: &ExpectedItem, names: &[String]) -> u64 {
    let ascii = |field: &Vec<u8>| -> String {
        field.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { 'x' }).collect()
    };
    let value = |column: usize| Value::String(item.fields.get(column).map(ascii).unwrap_or_default());
    let map: Map<String, Value> =
        names.iter().enumerate().map(|(i, name)| (name.clone(), value(i))).collect();
    serde_json::to_string(&map).unwrap().len() as u64
}

/// One batch as read holds exactly the expected items.
pub fn check_batch(
    object: &[u8],
    case: &Case,
    rules: &CutRules,
    shard: ByteRange,
    batch: &Batch,
    expected: &[ExpectedItem],
) {
    let names = &rules.header.names;
    assert_eq!(batch.items.len(), expected.len());
    assert_eq!(batch.bytes.start, expected[0].start);
    assert_eq!(batch.bytes.end, (expected[expected.len() - 1].end + 1).min(object.len() as u64));
    assert_eq!(batch.newlines_before, newlines(object, shard.start, batch.bytes.start));
    for (item, expected) in batch.items.iter().zip(expected) {
        let range = ByteRange::new(expected.start, expected.end);
        assert_eq!(item.bytes(), range);
        assert_eq!(item.newlines_before(), newlines(object, shard.start, expected.start));
        let record = &object[range.start as usize..range.end as usize];
        match std::str::from_utf8(record) {
            Ok(_) => {
                check_fields(item, names, expected);
                check_shape(item, case, rules, expected);
            }
            Err(error) => check_invalid(item, range.start + error.valid_up_to() as u64),
        }
    }
}

fn check_fields(item: &warifu_dataset::Item, names: &[String], expected: &ExpectedItem) {
    assert_eq!(item.problem(), None);
    let mut map = Map::new();
    for (column, name) in names.iter().enumerate() {
        let value = std::str::from_utf8(expected.fields.get(column).map_or(&[], Vec::as_slice)).unwrap();
        assert_eq!(item.get(name).as_deref(), Some(value));
        map.insert(name.clone(), Value::String(value.to_owned()));
    }
    let mut json = Vec::new();
    item.write_json(&mut json);
    let wanted = serde_json::to_string(&map).unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), wanted);
    assert_eq!(item.fields().count(), names.len());
    if names.len() == expected.fields.len() && expected.fields.iter().all(|field| field.is_ascii()) {
        assert_eq!(item_json_bytes(expected, names), wanted.len() as u64);
    }
}

/// The index is of 20 digits, as it is measured.
fn check_shape(item: &warifu_dataset::Item, case: &Case, rules: &CutRules, expected: &ExpectedItem) {
    let (Some(shape), Some(selector)) = (&rules.shape, &case.selector) else { return };
    let names = &rules.header.names;
    let known = |selected: &Selected| match selected {
        Selected::Column(name) => names.iter().any(|known| known == name),
        Selected::Index | Selected::Item | Selected::Text(_) => true,
    };
    assert_eq!(shape.unmatched(item).is_none(), selector.iter().all(known));
    if shape.unmatched(item).is_some() {
        return;
    }
    let mut json = Vec::new();
    shape.write_item(u64::MAX, item, &mut json);
    assert_eq!(shape.item_bytes(item), json.len() as u64);
    if expected.fields.iter().all(|field| field.is_ascii()) && names.iter().all(|name| name.is_ascii()) {
        assert_eq!(shaped_json_bytes(expected, case, names), json.len() as u64);
    }
    let written: Map<String, Value> = serde_json::from_slice(&json).unwrap();
    for (place, selected) in selector.iter().enumerate() {
        let text = shape.field(&entry_name(place), u64::MAX, item).into_text().unwrap();
        match &written[&entry_name(place)] {
            Value::String(written) => assert_eq!(text, written.as_str()),
            other => assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), *other),
        }
        if let Selected::Column(name) = selected {
            assert_eq!(item.get(name).unwrap(), text);
        }
    }
}

fn check_invalid(item: &warifu_dataset::Item, offset: u64) {
    assert_eq!(item.problem(), Some(ItemProblem::InvalidUtf8 { offset }));
    assert_eq!(item.fields().count(), 0);
    let mut json = Vec::new();
    item.write_json(&mut json);
    serde_json::from_slice::<Map<String, Value>>(&json).unwrap();
}
