//! Which specifications are taken, and which fields are named when not.

use std::time::Duration;

use prost_types::FieldMask;
use warifu_dataset::HeaderLocation;
use warifu_model::spec::{Compression, Delimiter, LimitsUpdate, MapRunSpec};
use warifu_model::{AdaptiveConcurrency, JitterStrategy, Tolerance};

use super::limits_update;
use crate::wire::codec::parse_job_file;
use crate::wire::v1;

const SMALLEST: &str = "
itemReader: {bucket: input, key: users.csv, readerConfig: {inputType: CSV}}
itemProcessor: {handler: user-stats}
";

fn wire(text: &str) -> v1::MapRunSpec {
    parse_job_file(text, &[]).unwrap().map_run.unwrap().spec.unwrap()
}

fn spec(text: &str) -> MapRunSpec {
    MapRunSpec::try_from(&wire(text)).unwrap()
}

fn violations(wire: &v1::MapRunSpec) -> Vec<String> {
    let error = MapRunSpec::try_from(wire).unwrap_err();
    error.violations.iter().map(ToString::to_string).collect()
}

#[test]
fn json_of_more_than_256_kib_is_refused_however_few_bytes_its_message_takes() {
    // A character of one byte is six in JSON.
    let wire =
        |characters: usize| wire(&format!("{SMALLEST}input: {{a: \"{}\"}}\n", "\\x01".repeat(characters)));
    assert!(MapRunSpec::try_from(&wire(43_500)).is_ok());
    let violations = violations(&wire(43_700));
    assert!(violations[0].contains("bytes as JSON; at most 262144 are allowed"), "{violations:?}");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let spec = spec(SMALLEST);
    assert_eq!(spec.item_batcher.max_items_per_batch, 25);
    assert_eq!(spec.item_batcher.max_input_bytes_per_batch, 262_144);
    assert!(!spec.item_batcher.configured);
    assert_eq!(spec.item_processor.timeout, Duration::from_secs(900));
    assert_eq!(spec.tolerance, Tolerance { count: None, percentage: None });
    assert_eq!((spec.max_concurrency, spec.timeout), (None, None));
    assert_eq!(spec.item_reader.header_location, HeaderLocation::FirstRow);
    assert_eq!(spec.item_reader.delimiter, Delimiter::Comma);
    assert!(spec.item_processor.retry.is_empty());

    let retry =
        "{handler: h, retry: [{errorEquals: [A]}, {errorEquals: [B], maxAttempts: 0, backoffRate: 1}]}";
    let spec = super::tests::spec(&SMALLEST.replace("{handler: user-stats}", retry));
    let [first, second] = &spec.item_processor.retry[..] else { panic!("two retriers") };
    assert_eq!((first.max_attempts, first.backoff_rate), (3, 2.0));
    assert_eq!((first.interval, first.max_delay), (Duration::from_secs(1), None));
    assert_eq!(first.jitter_strategy, JitterStrategy::None);
    assert_eq!((second.max_attempts, second.backoff_rate), (0, 1.0));
}

const FULL: &str = "
itemReader:
  bucket: file:///data/in
  key: users.csv
  versionId: v1
  expectedBucketOwner: '123456789012'
  resource: arn:aws:states:::s3:getObject
  range: bytes=10-99
  readerConfig:
    inputType: CSV
    csvHeaderLocation: GIVEN
    csvHeaders: [id, '', name]
    csvDelimiter: TAB
    csvEncoding: UTF_8
    maxItems: 7
    lenientQuotes: true
itemBatcher: {maxItemsPerBatch: 10, maxInputBytesPerBatch: 1048576, batchInput: {n: 3, f: 1.5, deep: [{a: null}]}}
itemProcessor:
  handler: user-stats
  timeoutSeconds: 30
  payload: {items.$: $.Items, batch.$: $$.Map.Item.BatchNumber}
  outputPath: $.body
  retry:
    - {errorEquals: [Sql.40001, Http.*], intervalSeconds: 2, maxAttempts: 1, maxDelaySeconds: 2, jitterStrategy: FULL}
    - {errorEquals: [States.ALL]}
