//! JSON lines: every short text in shards of every size, and any text under any limits, against a reader without cuts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use proptest::prelude::*;
use warifu_dataset::{
    Batch, ByteRange, Composed, ComposedShard, Composer, CutRules, DataProblem, EntryState, Field,
    HeaderLocation, Item, ItemHole, ItemProblem, ItemShape, JsonPath, Limits, Part, RecordFormat,
    ScanRequest, ShardPlan, ShardScan, SpanReader, SpanShard, SpanStep, probe, scan,
};

const FORMAT: RecordFormat = RecordFormat::JsonLines;
const ENVELOPE: &str = r#"{"Items":[]}"#;

#[derive(Debug, Clone)]
struct Case {
    shard_size: u64,
    items_per_batch: u32,
    input_bytes: u64,
    max_items: Option<u64>,
    max_record_bytes: u64,
    count_from: u64,
    feed: usize,
    forced_guess: Option<usize>,
    /// Items are put into batches in the shape of [`shape`].
    shaped: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            shard_size: 8 << 20,
            items_per_batch: 2,
            input_bytes: 262_144,
            max_items: None,
            max_record_bytes: 1 << 20,
            count_from: 0,
            feed: 1 << 20,
            forced_guess: None,
            shaped: false,
        }
    }
}

/// `{"i": index, "all": item, "a": $.a, "b": $.b[0]}`.
fn shape() -> ItemShape {
    let hole = |name: &str, hole| (name.to_owned(), vec![Part::Hole(hole)]);
    let value = |path: &str| ItemHole::Value(JsonPath::parse(path).unwrap());
    ItemShape::new([
        hole("i", ItemHole::Index),
        hole("all", value("$")),
        hole("a", value("$.a")),
        hole("b", value("$.b[0]")),
    ])
}

/// The values that the paths of [`shape`] name in a record.
fn parts_of(record: &[u8]) -> [Option<String>; 2] {
    ["$.a", "$.b[0]"].map(|path| {
        let part = JsonPath::parse(path).unwrap().find_in_text(std::str::from_utf8(record).ok()?)?;
        value_of(part.as_bytes())
    })
}

/// Bytes of a record's item, the index as its largest, what is missing or no JSON as nothing.
fn measured(record: &[u8], case: &Case) -> usize {
    let value = value_of(record).map_or(record.len(), |value| value.len());
    if !case.shaped {
        return value;
    }
    let parts = parts_of(record).into_iter().flatten().map(|part| part.len());
    r#"{"i":,"all":,"a":,"b":}"#.len() + 20 + value + parts.sum::<usize>()
}

/// The lines that hold more than white space, from their first byte that is none to their end.
fn lines_of(object: &[u8], from: u64) -> Vec<ByteRange> {
    let mut records = Vec::new();
    let mut start = from as usize;
    for line in object[start..].split(|byte| *byte == b'\n') {
        if let Some(first) = line.iter().position(|byte| !b" \t\r".contains(byte)) {
            records.push(ByteRange::new((start + first) as u64, (start + line.len()) as u64));
        }
        start += line.len() + 1;
    }
    records
}

/// What a record's item is: compact JSON, or nothing.
fn value_of(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut compact, mut in_string, mut escaped) = (String::new(), false, false);
    for character in text.chars() {
        if in_string || !" \t\r".contains(character) {
            compact.push(character);
        }
        in_string ^= character == '"' && !escaped;
        escaped = in_string && character == '\\' && !escaped;
    }
    Some(compact)
}

fn cut_naively(object: &[u8], case: &Case, records: &[ByteRange], shard: ByteRange) -> Vec<Vec<ByteRange>> {
    let mut batches: Vec<Vec<ByteRange>> = Vec::new();
    let mut bytes = 0;
    for record in records.iter().filter(|record| shard.contains(record.start)) {
        let text = &object[record.start as usize..record.end as usize];
        let size = measured(text, case) as u64;
        let crossing = record.end >= shard.end && shard.end < object.len() as u64;
        let full = batches.last().is_none_or(|batch| batch.len() as u32 >= case.items_per_batch.max(1));
        if full || crossing || bytes + 1 + size > case.input_bytes {
            bytes = ENVELOPE.len() as u64 + size;
            batches.push(vec![*record]);
        } else {
            bytes += 1 + size;
            batches.last_mut().unwrap().push(*record);
        }
    }
    batches
}

