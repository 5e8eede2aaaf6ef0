//! Job files: what is read, what is refused, and in which words.

use proptest::prelude::*;

use super::*;
use crate::wire::v1;

const JOB: &str = "
itemReader:
  bucket: input
  key: users.csv
  readerConfig: {inputType: CSV, csvHeaderLocation: FIRST_ROW}
itemBatcher:
  maxItemsPerBatch: 25
  batchInput: {rate: 1.5, count: 3, name: 'no', list: [1, null, true]}
itemProcessor:
  handler: user-stats
  retry:
    - errorEquals: [States.ALL]
      maxAttempts: 0
      backoffRate: 2
toleratedFailurePercentage: 5
toleratedFailureCount: '50'
labels: {team: data}
";

fn spec(text: &str, changes: &[&str]) -> Result<v1::MapRunSpec, Vec<String>> {
    let changes: Vec<Override> = changes.iter().map(|change| change.parse().unwrap()).collect();
    match parse_job_file(text, &changes) {
        Ok(request) => Ok(request.map_run.unwrap().spec.unwrap()),
        Err(error) => Err(error.violations.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn a_job_file_reads_as_a_specification_and_writes_back() {
    let read = spec(JOB, &[]).unwrap();
    assert_eq!(read.item_reader.as_ref().unwrap().key, "users.csv");
    assert_eq!(read.tolerated_failure_count, Some(50));
    let retrier = &read.item_processor.as_ref().unwrap().retry[0];
    assert_eq!((retrier.max_attempts, retrier.backoff_rate), (Some(0), Some(2.0)));
    let (yaml, json) = (to_yaml(&read), to_json(&read).to_string());
    assert!(
        json.contains(r#""batchInput":{"count":3,"list":[1,null,true],"name":"no","rate":1.5}"#),
        "{json}"
    );
    assert!(
        json.contains(r#""inputType":"CSV""#) && json.contains(r#""toleratedFailureCount":50"#),
        "{json}"
    );
    assert_eq!(spec(&yaml, &[]).unwrap(), read, "{yaml}");
    assert_eq!(spec(&json, &[]).unwrap(), read, "{json}");
}

#[test]
fn strings_that_yaml_readers_take_for_something_else_survive_writing() {
    let strings = [
        "no", "~", "null", "true", "0x10", "1e3", "007", "12", "", " a ", "a: b", "# x", "- x", "é\n",
        "\u{1}",
    ];
    let mut read = spec(JOB, &[]).unwrap();
    let input = strings.iter().map(|text| ((*text).to_owned(), serde_json::Value::from(*text))).collect();
    read.input = Some(object_from_json(&input));
    let yaml = to_yaml(&read);
    assert_eq!(spec(&yaml, &[]).unwrap(), read, "{yaml}");
}

#[test]
fn a_map_run_and_a_request_are_taken_too() {
    let indented = JOB.replace('\n', "\n  ");
    let deeper = JOB.replace('\n', "\n    ");
    let plain = spec(JOB, &[]).unwrap();
    assert_eq!(spec(&format!("name: mapRuns/old\nspec:{indented}"), &[]).unwrap(), plain);
    let text = format!("mapRunId: a1\nmapRun:\n  spec:{deeper}");
    let request = parse_job_file(&text, &["maxConcurrency=7".parse().unwrap()]).unwrap();
    assert_eq!(request.map_run_id, "a1");
    assert_eq!(request.map_run.unwrap().spec.unwrap().max_concurrency, 7);
}

#[test]
fn every_wrong_field_is_named_with_its_path_line_and_a_way_out() {
    let text = "
ItemReader: {bucket: 5, key: a.csv, readerConfig: {inputType: CVS, lenientQuotes: no, maxItems: 0x10}}
itemReader: {bucket: 5, key: a.csv, readerConfig: {inputType: CVS, lenientQuotes: no, maxItems: 0x10}}
itemBatcher: {maxItemsPerBatch: 1e3, maxInputBytesPerBatch: '1.5', batchInput: {a: 1, a: 2, n: 9007199254740993}}
itemProcessor: {handler: x, timeoutSeconds: -1, retry: [{errorEquals: States.ALL}]}
maxConcurrency: 5
max_concurrency: 6
toleratedFailureCount: many
";
    let expected = [
        "spec: unknown key `ItemReader` (line 2); did you mean `itemReader`?",
        "spec.item_reader.bucket: wants a string, not the number 5 (line 3); put it in quotes",
        "spec.item_reader.reader_config.input_type: unknown value `CVS` (line 3); did you mean `CSV`?",
        "spec.item_reader.reader_config.lenient_quotes: wants true or false, not the string `no` (line 3); \
         YAML 1.2 knows no other spelling",
        "spec.item_reader.reader_config.max_items: wants an integer in decimal digits, not `0x10` (line 3)",
        "spec.item_batcher.max_items_per_batch: wants an integer in decimal digits, not the number 1e3 (line 4)",
        "spec.item_batcher.max_input_bytes_per_batch: wants an integer in decimal digits, not the string `1.5` \
         (line 4); write it without quotes",
        "spec.item_batcher.batch_input.a: key `a` stands twice on lines 4 and 4; remove one",
        "spec.item_batcher.batch_input.n: integers beyond ±9007199254740991 must be strings: a double cannot hold \
         them (line 4)",
        "spec.item_processor.timeout_seconds: `-1` is out of range (line 5)",
        "spec.item_processor.retry[0].error_equals: wants a list, not the string `States.ALL` (line 5)",
        "spec.max_concurrency: key `max_concurrency` stands twice on lines 6 and 7; remove one",
        "spec.tolerated_failure_count: wants an integer in decimal digits, not the string `many` (line 8); \
         write it without quotes",
    ];
    assert_eq!(spec(text, &[]).unwrap_err(), expected);
}

#[test]
fn overrides_set_single_values_and_create_what_is_missing() {
    let read = spec(
        JOB,
        &[
            "itemReader.key=2025/x=y.csv",
            "item_reader.expectedBucketOwner=123456789012",
            "itemProcessor.retry.0.maxAttempts=4",
            "resultWriter.writerConfig.compression=GZIP",
            "resultWriter.bucket=out",
            "labels.owner=5",
            "input.dates.from=2025-01-01",
            "toleratedFailureCount=",
        ],
    )
    .unwrap();
    let reader = read.item_reader.unwrap();
    assert_eq!(
        (reader.key.as_str(), reader.expected_bucket_owner.as_str()),
        ("2025/x=y.csv", "123456789012")
    );
    assert_eq!(read.item_processor.unwrap().retry[0].max_attempts, Some(4));
    assert_eq!(read.labels["owner"], "5");
    assert_eq!(read.tolerated_failure_count, None);
    assert_eq!(object_to_json(&read.input.unwrap())["dates"]["from"], "2025-01-01");
    let writer = read.result_writer.unwrap();
    assert_eq!(writer.writer_config.unwrap().compression(), v1::compression::Type::Gzip);

    let error = spec(JOB, &["itemReader.kye=x"]).unwrap_err();
    assert_eq!(error, ["--set itemReader.kye: unknown key `kye`; did you mean `key`?"]);
    assert!(spec(JOB, &["itemProcessor.retry.7.maxAttempts=1"]).is_err());
    assert!(spec(JOB, &["itemReader.key.deeper=1"]).is_err());
    assert!("novalue".parse::<Override>().is_err());
}

#[test]
fn max_batch_size_means_max_items_per_batch() {
    let size = |text: &str| spec(text, &[]).map(|spec| spec.item_batcher.unwrap().max_items_per_batch);
    assert_eq!(size("maxBatchSize: 7"), Ok(7));
    assert_eq!(size("itemBatcher: {maxBatchSize: 7}"), Ok(7));
    assert_eq!(size("maxBatchSize: 7\nitemBatcher: {batchInput: {}}"), Ok(7));
    assert!(
        size("maxBatchSize: 7\nitemBatcher: {maxItemsPerBatch: 8}").unwrap_err()[0].contains("stands twice")
    );
}

#[test]
fn counts_are_written_whole_and_as_numbers() {
    let map_run = v1::MapRun {
        state: v1::map_run::State::Running.into(),
        item_counts: Some(v1::Counts { total: u64::MAX, ..Default::default() }),
        create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 5_000_000 }),
        progress: Some(v1::Progress { fraction: 1.0, ..Default::default() }),
        ..Default::default()
    };
    let json = to_json(&map_run);
    assert_eq!(json["state"], "RUNNING");
    assert_eq!(json["itemCounts"]["total"], u64::MAX);
    assert_eq!(json["itemCounts"]["failed"], 0);
    assert_eq!(json["createTime"], "1970-01-01T00:00:00.005Z");
    assert_eq!(json["progress"].to_string(), r#"{"fraction":1}"#);
    let unknown = v1::MapRun { state: 99, ..Default::default() };
    assert_eq!(to_json(&unknown)["state"], 99);
}

#[test]
fn the_deepest_text_that_is_read_can_also_be_sent() {
    let depth = MAX_DEPTH - 1;
    let text = format!("input: {{a: {}1{}}}", "{a: ".repeat(depth - 1), "}".repeat(depth - 1));
    let read = spec(&text, &[]).unwrap();
    let request = v1::CreateMapRunRequest {
        map_run: Some(v1::MapRun { spec: Some(read), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(v1::CreateMapRunRequest::decode(request.encode_to_vec().as_slice()).unwrap(), request);
    assert!(spec(&format!("input: {{a: {}1{}}}", "{a: ".repeat(depth), "}".repeat(depth)), &[]).is_err());
}

proptest! {
    #[test]
    fn any_text_survives_yaml_as_key_and_as_value(
        texts in proptest::collection::vec(("\\PC{0,120}", any::<String>()), 1..4),
        words in "[a-z ]{0,400}",
        lines in "([ -~]{0,20}[\n\t ]){0,6}",
    ) {
        let mut read = v1::MapRunSpec::default();
        let mut input: serde_json::Map<String, Json> =
            texts.into_iter().map(|(key, value)| (key, Json::from(value))).collect();
        input.insert("words".to_owned(), words.into());
        input.insert("nested".to_owned(), serde_json::json!([[lines.clone()], {lines: 1.5}]));
        read.input = Some(object_from_json(&input));
        let yaml = to_yaml(&read);
        prop_assert_eq!(spec(&yaml, &[]).expect(&yaml), read.clone(), "{}", yaml);
        let json = to_json(&read).to_string();
        prop_assert_eq!(spec(&json, &[]).expect(&json), read, "{}", json);
    }

    #[test]
    fn any_text_gives_a_job_or_an_error(text in any::<String>()) {
        let _ = parse_job_file(&text, &[]);
    }
}