maxConcurrency: 5
toleratedFailurePercentage: 0
toleratedFailureCount: 0
timeoutSeconds: 86400
resultWriter: {bucket: output, prefix: results, writerConfig: {compression: GZIP}}
compensation: {handler: undo, on: [STOPPED, TOLERANCE_EXCEEDED, STOPPED]}
itemSelector: {n.$: $$.Map.Item.Index, of.$: $$.Map.Item.Value.user-id, big.$: $.big, deep: [{x.$: $$.Execution.Id}]}
input: {a.$: kept, big: '9007199254740993'}
labels: {team: data}
";

#[test]
fn what_is_written_reads_back_as_the_same_specification() {
    for text in [SMALLEST, FULL] {
        let first = spec(text);
        let written = v1::MapRunSpec::from(&first);
        assert_eq!(MapRunSpec::try_from(&written).unwrap(), first);
    }
    let full = spec(FULL);
    assert_eq!(full.item_reader.range, Some((10, Some(99))));
    assert_eq!(full.tolerance, Tolerance { count: Some(0), percentage: Some(0.0) });
    let writer = full.result_writer.unwrap();
    assert_eq!((writer.prefix.as_str(), writer.compression), ("results/", Compression::Gzip));
    assert_eq!(full.item_batcher.batch_input.unwrap()["n"].to_string(), "3");
}

#[test]
fn every_form_of_result_files_is_taken_and_reads_back() {
    for transformation in ["ITEMS", "NONE", "COMPACT", "FLATTEN"] {
        for output_type in ["JSONL", "JSON"] {
            for compression in ["NONE", "GZIP", "ZSTD"] {
                let config = format!(
                    "{{transformation: {transformation}, outputType: {output_type}, compression: {compression}}}"
                );
                let first =
                    spec(&format!("{SMALLEST}\nresultWriter: {{bucket: output, writerConfig: {config}}}\n"));
                let written = v1::MapRunSpec::from(&first);
                let form = written.result_writer.clone().unwrap().writer_config.unwrap();
                assert_eq!(form.transformation().as_str_name(), transformation);
                assert_eq!(form.output_type().as_str_name(), output_type);
                assert_eq!(form.compression().as_str_name(), compression);
                assert_eq!(MapRunSpec::try_from(&written).unwrap(), first);
            }
        }
    }
}