struct Tested<'a> {
    object: &'a [u8],
    case: &'a Case,
    plan: ShardPlan,
    rules: Arc<CutRules>,
}

impl Tested<'_> {
    fn scan(&self, shard: u32, entry: Option<EntryState>, item_limit: Option<u64>) -> ShardScan {
        let range = self.plan.range(shard);
        scan(&ScanRequest {
            bytes: &self.object[range.start as usize..range.end as usize],
            range,
            previous: self.byte_before(shard),
            entry,
            ends_object: self.plan.ends_object(shard),
            item_limit,
            rules: &self.rules,
        })
    }

    fn byte_before(&self, shard: u32) -> Option<u8> {
        (shard > 0).then(|| self.object[self.plan.range(shard).start as usize - 1])
    }

    fn compose(&self) -> (Vec<ComposedShard>, Option<DataProblem>) {
        let limits = Limits { max_record_bytes: self.case.max_record_bytes, ..Limits::default() };
        let mut composer = Composer::new(&self.plan, self.case.max_items, FORMAT, &limits);
        let mut shards = Vec::new();
        while !composer.is_complete() {
            let shard = composer.next_shard();
            let possible = EntryState::possible_after(self.byte_before(shard), FORMAT);
            assert!(possible.contains(&composer.entry()), "{:?} was not foreseen", composer.entry());
            let guess = self.case.forced_guess.map(|guess| possible[guess % possible.len()]);
            let mut composed = composer.compose(&self.scan(shard, guess, None));
            if let Composed::Rescan { entry, item_limit } = composed {
                composed = composer.compose(&self.scan(shard, Some(entry), item_limit));
            }
            match composed {
                Composed::Shard(shard) => shards.push(shard),
                Composed::Invalid(problem) => return (shards, Some(problem)),
                Composed::Rescan { .. } => panic!("a rescan was not enough"),
            }
        }
        (shards, None)
    }

    fn read(&self, composed: &ComposedShard, checkpoint: usize) -> Result<Vec<Batch>, DataProblem> {
        let shard = SpanShard {
            range: composed.range,
            ends_object: self.plan.ends_object(composed.shard),
            items: composed.items,
        };
        let mut reader = SpanReader::new(Arc::clone(&self.rules), shard, composed.checkpoints[checkpoint]);
        let (mut batches, mut given) = (Vec::new(), self.case.feed);
        loop {
            let position = reader.position() as usize;
            let end = self.object.len().min(position + given);
            match reader.next_batch(&self.object[position..end], end == self.object.len())? {
                SpanStep::Batch(batch) => batches.push(batch),
                SpanStep::NeedMore => given = end - reader.position() as usize + self.case.feed,
                SpanStep::End => return Ok(batches),
            }
        }
    }

    fn check_batch(&self, batch: &Batch, expected: &[ByteRange]) {
        let ranges: Vec<_> = batch.items.iter().map(warifu_dataset::Item::bytes).collect();
        assert_eq!(ranges, expected);
        for item in &batch.items {
            let range = item.bytes();
            let record = &self.object[range.start as usize..range.end as usize];
            let mut json = Vec::new();
            item.write_json(&mut json);
            match value_of(record) {
                Some(value) => assert_eq!((item.problem(), item.json()), (None, Some(value.as_str()))),
                None => assert!(item.problem().is_some() && item.names().next().is_none()),
            }
            serde_json::from_slice::<serde::de::IgnoredAny>(&json).unwrap();
            if self.case.shaped && item.problem().is_none() {
                self.check_shape(item, record);
            }
        }
    }

    fn check_shape(&self, item: &Item, record: &[u8]) {
        let (shape, mut json) = (self.rules.shape.as_ref().unwrap(), Vec::new());
        let parts = parts_of(record);
        assert_eq!(shape.unmatched(item).is_none(), parts.iter().all(Option::is_some));
        assert_eq!(shape.item_bytes(item), measured(record, self.case) as u64);
        shape.write_item(7, item, &mut json);
        let [a, b] = parts.map(|part| part.unwrap_or_else(|| "null".to_owned()));
        let expected = format!(r#"{{"i":7,"all":{},"a":{a},"b":{b}}}"#, value_of(record).unwrap());
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        assert_eq!(shape.field("a", 7, item), Field::of_json(a.into()));
    }
}

