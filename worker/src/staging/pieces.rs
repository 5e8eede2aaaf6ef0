//! Every kind of source, delivered in pieces of every size, comes to the same; hostile ones end with a clear fault.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use warifu_common::model::protocol::{RunContext, RunFault};
use warifu_common::model::{CsvEncoding, InputForm, SourceObjects, error_name};
use warifu_common::object_store::ObjectLocation;

use super::*;
use crate::testing::{MemoryStore, context, open_run};

type Change = fn(&mut RunContext);
/// Keys and contents.
type Objects = Vec<(&'static str, Vec<u8>)>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn store_of(objects: &[(&str, Vec<u8>)]) -> Arc<MemoryStore> {
    let store = MemoryStore::default();
    for (key, bytes) in objects {
        store.objects.lock().unwrap().insert(ObjectLocation::new("input", *key), bytes.clone().into());
    }
    Arc::new(store)
}

/// What the source of `key` becomes if its bytes come and are converted in steps of these sizes.
async fn staged(
    store: &Arc<MemoryStore>,
    key: &str,
    change: impl FnOnce(&mut RunContext),
    steps: Steps,
) -> Result<String, RunFault> {
    let size = store.objects.lock().unwrap().get(&ObjectLocation::new("input", key)).map_or(0, |b| b.len());
    let mut context = context(b"");
    context.header = None;
    context.spec.item_reader.key = key.to_owned();
    context.source.key = key.to_owned();
    context.source.size_bytes = size as u64;
    context.item_source = format!("s3://input/{key}");
    change(&mut context);
    let staged =
        stage::stage(store.clone(), open_run(context), None, CancellationToken::new(), steps).await?;
    let text = store.text(&staged.source.key).unwrap();
    store.objects.lock().unwrap().retain(|location, _| location.bucket == "input");
    Ok(text)
}

fn json_lines(context: &mut RunContext) {
    context.spec.item_reader.form = InputForm::JsonLines;
}

fn array(context: &mut RunContext) {
    context.spec.item_reader.form = InputForm::Json { items_pointer: String::new() };
}

fn rows(context: &mut RunContext) {
    context.spec.item_reader.form = InputForm::Json { items_pointer: "/d/rows".to_owned() };
}

fn shift_jis(context: &mut RunContext) {
    context.spec.item_reader.encoding = CsvEncoding::ShiftJis;
}

fn flatten(context: &mut RunContext) {
    context.spec.item_reader.objects = SourceObjects::Flattened;
}

fn flatten_lines(context: &mut RunContext) {
    flatten(context);
    json_lines(context);
}

fn flatten_arrays(context: &mut RunContext) {
    flatten(context);
    array(context);
}

fn flatten_shift_jis(context: &mut RunContext) {
    flatten(context);
    shift_jis(context);
}

fn inventory(context: &mut RunContext) {
    context.spec.item_reader.objects = SourceObjects::Inventory;
}

fn named(context: &mut RunContext) {
    context.spec.item_reader.objects = SourceObjects::Named;
    json_lines(context);
}