#[test]
fn everything_that_is_missing_or_wrong_is_named_at_once() {
    let missing = violations(&v1::MapRunSpec::default());
    assert_eq!(missing.len(), 2, "{missing:?}");
    let text = "
itemReader:
  bucket: s3://input/users.csv
  expectedBucketOwner: me
  resource: arn:aws:states:::dynamodb:scan
  range: bytes=9-3
  readerConfig: {csvHeaders: [a], csvHeaderLocation: FIRST_ROW}
itemBatcher: {maxInputBytesPerBatch: 1048577, batchInput: {'x.$': $.a}}
itemProcessor:
  handler: 'rm -rf'
  retry:
    - {errorEquals: [States.ALL], backoffRate: 0.5, maxAttempts: 100000000}
    - {intervalSeconds: 5, maxDelaySeconds: 4}
    - {errorEquals: ['A*b', '*', 'Http.*']}
toleratedFailurePercentage: 100.5
resultWriter: {prefix: x}
labels: {Team: ok, team: 'not ok'}
";
    let expected = [
        "spec.item_reader.bucket: is `s3://input/users.csv`; write the bucket's name alone",
        "spec.item_reader.key: is required",
        "spec.item_reader.resource: is `arn:aws:states:::dynamodb:scan`; leave it out",
        "spec.item_reader.expected_bucket_owner: is `me`",
        "spec.item_reader.range: is `bytes=9-3`; write bytes=FIRST-LAST",
        "spec.item_reader.reader_config.input_type: is required: write CSV, JSONL or JSON",
        "spec.item_reader.reader_config.csv_headers: is only read with `csvHeaderLocation: GIVEN`",
        "spec.item_batcher.max_input_bytes_per_batch: is 1048577; at most 1048576",
        "spec.item_processor.retry[0].error_equals: States.ALL must stand alone, and in the last retrier",
        "spec.item_processor.retry[0].max_attempts: is 100000000; at most 99999999",
        "spec.item_processor.retry[0].backoff_rate: is 0.5; it must be at least 1",
        "spec.item_processor.retry[1].error_equals: is required",
        "spec.item_processor.retry[1].max_delay_seconds: is 4, shorter than the first delay of 5 s",
        "spec.item_processor.retry[2].error_equals[0]: is `A*b`; `*` may only stand at the end",
        "spec.item_processor.retry[2].error_equals[1]: is `*`; `*` may only stand at the end",
        "spec.item_processor.handler: `rm -rf` is 1 to 128 of letters",
        "spec.tolerated_failure_percentage: is 100.5",
        "spec.result_writer.bucket: is required",
        "spec.labels: key `Team`",
        "spec.labels.team: is `not ok`",
    ];
    let found = violations(&wire(text));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_this_version_cannot_do_is_refused_never_ignored() {
    let found = violations(&wire(&SMALLEST.replace("CSV", "PARQUET")));
    let told = "spec.item_reader.reader_config.input_type: PARQUET is not supported yet";
    assert!(found.len() == 1 && found[0].starts_with(told), "{found:?}");
}

#[test]
fn a_rate_is_a_number_that_a_fleet_can_keep_and_0_is_no_limit() {
    for (written, read) in [("500", Some(500.0)), ("0.5", Some(0.5)), ("0", None)] {
        let found = spec(&format!("{SMALLEST}\nmaxItemsPerSecond: {written}\n"));
        assert_eq!(found.max_items_per_second, read);
        let again = MapRunSpec::try_from(&v1::MapRunSpec::from(&found)).unwrap();
        assert_eq!(again.max_items_per_second, read);
    }
    for wrong in [-1.0, 0.000_1, 1e10, f64::NAN, f64::INFINITY] {
        let wire = v1::MapRunSpec { max_items_per_second: wrong, ..wire(SMALLEST) };
        let found = violations(&wire);
        assert!(found.len() == 1 && found[0].starts_with("spec.max_items_per_second: is "), "{found:?}");
    }
}

#[test]
fn concurrency_is_chosen_for_a_target_that_is_a_time_or_for_none() {
    let of = |text: &str| format!("{SMALLEST}\nadaptiveConcurrency: {text}\n");
    for (written, target_duration) in
        [("{}", None), ("{targetDuration: 300s}", Some(300)), ("{targetDuration: 1s}", Some(1))]
    {
        let found = spec(&of(written));
        let target_duration = target_duration.map(Duration::from_secs);
        assert_eq!(found.adaptive_concurrency, Some(AdaptiveConcurrency { target_duration }));
        assert_eq!(MapRunSpec::try_from(&v1::MapRunSpec::from(&found)).unwrap(), found);
    }
    assert_eq!(spec(SMALLEST).adaptive_concurrency, None);
    for wrong in ["0s", "0.5s", "-3s", "31536001s"] {
        assert_eq!(
            violations(&wire(&of(&format!("{{targetDuration: {wrong}}}")))),
            [
                "spec.adaptive_concurrency.target_duration: must lie between 1s and 31536000s (a year), or be absent"
            ]
        );
    }
}

#[test]
fn a_compensation_needs_a_handler_and_reasons_that_are_known() {
    let of = |text: &str| violations(&wire(&format!("{SMALLEST}\ncompensation: {text}\n")));
    assert_eq!(
        of("{}"),
        [
            "spec.compensation.handler: is required: the name of a handler that workers have configured",
            "spec.compensation.on: is required: TOLERANCE_EXCEEDED, ERROR, STOPPED, or several of them",
        ]
    );
    let found = of("{handler: 'rm -rf', on: [ERROR]}");
    assert!(found.len() == 1 && found[0].starts_with("spec.compensation.handler: `rm -rf` is"), "{found:?}");
    let mut unknown = wire(&format!("{SMALLEST}\ncompensation: {{handler: undo, on: [ERROR]}}\n"));
    unknown.compensation.as_mut().unwrap().on = vec![2, 0, 77];
    assert_eq!(
        violations(&unknown),
        [
            "spec.compensation.on[1]: is not set: TOLERANCE_EXCEEDED, ERROR or STOPPED",
            "spec.compensation.on[2]: has the value 77, which this version does not know",
        ]
    );
}

#[test]
fn numbers_that_a_double_cannot_hold_and_unknown_enum_values_are_refused() {
    let mut wire = wire(SMALLEST);
    let number = |value| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(value)) };
    let fields = [("big", 2f64.powi(53)), ("fine", 2f64.powi(53) - 1.0), ("nan", f64::NAN)];
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), number(value))).collect();
    wire.input = Some(prost_types::Struct { fields });
    wire.item_reader.as_mut().unwrap().reader_config.as_mut().unwrap().csv_delimiter = 77;
    let found = violations(&wire);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("spec.input.big: integers beyond"));
    assert!(found[1].starts_with("spec.input.nan: is NaN"));
    assert!(found[2].contains("csv_delimiter: has the value 77"));
}