fn check(object: &[u8], case: &Case) -> usize {
    let location = HeaderLocation::FirstRow;
    let probe = probe(object, true, FORMAT, &location, &Limits::default()).unwrap();
    assert_eq!(probe.data_start, if object.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 });
    let whole = ShardPlan::whole(probe.data_start, object.len() as u64, case.shard_size);
    let plan = ShardPlan { count_from: case.count_from.max(probe.data_start), ..whole };
    let rules = CutRules {
        max_items: case.items_per_batch,
        max_input_bytes: case.input_bytes,
        envelope_bytes: ENVELOPE.len() as u64,
        header: probe.header,
        format: FORMAT,
        sourced: false,
        max_record_bytes: case.max_record_bytes,
        shape: case.shaped.then(shape),
    };
    let mut records = lines_of(object, probe.data_start);
    // One that began before what counts, and goes on within it, is judged, too.
    let goes_on = |record: &&ByteRange| record.start < plan.count_from && record.end >= plan.count_from;
    let inherited = records.iter().rfind(goes_on).copied();
    records.retain(|record| record.start >= plan.count_from);
    records.truncate(case.max_items.map_or(usize::MAX, |most| most as usize));
    let tested = Tested { object, case, plan, rules: Arc::new(rules) };
    let (shards, problem) = tested.compose();
    let too_large = inherited.iter().chain(&records).find(|record| record.len() > case.max_record_bytes);
    if let Some(DataProblem::RecordTooLarge { start, .. }) = problem {
        assert_eq!(Some(start), too_large.map(|record| record.start));
    } else {
        assert_eq!(problem, None);
    }
    let mut first_item = 0;
    for composed in &shards {
        let expected = cut_naively(object, case, &records, composed.range);
        assert_eq!(composed.first_item, first_item);
        first_item += u64::from(composed.items);
        if !tested.plan.counts_items(composed.shard) {
            continue;
        }
        assert_eq!(composed.batches as usize, expected.len(), "{:?}", String::from_utf8_lossy(object));
        for (place, checkpoint) in composed.checkpoints.iter().enumerate() {
            match tested.read(composed, place) {
                Ok(batches) => {
                    assert_eq!(batches.len(), expected.len() - checkpoint.batch as usize);
                    for (batch, expected) in batches.iter().zip(&expected[checkpoint.batch as usize..]) {
                        tested.check_batch(batch, expected);
                    }
                }
                Err(problem) => assert!(
                    too_large.is_some() && matches!(problem, DataProblem::RecordTooLarge { .. }),
                    "{problem}"
                ),
            }
        }
    }
    if problem.is_none() {
        assert_eq!(first_item, records.len() as u64, "{:?}", String::from_utf8_lossy(object));
    }
    records.len()
}

const ALPHABET: [u8; 5] = *b"1 \"\r\n";

fn for_each_text(length: u32, mut visit: impl FnMut(&[u8])) {
    let mut text = vec![0; length as usize];
    for number in 0..5_usize.pow(length) {
        let mut rest = number;
        for byte in &mut text {
            *byte = ALPHABET[rest % 5];
            rest /= 5;
        }
        visit(&text);
    }
}

#[test]
fn all_texts_up_to_seven_letters_read_alike_in_shards_of_every_size() {
    for length in 1..=7 {
        for_each_text(length, |text| {
            for shard_size in 1..=u64::from(length) {
                for forced_guess in [None, Some(0), Some(1)] {
                    check(text, &Case { shard_size, forced_guess, ..Case::default() });
                }
            }
        });
    }
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\t",
        b"{\"a\":1}",
        b"{\"a\": \"x\\\"y\", \"b\": [1, 2]}",
        b"{\"b\": [{\"c\": 1.50}], \"a\": null, \"a\": [ ]}",
        b"5",
        b"null",
        b"\"text\"",
        b"{",
        b"}",
        b"[1,",
        b"\xff",
        "あ".as_bytes(),
        b"\xef\xbb\xbf",
        b"1e400",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..60).prop_map(|words| words.concat())
}

