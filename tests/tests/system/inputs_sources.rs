//! `$$.Map.Item.Source` where many objects are one data set: each item's own object, wherever the item shows up.

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, gzip, read_results, text};

/// Until `fixed` exists, fails each item whose value says so.
const WORKER: &str = r#"
[handlers.story]
type = "exec"
command = ["sh", "-c", '''
if [ -e "$FIXED" ]; then cat; exit 0; fi
sed 's/.*"fail":"1".*/{"warifu:error":{"errorType":"Told"}}/'
''']
"#;

/// Objects, and what they hold, in the order of keys.
const OBJECTS: [(&str, &str); 3] = [
    ("many/1.csv", "id,fail\n0,\n1,1\n"),
    ("many/2 \"é\".csv", "id,fail\n2,\n"),
    ("many/3.csv.gz", "id,fail\n3,1\n4,\n"),
];

fn job(reader: &Value, handler: &str) -> String {
    json!({
        "itemReader": reader,
        "itemSelector": {"at.$": "$$.Map.Item.Index", "of.$": "$$.Map.Item.Source", "value.$": "$$.Map.Item.Value"},
        "itemBatcher": {"maxItemsPerBatch": 2},
        "itemProcessor": {"handler": handler},
        "toleratedFailurePercentage": 100,
        "resultWriter": {"bucket": "output", "prefix": "r/"},
    })
    .to_string()
}

/// The items of [`OBJECTS`] as the selector shapes them.
fn shaped() -> Vec<Value> {
    let rows = OBJECTS.iter().flat_map(|(key, text)| text.lines().skip(1).map(move |row| (key, row)));
    let item = |(at, (key, row)): (usize, (&&str, &str))| {
        let (id, fail) = row.split_once(',').unwrap();
        json!({"at": at, "of": format!("s3://input/{key}"), "value": {"id": id, "fail": fail}})
    };
    rows.enumerate().map(item).collect()
}

#[test]
fn items_of_many_objects_name_their_own_also_in_failures_and_redrives() {
    let marks = tempfile::tempdir().unwrap();
    let fixed = marks.path().join("fixed");
    let config = WORKER.replace("$FIXED", text(&fixed));
    // Shards of some bytes: addresses are cut in the middle.
    let dev = Dev::start(&DevSettings { worker_config: &config, shard_size: 16, ..DevSettings::default() });
    for (key, text) in OBJECTS {
        let bytes = text.as_bytes();
        dev.s3().put("input", key, if key.ends_with(".gz") { gzip(bytes) } else { bytes.to_vec() });
    }
    let config = json!({"inputType": "CSV", "transformation": "LOAD_AND_FLATTEN"});
    let reader = json!({"bucket": "input", "prefix": "many/", "readerConfig": config});
    dev.submit_and_wait("many", &job(&reader, "story"), 0);
    let expected = shaped();
    let results = read_results(&dev.download("many"));
    assert_eq!(results.failed.keys().copied().collect::<Vec<_>>(), [1, 3]);
    for (index, line) in &results.failed {
        assert_eq!(line["item"], expected[*index as usize]);
    }
    let records = dev.run(["failures", "many", "-o", "csv"]).expect(0).stdout;
    let mut records: Vec<&str> = records.lines().collect();
    records.sort_unstable();
    assert_eq!(records, [r#"{"id":"1","fail":"1"}"#, r#"{"id":"3","fail":"1"}"#]);
    std::fs::write(&fixed, "").unwrap();
    dev.run(["redrive", "many", "--watch"]).expect(0);
    read_results(&dev.download("many")).expect_echoed(&expected);
    dev.stop();
}

#[test]
fn lists_and_inventories_name_the_object_that_holds_the_item_and_listings_the_bucket() {
    let dev = Dev::start(&DevSettings { shard_size: 16, ..DevSettings::default() });
    let inventory = json!({"destinationBucket": "arn:aws:s3:::input", "fileFormat": "CSV", "fileSchema": "a",
        "files": [{"key": "inventory/1.csv"}, {"key": "inventory/2.csv.gz"}]});
    let list = "s3://input/named/1.jsonl\ns3://input/named/2.jsonl\n";
    for (key, body) in [
        ("inventory/manifest.json", inventory.to_string().into_bytes()),
        ("inventory/1.csv", b"\"x\"\n".to_vec()),
        ("inventory/2.csv.gz", gzip(b"\"y\"\n")),
        ("named/list.csv", list.as_bytes().to_vec()),
        ("named/1.jsonl", b"1.50\n\nno JSON\n".to_vec()),
        ("named/2.jsonl", b"[2]".to_vec()),
    ] {
        dev.s3().put("input", key, body);
    }
    let manifest = json!({"bucket": "input", "key": "inventory/manifest.json", "readerConfig": {"inputType": "MANIFEST"}});
    let config = json!({"inputType": "JSONL", "manifestType": "ATHENA_DATA"});
    let named = json!({"bucket": "input", "key": "named/list.csv", "readerConfig": config});
    let listing = json!({"bucket": "input", "prefix": "named/1"});
    for (id, reader, expected) in [
        (
            "inventory",
            manifest,
            vec![(0, "s3://input/inventory/1.csv"), (1, "s3://input/inventory/2.csv.gz")],
        ),
        ("named", named, vec![(0, "s3://input/named/1.jsonl"), (2, "s3://input/named/2.jsonl")]),
        ("listing", listing, vec![(0, "s3://input")]),
    ] {
        dev.submit_and_wait(id, &job(&reader, "echo"), 0);
        let results = read_results(&dev.download(id));
        let named: Vec<(u64, &str)> = results
            .succeeded
            .iter()
            .map(|(index, line)| (*index, line["output"]["of"].as_str().unwrap()))
            .collect();
        assert_eq!(named, expected, "{id}");
        if id == "named" {
            assert_eq!(results.failed[&1]["item"]["value"], "no JSON");
        }
    }
    dev.stop();
}