#[test]
fn a_specification_has_a_largest_size_and_its_batches_have_room() {
    let mut wire = wire(SMALLEST);
    let long = |bytes| {
        let text = prost_types::value::Kind::StringValue("x".repeat(bytes));
        let fields = [("a".to_owned(), prost_types::Value { kind: Some(text) })].into();
        Some(prost_types::Struct { fields })
    };
    wire.input = long(262_144);
    assert!(violations(&wire)[0].starts_with("spec: takes 262"));
    wire.input = None;
    let batcher =
        v1::ItemBatcher { batch_input: long(1000), max_input_bytes_per_batch: 1000, ..Default::default() };
    wire.item_batcher = Some(batcher);
    assert!(
        violations(&wire)[0].contains("a batch without items takes 1034 bytes"),
        "{:?}",
        violations(&wire)
    );
}

#[test]
fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let spec = v1::MapRunSpec {
        max_concurrency: 9,
        tolerated_failure_count: Some(4),
        tolerated_failure_percentage: Some(101.0),
        ..Default::default()
    };
    let mask = |paths: &[&str]| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let update = limits_update(Some(&spec), Some(&mask(&["spec.max_concurrency"]))).unwrap();
    assert_eq!(update, LimitsUpdate { max_concurrency: Some(Some(9)), ..Default::default() });
    let lift = mask(&["spec.max_concurrency", "spec.tolerated_failure_count"]);
    let update = limits_update(None, Some(&lift)).unwrap();
    assert_eq!((update.max_concurrency, update.tolerated_failure_count), (Some(None), Some(None)));
    assert_eq!(limits_update(Some(&spec), None).unwrap(), LimitsUpdate::default());

    let rate = mask(&["spec.max_items_per_second"]);
    let paced = v1::MapRunSpec { max_items_per_second: 2.5, ..Default::default() };
    let update = limits_update(Some(&paced), Some(&rate)).unwrap();
    assert_eq!(update, LimitsUpdate { max_items_per_second: Some(Some(2.5)), ..Default::default() });
    assert_eq!(limits_update(None, Some(&rate)).unwrap().max_items_per_second, Some(None));

    let wrong =
        mask(&["spec.tolerated_failure_percentage", "spec.maxConcurrency", "spec.max_items_per_second"]);
    let spec = v1::MapRunSpec { max_items_per_second: -1.0, ..spec };
    let error = limits_update(Some(&spec), Some(&wrong)).unwrap_err();
    assert_eq!(error.violations.len(), 3, "{error}");
    assert!(error.to_string().contains("did you mean `spec.max_concurrency`?"), "{error}");
}