fn no_change(_: &mut RunContext) {}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_source_comes_to_the_same_in_pieces_of_every_size() {
    let csv = "a,b\r\n1,\"x,\n\"\"y\"\n\n2,é\n3";
    let split = csv.find('é').unwrap() + 1;
    let lines = "\u{feff}{\"n\":1.50}\r\n\n\"é\"\n[]";
    let text = "\u{feff} [ {\"a\" : 1.50} , \"x, ]\", [ ] ]\n";
    let nested = r#"{"c":[0],"d":{"x":{"rows":[9]},"rows":[ 7, {"é":null} ],"z":1}}"#;
    let elements = "{\"a\":1.50}\n\"x, ]\"\n[]\n";
    let items = "{\"a\":\"1\",\"b\":\"x,\\n\\\"y\"}\n{\"a\":\"2\",\"b\":\"é\"}\n{\"a\":\"3\",\"b\":\"\"}\n";
    let sjis = b"\x96\xbc\x91\x4f,b\n\x83\x5c,\"\x87\x40\n\"\n\xa0,x\n";
    let ends_quoted = "a,b\n1,2\n3,\"x\ny\"";
    let quoted_items = "{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"x\\ny\"}\n";
    let manifest = r#"{"destinationBucket":"arn:aws:s3:::input","fileFormat":"CSV","fileSchema":"a, b","files":[{"key":"0.csv.gz"}]}"#;
    let members = [gzip(&csv.as_bytes()[..split]), gzip(b""), gzip(&csv.as_bytes()[split..])].concat();
    let frames = [zstd(&csv.as_bytes()[..split]), zstd(&csv.as_bytes()[split..])].concat();
    // The byte order mark is cut by the end of a member.
    let marks = [gzip(&lines.as_bytes()[..1]), gzip(&lines.as_bytes()[1..])].concat();
    let bare = lines.trim_start_matches('\u{feff}');
    let twice_lines = format!("{bare}\n{bare}\n");
    let sjis_items = "{\"名前\":\"ソ\",\"b\":\"①\\n\"}\n";
    let clean = sjis[..sjis.len() - 4].to_vec();
    let data = gzip(csv.as_bytes());
    let cases: [(&str, Change, Objects, String); 18] = [
        ("a.csv.gz", no_change, vec![("a.csv.gz", gzip(csv.as_bytes()))], csv.into()),
        ("a.csv.gzip", no_change, vec![("a.csv.gzip", members)], csv.into()),
        ("a.csv.zst", no_change, vec![("a.csv.zst", zstd(csv.as_bytes()))], csv.into()),
        ("a.csv.zstd", no_change, vec![("a.csv.zstd", frames)], csv.into()),
        ("a.jsonl.gz", json_lines, vec![("a.jsonl.gz", gzip(lines.as_bytes()))], lines.into()),
        ("a.jsonl.zst", json_lines, vec![("a.jsonl.zst", zstd(lines.as_bytes()))], lines.into()),
        ("a.json", array, vec![("a.json", text.into())], elements.into()),
        ("a.json.gz", array, vec![("a.json.gz", gzip(text.as_bytes()))], elements.into()),
        ("a.json.zst", array, vec![("a.json.zst", zstd(text.as_bytes()))], elements.into()),
        ("b.json", rows, vec![("b.json", nested.into())], "7\n{\"é\":null}\n".into()),
        (
            "p/",
            flatten,
            vec![("p/0", Vec::new()), ("p/1.csv", csv.into()), ("p/2.gz", data.clone())],
            items.repeat(2),
        ),
        ("p/", flatten, vec![("p/1", ends_quoted.into())], quoted_items.into()),
        ("p/", flatten_lines, vec![("p/1", lines.into()), ("p/2.gz", marks)], twice_lines),
        ("p/", flatten_arrays, vec![("p/1", text.into()), ("p/2.zst", zstd(b"[]"))], elements.into()),
        (
            "p/",
            flatten_shift_jis,
            vec![("p/1", clean.clone()), ("p/2.gz", gzip(&clean))],
            sjis_items.repeat(2),
        ),
        ("m.json", inventory, vec![("m.json", manifest.into()), ("0.csv.gz", data)], {
            format!("{{\"a\":\"a\",\"b\":\"b\"}}\n{items}")
        }),
        ("m.csv", named, vec![("m.csv", b"s3://input/1\n\ns3://input/1".to_vec()), ("1", lines.into())], {
            format!("{bare}\n{bare}\n")
        }),
        ("s.csv", shift_jis, vec![("s.csv", clean)], "名前,b\nソ,\"①\n\"\n".into()),
    ];
    for (key, change, objects, expected) in &cases {
        let store = store_of(objects);
        let longest = objects.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
        for piece_bytes in 1..=longest as u64 {
            for step_bytes in [1, 2, 3, 7, 1024] {
                let steps = Steps { piece_bytes, step_bytes, ..Steps::default() };
                let text = staged(&store, key, *change, steps).await;
                assert_eq!(text.as_ref(), Ok(expected), "{key}: {steps:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_no_items_whatever_it_lies_in() {
    let schema = r#"{"destinationBucket":"input","fileFormat":"CSV","fileSchema":"a","files":[]}"#;
    let cases: [(&str, Change, Vec<u8>); 14] = [
        ("a.csv.gz", no_change, gzip(b"")),
        ("a.csv.gz", no_change, gzip(b"a,b\n")),
        ("a.csv.zst", no_change, zstd(b"")),
        ("a.csv", shift_jis, Vec::new()),
        ("a.jsonl.gz", json_lines, gzip(b"")),
        ("a.jsonl.zst", json_lines, zstd(b" \n\n")),
        ("a.json", array, b" [ ]".to_vec()),
        ("a.json.gz", array, gzip(b"[]")),
        ("p/", flatten, Vec::new()),
        ("p/", flatten_lines, Vec::new()),
        ("p/1.gz", flatten, gzip(b"")),
        ("p/1.gz", flatten_lines, gzip(b"")),
        ("m.json", inventory, schema.into()),
        ("m.csv", named, Vec::new()),
    ];
    for (key, change, bytes) in cases {
        let store = store_of(&[(key, bytes)]);
        let text = staged(&store, key, change, Steps::default()).await.map_err(|fault| fault.cause).unwrap();
        let items =
            text.lines().skip(usize::from(text.starts_with("a,b"))).filter(|line| !line.trim().is_empty());
        assert_eq!(items.count(), 0, "{key}: {text:?}");
    }
}

/// The fault of a source that must not be staged, in few and in many pieces.
async fn fault_of(objects: &[(&str, Vec<u8>)], key: &str, change: impl Fn(&mut RunContext)) -> RunFault {
    let store = store_of(objects);
    let mut told = Vec::new();
    for steps in [Steps::default(), Steps { piece_bytes: 7, step_bytes: 5, ..Steps::default() }] {
        told.push(staged(&store, key, &change, steps).await.unwrap_err());
    }
    assert_eq!(told[0].error, told[1].error, "{key}");
    told.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_sources_end_the_run_and_say_what_is_wrong_where() {
    let whole = gzip(b"a\n1\n");
    let garbage = [whole.clone(), b"garbage".to_vec()].concat();
    let frame = zstd("a\n1\n".repeat(99).as_bytes());
    let cut_frame = frame[..frame.len() - 3].to_vec();
    let deep = "[".repeat(10_000);
    let deep_item = format!("[{deep}{}]", "]".repeat(10_000));
    let around = format!("{{\"x\":{deep}{},\"d\":{{\"rows\":[1]}}}}", "]".repeat(10_000));
    let cases: [(&str, Change, Vec<u8>, &str); 14] = [
        ("a.csv.gz", no_change, garbage, "after 4 bytes of what it holds"),
        (
            "n.csv.gz",
            no_change,
            gzip(b"x,x\n1,2\n"),
            "duplicates. (s3://input/n.csv.gz, rewritten as s3://system/",
        ),
        ("b.csv.gz", no_change, b"a\n1\n".to_vec(), "without the ending of compressed objects"),
        ("c.csv.zst", no_change, cut_frame, "is no valid Zstandard"),
        ("d.csv.zst", no_change, b"plain text".to_vec(), "without the ending of compressed objects"),
        ("e.json", array, deep_item.into(), "byte 128: it is nested deeper than 128 levels"),
        ("f.json", rows, around.into(), "nested deeper than 128 levels"),
        ("g.json", array, b"[1,{\"a\":".to_vec(), "byte 8: the value is not complete"),
        ("h.json", array, b"{\"a\":1}".to_vec(), "The value at byte 0 is no array"),
        ("i.json", rows, b"{\"d\":{\"row\":[1]}}".to_vec(), "itemsPointer leads nowhere"),
        ("j.json", array, Vec::new(), "byte 0: the value is not complete"),
        ("k.json", inventory, b"[]".to_vec(), "is no manifest of S3 Inventory"),
        ("l.csv", named, b"s3://input/l.csv\ninput/x\n".to_vec(), "l.csv, line 2"),
        ("m.csv", named, b"s3://input/missing.jsonl\n".to_vec(), "s3://input/missing.jsonl does not exist"),
    ];
    for (key, change, bytes, told) in cases {
        let fault = fault_of(&[(key, bytes)], key, change).await;
        assert_eq!(fault.error, error_name::ITEM_READER_FAILED, "{}", fault.cause);
        assert!(fault.cause.contains(told) && fault.cause.contains("s3://input/"), "{key}: {}", fault.cause);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_at_any_byte_never_passes_for_a_smaller_one() {
    let (csv, lines) = ("a,b\n1,\"x\ny\"\n".repeat(9), "{\"n\":1}\n[]\n".repeat(9));
    let text = b"{\"d\":{\"rows\":[ 7, {\"a\":[null]}, \"x\"]}}";
    let schema =
        br#"{"destinationBucket":"input","fileFormat":"CSV","fileSchema":"a","files":[{"key":"0.csv"}]}"#;
    let whole: [(&str, Change, Vec<u8>); 7] = [
        ("a.csv.gz", no_change, gzip(csv.as_bytes())),
        ("a.csv.zst", no_change, zstd(csv.as_bytes())),
        ("a.jsonl.gz", json_lines, gzip(lines.as_bytes())),
        ("a.jsonl.zst", json_lines, zstd(lines.as_bytes())),
        ("a.json", rows, text.to_vec()),
        ("a.json.gz", rows, gzip(text)),
        ("m.json", inventory, schema.to_vec()),
    ];
    for (key, change, bytes) in whole {
        // No frame at all is Zstandard, too.
        let shortest = usize::from(key.ends_with(".zst"));
        for cut in shortest..bytes.len() {
            let store = store_of(&[(key, bytes[..cut].to_vec()), ("0.csv", b"1\n".to_vec())]);
            let fault = staged(&store, key, change, Steps::default()).await.expect_err("it is cut off");
            assert_eq!(fault.error, error_name::ITEM_READER_FAILED, "{key}, {cut} bytes: {}", fault.cause);
            assert!(fault.cause.contains(key), "{key}, {cut} bytes: {}", fault.cause);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decompresses_without_end_is_bounded_also_where_it_becomes_no_items() {
    let blank = gzip(&[b"[".to_vec(), vec![b' '; 8 << 20], b"]".to_vec()].concat());
    let passed = gzip(format!("{{\"x\":\"{}\",\"d\":{{\"rows\":[]}}}}", "x".repeat(8 << 20)).as_bytes());
    let lines = gzip(&[b"a\n".to_vec(), vec![b'\n'; 3 << 20]].concat());
    let bounded = |change: Change| {
        move |context: &mut RunContext| {
            change(context);
            context.max_staged_bytes = 4 << 20;
        }
    };
    let cases: [(&str, Change, Objects); 3] = [
        ("a.json.gz", array, vec![("a.json.gz", blank)]),
        ("b.json.gz", rows, vec![("b.json.gz", passed)]),
        // Each of them alone would do.
        ("p/", flatten, vec![("p/1.gz", lines.clone()), ("p/2.gz", lines)]),
    ];
    for (key, change, objects) in cases {
        let store = store_of(&objects);
        let fault = staged(&store, key, bounded(change), Steps::default()).await.unwrap_err();
        let cause = &fault.cause;
        assert!(
            cause.contains("more than 4194304 bytes") && cause.contains("max_staged_bytes"),
            "{key}: {cause}"
        );
        assert!(cause.contains(objects.last().unwrap().0), "{key}: {cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_after_it_was_listed_ends_the_run() {
    let store = store_of(&[("p/1.csv", b"a\n1\n".to_vec())]);
    *store.seen_etag.lock().unwrap() = Some("\"2\"".to_owned());
    let fault = staged(&store, "p/", flatten, Steps::default()).await.unwrap_err();
    assert_eq!(fault.error, error_name::SOURCE_CHANGED);
    assert!(fault.cause.contains("s3://input/p/1.csv was changed"), "{}", fault.cause);
}
