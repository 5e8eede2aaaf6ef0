//! Every kind of input against every way to cut it, `maxItems`, and nothing at all; and inputs that are hostile.

use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, gzip, read_results, soak, zstd};

/// A kind of input: its objects in the bucket `input`, what of the job names them, and its items.
struct Kind {
    id: &'static str,
    objects: Vec<(String, Vec<u8>)>,
    source: Value,
    items: Vec<Value>,
}

fn one(id: &'static str, key: &str, body: Vec<u8>, config: Value, items: &[Value]) -> Kind {
    let source = json!({"itemReader": {"bucket": "input", "key": key, "readerConfig": config}});
    Kind { id, objects: vec![(key.to_owned(), body)], source, items: items.to_vec() }
}

/// Objects under the prefix of the kind's name, and their items twice.
fn many(id: &'static str, bodies: [Vec<u8>; 2], ending: &str, config: Value, items: &[Value]) -> Kind {
    let mut config = config;
    config["transformation"] = json!("LOAD_AND_FLATTEN");
    let [first, second] = bodies;
    let objects = vec![
        (format!("{id}/1"), first),
        (format!("{id}/2{ending}"), second),
        (format!("{id}/3"), Vec::new()),
    ];
    let source =
        json!({"itemReader": {"bucket": "input", "prefix": format!("{id}/"), "readerConfig": config}});
    Kind { id, objects, source, items: [items, items].concat() }
}

fn kinds() -> Vec<Kind> {
    let csv = "id,text\r\n0,\"a,\n\"\"b\"\"\"\n\n1,é\n2\n3,\"x\ny\"".to_owned().into_bytes();
    let text = ["a,\n\"b\"", "é", "", "x\ny"];
    let rows: Vec<Value> =
        text.iter().zip(0..).map(|(text, id)| json!({"id": id.to_string(), "text": text})).collect();
    let values = [json!({"n": 1, "é": [null, "\n"]}), json!("x, ]"), json!([[], {}]), json!(7), json!(null)];
    let lines: Vec<u8> = values.iter().flat_map(|value| format!(" {value}\r\n \n").into_bytes()).collect();
    let array = serde_json::to_vec_pretty(&values).unwrap();
    let nested =
        json!({"a": {"rows": [0]}, "d/e": [1, {"rows": values}], "rows": 2}).to_string().into_bytes();
    let sjis = b"\x94\xd4\x8d\x86,\x96\xbc\x91\x4f\n1,\"\x8e\x52\n\x93\x63\"\n2,\x83\x5c\n".to_vec();
    let names = [json!({"番号": "1", "名前": "山\n田"}), json!({"番号": "2", "名前": "ソ"})];
    let manifest = json!({"sourceBucket": "s", "destinationBucket": "arn:aws:s3:::input", "fileFormat": "CSV",
        "fileSchema": "id, text", "files": [{"key": "inventory/1.csv.gz"}, {"key": "inventory/2.csv.gz"}]});
    let listed = |row: &Value| {
        format!(
            "\"{}\",\"{}\"\n",
            row["id"].as_str().unwrap(),
            row["text"].as_str().unwrap().replace('"', "\"\"")
        )
    };
    let data: Vec<u8> = rows.iter().flat_map(|row| listed(row).into_bytes()).collect();
    let (of_csv, of_lines) = (|| json!({"inputType": "CSV"}), || json!({"inputType": "JSONL"}));
    let (of_json, of_sjis) =
        (|| json!({"inputType": "JSON"}), || json!({"inputType": "CSV", "csvEncoding": "SHIFT_JIS"}));
    let pointer = json!({"inputType": "JSON", "itemsPointer": "/d~1e/1/rows"});
    let mut inventory = one(
        "inventory",
        "inventory/manifest.json",
        manifest.to_string().into(),
        json!({"inputType": "MANIFEST"}),
        &[],
    );
    inventory.items = [&rows[..], &rows[..]].concat();
    inventory.objects.extend(["1", "2"].map(|name| (format!("inventory/{name}.csv.gz"), gzip(&data))));
    let addresses = "s3://input/named/1.jsonl\n\ns3://input/named/2.jsonl.gz".to_owned().into_bytes();
    let mut config = of_lines();
    config["manifestType"] = json!("ATHENA_DATA");
    let mut named = one("named", "named/list.csv", addresses, config, &[&values[..], &values[..]].concat());
    named.objects.push(("named/1.jsonl".to_owned(), lines.clone()));
    named.objects.push(("named/2.jsonl.gz".to_owned(), gzip(&lines)));
    let inline =
        Kind { id: "inline", objects: Vec::new(), source: json!({"items": values}), items: values.to_vec() };
    vec![
        one("csv", "a.csv", csv.clone(), of_csv(), &rows),
        one("csv-gzip", "a.csv.gz", gzip(&csv), of_csv(), &rows),
        one("csv-zstd", "a.csv.zstd", zstd(&csv), of_csv(), &rows),
        one("jsonl", "a.jsonl", lines.clone(), of_lines(), &values),
        one("jsonl-gzip", "a.jsonl.gz", gzip(&lines), of_lines(), &values),
        one("jsonl-zstd", "a.jsonl.zst", zstd(&lines), of_lines(), &values),
        one("json", "a.json", array.clone(), of_json(), &values),
        one("json-gzip", "a.json.gz", gzip(&array), of_json(), &values),
        one("json-zstd", "a.json.zstd", zstd(&array), of_json(), &values),
        one("pointer", "b.json", nested, pointer, &values),
        one("sjis", "s.csv", sjis.clone(), of_sjis(), &names),
        one("sjis-gzip", "s.csv.gz", gzip(&sjis), of_sjis(), &names),
        many("many-csv", [csv.clone(), gzip(&csv)], ".gz", of_csv(), &rows),
        many("many-jsonl", [lines.clone(), zstd(&lines)], ".zstd", of_lines(), &values),
        many("many-json", [array.clone(), gzip(&array)], ".gz", of_json(), &values),
        many("many-sjis", [sjis.clone(), gzip(&sjis)], ".gz", of_sjis(), &names),
        inventory,
        named,
        inline,
    ]
}

