//! Inputs beside one CSV object: what each kind comes to, in shards of a few bytes, and what is left of rewritten sources.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, Fleet, FleetSettings, eventually, read_results};

/// Records of the source during whose rewriting a worker is killed: some seconds of work.
const LARGE_RECORDS: u64 = 12_000_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn small_shards() -> Dev {
    Dev::start(&DevSettings { shard_size: 64, ..DevSettings::default() })
}

/// A job that gives each item back.
fn job(source: &Value) -> String {
    let mut job = json!({
        "itemBatcher": {"maxItemsPerBatch": 2},
        "itemProcessor": {"handler": "echo"},
        "resultWriter": {"bucket": "output", "prefix": "results/"},
    });
    for (key, value) in source.as_object().unwrap() {
        job[key] = value.clone();
    }
    job.to_string()
}

fn reader(key: &str, config: Value) -> Value {
    json!({"itemReader": {"bucket": "input", "key": key, "readerConfig": config}})
}

/// Files that the server keeps for runs beside their results.
fn staged_files(dev: &Dev) -> Vec<String> {
    let mut found = Vec::new();
    collect(&dev.directory().join("data/system"), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.to_string_lossy().contains("/staged/") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

#[test]
fn every_kind_of_input_gives_its_items_in_order() {
    let dev = small_shards();
    let rows: Vec<Value> = (0..40).map(|row| json!({"id": row.to_string(), "text": "x,\ny"})).collect();
    let csv: String = (0..40).map(|row| format!("{row},\"x,\ny\"\n")).collect();
    let csv = format!("id,text\n{csv}");
    let values: Vec<Value> = (0..40).map(|n| json!({"n": n, "deep": {"a": [n, null, "é"]}})).collect();
    let lines: String = values.iter().map(|value| format!("  {value} \r\n\n")).collect();
    let array = json!({"other": [1], "data": {"rows": values}}).to_string();
    let sjis = b"\x94\xd4\x8d\x86,\x96\xbc\x91\x4f\n1,\x8e\x52\x93\x63\n2,\x83\x5c\n";
    let sjis_rows = [json!({"番号": "1", "名前": "山田"}), json!({"番号": "2", "名前": "ソ"})];
    let s3 = dev.s3();
    for (key, body) in [
        ("lines.jsonl", lines.clone().into_bytes()),
        ("bom.jsonl", [b"\xef\xbb\xbf", lines.trim_end().as_bytes()].concat()),
        ("lines.jsonl.gz", gzip(lines.as_bytes())),
        ("rows.csv.gz", gzip(csv.as_bytes())),
        ("array.json", array.clone().into_bytes()),
        ("array.json.gz", gzip(array.as_bytes())),
        ("sjis.csv", sjis.to_vec()),
        ("many/1.csv", csv.clone().into_bytes()),
        ("many/2.csv.gz", gzip(csv.as_bytes())),
        ("list.csv", b"s3://input/lines.jsonl\ns3://input/lines.jsonl.gz\n".to_vec()),
    ] {
        s3.put("input", key, body);
    }
    let pointer = json!({"inputType": "JSON", "itemsPointer": "/data/rows"});
    let flatten = json!({"inputType": "CSV", "transformation": "LOAD_AND_FLATTEN"});
    let many = json!({"itemReader": {"bucket": "input", "prefix": "many/", "readerConfig": flatten}});
    let named = json!({"inputType": "JSONL", "manifestType": "ATHENA_DATA"});
    let twice = |items: &[Value]| [items, items].concat();
    let kinds = [
        ("lines", reader("lines.jsonl", json!({"inputType": "JSONL"})), values.clone()),
        ("bom", reader("bom.jsonl", json!({"inputType": "JSONL"})), values.clone()),
        ("some", reader("lines.jsonl", json!({"inputType": "JSONL", "maxItems": 7})), values[..7].to_vec()),
        ("items", json!({"items": values}), values.clone()),
        ("gzip", reader("rows.csv.gz", json!({"inputType": "CSV"})), rows.clone()),
        ("gzip-lines", reader("lines.jsonl.gz", json!({"inputType": "JSONL"})), values.clone()),
        ("array", reader("array.json", pointer.clone()), values.clone()),
        ("gzip-array", reader("array.json.gz", pointer), values.clone()),
        (
            "sjis",
            reader("sjis.csv", json!({"inputType": "CSV", "csvEncoding": "SHIFT_JIS"})),
            sjis_rows.to_vec(),
        ),
        ("many", many, twice(&rows)),
        ("named", reader("list.csv", named), twice(&values)),
    ];
    for (id, source, expected) in &kinds {
        let run = dev.submit_and_wait(id, &job(source), 0);
        assert_eq!(run["state"], "SUCCEEDED", "{run}");
        read_results(&dev.download(id)).expect_echoed(expected);
    }
    // What was rewritten stays for redrives, one object a run, and goes with the run.
    assert_eq!(staged_files(&dev).len(), kinds.len() - 3, "{:?}", staged_files(&dev));
    for (id, ..) in &kinds {
        dev.run(["delete", id]).expect(0);
    }
    assert!(staged_files(&dev).is_empty(), "{:?}", staged_files(&dev));
    dev.stop();
}

#[test]
fn a_listing_gives_objects_and_an_empty_input_no_items() {
    let dev = small_shards();
    for key in ["p/a", "p/b/c", "q"] {
        dev.s3().put("input", key, "12");
    }
    for (key, body) in [("empty.jsonl", ""), ("blank.jsonl", "\n  \n"), ("empty.json", "[ ]")] {
        dev.s3().put("input", key, body);
    }
    let listing = json!({"itemReader": {"bucket": "input", "prefix": "p/"}});
    dev.submit_and_wait("listing", &job(&listing), 0);
    let results = read_results(&dev.download("listing"));
    let keys: Vec<_> = results.succeeded.values().map(|line| line["output"]["Key"].clone()).collect();
    assert_eq!(keys, ["p/a", "p/b/c"]);
    let first = &results.succeeded[&0]["output"];
    assert_eq!((&first["Size"], &first["StorageClass"]), (&json!(2), &json!("STANDARD")));
    assert!(first["LastModified"].as_f64().unwrap() > 1.7e9, "{first}");
    for (id, source) in [
        ("none", json!({"itemReader": {"bucket": "input", "prefix": "nothing/"}})),
        ("empty", reader("empty.jsonl", json!({"inputType": "JSONL"}))),
        ("blank", reader("blank.jsonl", json!({"inputType": "JSONL"}))),
        ("empty-array", reader("empty.json", json!({"inputType": "JSON"}))),
    ] {
        let run = dev.submit_and_wait(id, &job(&source), 0);
        assert_eq!((&run["state"], &run["itemCounts"]["total"]), (&json!("SUCCEEDED"), &json!(0)), "{run}");
    }
    dev.stop();
}

#[test]
fn bad_lines_fail_alone_and_bad_sources_name_themselves() {
    let dev = small_shards();
    let deep = "[".repeat(10_000);
    let lines = format!("{{\"a\":1}}\n{{\"a\":}}\n{deep}\n\"last\"");
    dev.s3().put("input", "bad.jsonl", lines);
    let mut source = reader("bad.jsonl", json!({"inputType": "JSONL"}));
    source["toleratedFailureCount"] = json!(2);
    dev.submit_and_wait("lines", &job(&source), 0);
    let results = read_results(&dev.download("lines"));
    assert_eq!(results.succeeded[&3]["output"], "last");
    let causes: Vec<_> =
        results.failed.values().map(|line| (line["error"].clone(), line["cause"].clone())).collect();
    assert_eq!(causes[0].0, "Warifu.InvalidJson");
    assert!(causes[0].1.as_str().unwrap().contains("at byte 13 of the object"), "{causes:?}");
    assert!(causes[1].1.as_str().unwrap().contains("nested deeper than 100 levels"), "{causes:?}");
    assert_eq!(results.failed[&1]["item"], "{\"a\":}");

    let whole = gzip("id\n1\n".repeat(500).as_bytes());
    for (key, body, config, told) in [
        ("cut.csv.gz", whole[..whole.len() / 2].to_vec(), json!({"inputType": "CSV"}), "it ends early"),
        ("no.csv.gz", b"id\n1\n".to_vec(), json!({"inputType": "CSV"}), "is no valid gzip"),
        ("object.json", b"{\"Items\": 1}".to_vec(), json!({"inputType": "JSON"}), "non-iterable node"),
        ("broken.json", b"[1,]".to_vec(), json!({"inputType": "JSON"}), "not JSON at byte 3"),
    ] {
        dev.s3().put("input", key, body);
        let id = key.replace('.', "-");
        let run = dev.submit_and_wait(&id, &job(&reader(key, config)), 1);
        assert_eq!(run["error"]["error"], "States.ItemReaderFailed", "{run}");
        let cause = run["error"]["cause"].as_str().unwrap();
        assert!(cause.contains(told) && cause.contains(&format!("s3://input/{key}")), "{cause}");
    }
    assert!(staged_files(&dev).is_empty(), "{:?}", staged_files(&dev));
    dev.stop();
}

#[test]
fn a_worker_that_is_killed_while_it_stages_costs_time_and_nothing_else() {
    let mut fleet =
        Fleet::start(&FleetSettings { coordinators: 1, etcd_members: 1, ..FleetSettings::default() });
    for id in ["w0", "w1"] {
        fleet.start_worker(id, 4, "");
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"id\n").unwrap();
    for record in 0..LARGE_RECORDS {
        writeln!(encoder, "{record}").unwrap();
    }
    fleet.s3().put("input", "large.csv.gz", encoder.finish().unwrap());
    let source = reader("large.csv.gz", json!({"inputType": "CSV"}));
    let mut large: Value = serde_json::from_str(&job(&source)).unwrap();
    large["itemProcessor"]["handler"] = json!("noop");
    large["itemBatcher"]["maxItemsPerBatch"] = json!(10_000);
    large.as_object_mut().unwrap().remove("resultWriter");
    fleet.submit("large", &large.to_string());
    let stages = |fleet: &Fleet, index: usize| fleet.worker_log(index).contains("staging a source");
    let within = Duration::from_secs(60);
    let first = eventually("a worker stages", within, || (0..2).find(|index| stages(&fleet, *index)));
    // In the middle of it: it has begun, and an end would be in its log.
    fleet.kill_worker(first);
    assert!(!fleet.worker_log(first).contains("staged a source"), "it was too fast to be killed");
    let second = 1 - first;
    eventually("the other worker stages", within, || stages(&fleet, second).then_some(()));
    let run = fleet.wait("large", Duration::from_secs(300));
    assert_eq!(run["itemCounts"]["succeeded"], LARGE_RECORDS, "{run}");
    assert_eq!(run["itemCounts"]["total"], LARGE_RECORDS, "{run}");
    let staged = || fleet.s3().list("output", "warifu/large/staged/");
    eventually("one staged object is left", within, || (staged().len() == 1).then_some(()));
    fleet.run(&["delete", "large"]).expect(0);
    assert!(staged().is_empty(), "{:?}", staged());
    fleet.stop();
}