#[test]
fn paths_into_the_input_are_looked_up_at_creation() {
    let by_path =
        SMALLEST.replace("bucket: input, key: users.csv", "bucketPath: $.s3.bucket, keyPath: $.s3.the-key");
    let input = "input: {s3: {bucket: b, the-key: a/b.csv, n: 7}}\n";
    let spec = spec(&format!("{by_path}{input}"));
    assert_eq!((spec.item_reader.bucket.as_str(), spec.item_reader.key.as_str()), ("b", "a/b.csv"));
    let written = v1::MapRunSpec::from(&spec);
    assert_eq!(written.item_reader.as_ref().unwrap().key_path, "");
    assert_eq!(MapRunSpec::try_from(&written).unwrap(), spec);

    let wrong = by_path.replace("$.s3.bucket", "$.s3.no").replace("$.s3.the-key", "$.s3.n");
    assert_eq!(
        violations(&wire(&format!("{wrong}{input}"))),
        [
            "spec.item_reader.bucket_path: $.s3.no names nothing in the run's input",
            "spec.item_reader.key_path: $.s3.n names 7 in the run's input, which is no text",
        ]
    );
    let both = SMALLEST.replace("bucket: input", "bucket: input, bucketPath: $..a");
    assert_eq!(
        violations(&wire(&both)),
        [
            "spec.item_reader.bucket_path: stands beside `bucket`; give one of them",
            "spec.item_reader.bucket_path: `$..a`: `..` may name several values; names and indexes are taken, as in $.a['b c'][0]",
        ]
    );
}

#[test]
fn templates_are_checked_at_creation() {
    let text = "
itemSelector: {a.$: $$.Map.Item.Key, b: [{c.$: $.no}]}
itemBatcher: {batchInput: {'x.$': $.a, 'y.$': $$.Map.Item.Value}}
input: {b: 1}
";
    let processor = "handler: user-stats, payload: {'z.$': $$.Map.Item.Index}, outputPath: body";
    let found = violations(&wire(&format!("{}{text}", SMALLEST.replace("handler: user-stats", processor))));
    let expected = [
        "spec.item_selector.a.$: `$$.Map.Item.Key`: the context object has no such value here; there are $$.Map.Item.Index",
        "spec.item_batcher.batch_input.y.$: `$$.Map.Item.Value`: the context object has no such value here; there are $$.Map.Item.BatchId",
        "spec.item_processor.payload.z.$: `$$.Map.Item.Index`: the context object has no such value",
        "spec.item_processor.output_path: a JSONPath begins with `$`",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let missing = violations(&wire(&format!("{SMALLEST}\nitemSelector: {{b: [{{c.$: $.no}}]}}\n")));
    assert_eq!(missing, ["spec.item_selector.b[0].c.$: $.no names nothing in the run's input"]);
}

#[test]
fn what_templates_make_of_every_item_and_batch_must_have_room() {
    let input = format!("input: {{long: {}}}\n", "x".repeat(100_000));
    let twelve: Vec<String> = (0..12).map(|i| format!("k{i}.$: $.long")).collect();
    let found = violations(&wire(&format!("{SMALLEST}{input}itemSelector: {{{}}}\n", twelve.join(", "))));
    assert!(found.len() == 1 && found[0].starts_with("spec.item_selector: makes 1200"), "{found:?}");
    let three = twelve[..3].join(", ");
    let found = violations(&wire(&format!("{SMALLEST}{input}itemBatcher: {{batchInput: {{{three}}}}}\n")));
    assert!(found.len() == 1 && found[0].contains("a batch without items takes 3000"), "{found:?}");
}

#[test]
fn a_size_that_is_chosen_has_bounds_and_stands_alone() {
    let of = |batcher: &str| wire(&format!("{SMALLEST}\nitemBatcher: {{{batcher}}}\n"));
    let spec = MapRunSpec::try_from(&of("autoSize: {}")).unwrap();
    let auto = spec.item_batcher.auto_size.unwrap();
    assert_eq!((auto.min_items, auto.max_items, spec.item_batcher.max_items_per_batch), (1, 100, 100));
    // What was chosen is not the job's.
    let mut chosen = spec.clone();
    chosen.item_batcher.max_items_per_batch = 40;
    assert_eq!(MapRunSpec::try_from(&v1::MapRunSpec::from(&chosen)).unwrap(), spec);
    assert_eq!(
        violations(&of("maxItemsPerBatch: 5, autoSize: {minItems: 10, maxItems: 9}")),
        [
            "spec.item_batcher.auto_size: stands beside maxItemsPerBatch; give one of them",
            "spec.item_batcher.auto_size: minItems is 10, more than maxItems, which is 9",
        ]
    );
}