/// A job that gives each item back.
fn job(source: &Value, max_items: Option<u64>) -> String {
    let mut job = source.clone();
    job["itemBatcher"] = json!({"maxItemsPerBatch": 2});
    job["itemProcessor"] = json!({"handler": "echo"});
    job["resultWriter"] = json!({"bucket": "output", "prefix": "results/"});
    if let Some(max_items) = max_items {
        job["itemReader"]["readerConfig"]["maxItems"] = json!(max_items);
    }
    job.to_string()
}

fn server(shard_size: u64, kinds: &[Kind]) -> Dev {
    let dev = Dev::start(&DevSettings { shard_size, ..DevSettings::default() });
    let s3 = dev.s3();
    for (key, body) in kinds.iter().flat_map(|kind| &kind.objects) {
        s3.put("input", key, body.clone());
    }
    dev
}

#[test]
fn every_kind_of_input_is_exact_in_shards_of_every_size() {
    let kinds = kinds();
    // The long list cuts at every byte of the longest; in the short one, each size meets other bytes of each.
    let sizes: Vec<u64> = if soak() { (1..=120).collect() } else { vec![1, 7] };
    for shard_size in sizes {
        let dev = server(shard_size, &kinds);
        for kind in &kinds {
            dev.submit(kind.id, &job(&kind.source, None));
        }
        for kind in &kinds {
            let run = dev.wait(kind.id, 0);
            assert_eq!(run["itemCounts"]["total"], kind.items.len(), "{}: {run}", kind.id);
            read_results(&dev.download(kind.id)).expect_echoed(&kind.items);
        }
        dev.stop();
    }
}

#[test]
fn max_items_counts_over_the_whole_data_set_of_every_kind() {
    let kinds: Vec<Kind> = kinds().into_iter().filter(|kind| kind.id != "inline").collect();
    let dev = server(16, &kinds);
    for kind in &kinds {
        let all = kind.items.len() as u64;
        let limits = [(0, all), (1, 1), (all - 1, all - 1), (all, all), (all + 1, all)];
        for (max_items, _) in limits {
            dev.submit(&format!("{}-{max_items}", kind.id), &job(&kind.source, Some(max_items)));
        }
        for (max_items, expected) in limits {
            let id = format!("{}-{max_items}", kind.id);
            let run = dev.wait(&id, 0);
            let counts = &run["itemCounts"];
            assert_eq!(
                (&counts["total"], &counts["succeeded"]),
                (&json!(expected), &json!(expected)),
                "{id}: {run}"
            );
        }
    }
    dev.stop();
}

