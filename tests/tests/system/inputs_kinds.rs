//! Every kind of input, each small and as hard as it may be.

use serde_json::{Value, json};

use crate::harness::{gzip, zstd};

/// A kind of input: its objects in the bucket `input`, what of the job names them, and its items.
pub(crate) struct Kind {
    pub(crate) id: &'static str,
    pub(crate) objects: Vec<(String, Vec<u8>)>,
    pub(crate) source: Value,
    pub(crate) items: Vec<Value>,
}

/// An input of one object.
pub(crate) fn one(id: &'static str, key: &str, body: Vec<u8>, config: Value, items: &[Value]) -> Kind {
    let source = json!({"itemReader": {"bucket": "input", "key": key, "readerConfig": config}});
    Kind { id, objects: vec![(key.to_owned(), body)], source, items: items.to_vec() }
}

/// Objects under the prefix of the kind's name, and their items twice.
pub(crate) fn many(
    id: &'static str,
    bodies: [Vec<u8>; 2],
    ending: &str,
    config: Value,
    items: &[Value],
) -> Kind {
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

/// Each kind of input, with items that are hard to find in it.
pub(crate) fn kinds() -> Vec<Kind> {
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
pub(crate) fn job(source: &Value, max_items: Option<u64>) -> String {
    let mut job = source.clone();
    job["itemBatcher"] = json!({"maxItemsPerBatch": 2});
    job["itemProcessor"] = json!({"handler": "echo"});
    job["resultWriter"] = json!({"bucket": "output", "prefix": "results/"});
    if let Some(max_items) = max_items {
        job["itemReader"]["readerConfig"]["maxItems"] = json!(max_items);
    }
    job.to_string()
}