prop_compose! {
    fn any_case()(
        shard_size in prop_oneof![1..8_u64, 1..300_u64],
        items_per_batch in 0..7_u32,
        input_bytes in prop_oneof![Just(262_144), 0..200_u64],
        max_items in proptest::option::weighted(0.3, 0..20_u64),
        max_record_bytes in prop_oneof![3 => Just(1 << 20), 1 => 1..30_u64],
        count_from in prop_oneof![2 => Just(0), 1 => 0..100_u64],
        feed in prop_oneof![1..10_usize, Just(1 << 20)],
        forced_guess in proptest::option::of(0..2_usize),
        shaped in any::<bool>(),
    ) -> Case {
        Case { shard_size, items_per_batch, input_bytes, max_items, max_record_bytes, count_from, feed, forced_guess, shaped }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_alike_however_it_is_cut(object in soup(), case in any_case()) {
        check(&object, &case);
    }
}

fn items(object: &[u8]) -> Vec<warifu_dataset::Item> {
    let case = Case { items_per_batch: 1000, ..Case::default() };
    let probe = probe(object, true, FORMAT, &HeaderLocation::FirstRow, &Limits::default()).unwrap();
    let rules = CutRules {
        max_items: 1000,
        max_input_bytes: u64::MAX,
        envelope_bytes: 0,
        header: probe.header,
        format: FORMAT,
        sourced: false,
        max_record_bytes: 1 << 20,
        shape: None,
    };
    let plan = ShardPlan::whole(probe.data_start, object.len() as u64, 8 << 20);
    let tested = Tested { object, case: &case, plan, rules: Arc::new(rules) };
    let (shards, problem) = tested.compose();
    assert_eq!(problem, None);
    shards
        .iter()
        .flat_map(|shard| tested.read(shard, 0).unwrap())
        .flat_map(|batch| batch.items.to_vec())
        .collect()
}

#[test]
fn lines_of_blanks_bom_crlf_and_a_missing_last_line_feed_are_taken_as_they_should() {
    assert_eq!(check(b"\xef\xbb\xbf{\"a\":1}\r\n\r\n   \n{\"a\":2}", &Case::default()), 2);
    for nothing in [&b""[..], b"\n", b"\xef\xbb\xbf", b"  \r\n\t\n"] {
        assert_eq!(check(nothing, &Case::default()), 0);
    }
}

#[test]
fn members_are_told_apart_and_numbers_keep_their_text() {
    let read = items(b"{\"n\": 1.50, \"s\": \"a\\nb\", \"z\": null, \"o\": {\"k\": [1, 2]}, \"n\": 12345678901234567890}\n");
    let [item] = &read[..] else { panic!("{read:?}") };
    assert_eq!(item.field("n"), Field::Json("12345678901234567890".into()));
    assert_eq!(item.field("s"), Field::Text("a\nb".into()));
    assert_eq!(item.field("z"), Field::Null);
    assert_eq!(item.field("o"), Field::Json(r#"{"k":[1,2]}"#.into()));
    assert_eq!(item.field("a"), Field::Missing);
    assert_eq!(item.get("z"), None);
    assert_eq!(item.names().collect::<Vec<_>>(), ["n", "s", "z", "o", "n"]);
}

#[test]
fn a_line_that_is_no_json_fails_alone_and_says_where() {
    let deep = "[".repeat(10_000);
    let object = format!("{{\"a\":1}}\n{{\"a\":}}\n{deep}\n7\n");
    let read = items(object.as_bytes());
    assert_eq!(read.len(), 4);
    assert_eq!((read[0].problem(), read[3].problem()), (None, None));
    let Some(ItemProblem::InvalidJson { offset: 13, error }) = read[1].problem() else { panic!("{read:?}") };
    assert_eq!(error.to_string(), "`}` cannot stand there");
    let Some(ItemProblem::InvalidJson { offset: 115, error }) = read[2].problem() else { panic!() };
    assert_eq!(error.to_string(), "it is nested deeper than 100 levels");
}