#[test]
fn nothing_in_any_form_is_a_run_without_items_that_succeeds() {
    let config = |kind: &str| json!({"inputType": kind});
    let kinds = [
        one("csv", "0.csv", Vec::new(), config("CSV"), &[]),
        one("header", "h.csv", b"a,b\n".to_vec(), config("CSV"), &[]),
        one("csv-gzip", "0.csv.gz", gzip(b""), config("CSV"), &[]),
        one("header-zstd", "h.csv.zst", zstd(b"a,b"), config("CSV"), &[]),
        one("sjis", "s.csv", Vec::new(), json!({"inputType": "CSV", "csvEncoding": "SHIFT_JIS"}), &[]),
        one("jsonl-gzip", "0.jsonl.gz", gzip(b""), config("JSONL"), &[]),
        one("json-gzip", "0.json.gz", gzip(b" [ ] "), config("JSON"), &[]),
        one("named", "0.list", Vec::new(), json!({"inputType": "JSONL", "manifestType": "ATHENA_DATA"}), &[]),
        many("many-csv", [b"a\n".to_vec(), gzip(b"")], ".gz", config("CSV"), &[]),
        many("many-json", [b"[]".to_vec(), gzip(b"[]")], ".gz", config("JSON"), &[]),
    ];
    let dev = server(16, &kinds);
    for kind in &kinds {
        dev.submit(kind.id, &job(&kind.source, None));
    }
    for kind in &kinds {
        let run = dev.wait(kind.id, 0);
        assert_eq!((&run["state"], &run["itemCounts"]["total"]), (&json!("SUCCEEDED"), &json!(0)), "{run}");
        assert_eq!(read_results(&dev.download(kind.id)).succeeded.len(), 0);
    }
    dev.stop();
}

#[test]
fn hostile_inputs_end_the_run_with_what_where_and_what_to_do() {
    let config = |kind: &str| json!({"inputType": kind});
    let whole = gzip(b"a\n1\n2\n");
    let deep = "[".repeat(10_000);
    let around = format!("{{\"x\":{deep}{},\"d\":[1]}}", "]".repeat(10_000));
    let pointer = |pointer: &str| json!({"inputType": "JSON", "itemsPointer": pointer});
    let frame = zstd(&b"a\n1\n".repeat(99));
    let named = || json!({"inputType": "JSONL", "manifestType": "ATHENA_DATA"});
    let cases = [
        (
            one("garbage", "1.csv.gz", [&whole[..], b"garbage"].concat(), config("CSV"), &[]),
            "after 6 bytes of what it holds",
        ),
        (
            one("plain", "2.csv.gz", b"a\n1\n".to_vec(), config("CSV"), &[]),
            "without the ending of compressed objects",
        ),
        (one("frame", "3.csv.zst", frame[..frame.len() - 3].to_vec(), config("CSV"), &[]), "it ends early"),
        (
            one("deep", "4.json", format!("[{deep}").into(), config("JSON"), &[]),
            "nested deeper than 128 levels",
        ),
        (one("around", "5.json", around.into(), pointer("/d"), &[]), "nested deeper than 128 levels"),
        (
            one("cut", "6.json", b"[1,{\"a\":".to_vec(), config("JSON"), &[]),
            "byte 8: the value is not complete",
        ),
        (one("nowhere", "7.json", b"{\"a\":[1]}".to_vec(), pointer("/b"), &[]), "itemsPointer leads nowhere"),
        (
            one("missing", "8.list", b"s3://input/nothing\n".to_vec(), named(), &[]),
            "s3://input/nothing does not exist",
        ),
        (one("bucket", "9.list", b"s3://elsewhere/x\n".to_vec(), named(), &[]), "s3://elsewhere"),
    ];
    let (kinds, told): (Vec<Kind>, Vec<&str>) = cases.into_iter().unzip();
    let dev = server(16, &kinds);
    for kind in &kinds {
        dev.submit(kind.id, &job(&kind.source, None));
    }
    for (kind, told) in kinds.iter().zip(told) {
        let run = dev.wait(kind.id, 1);
        assert_eq!(run["error"]["error"], "States.ItemReaderFailed", "{}: {run}", kind.id);
        let cause = run["error"]["cause"].as_str().unwrap();
        assert!(cause.contains(told) && cause.contains("s3://"), "{}: {cause}", kind.id);
    }
    dev.stop();
}
