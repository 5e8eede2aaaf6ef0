//! Each kind of source, from objects in memory.

use std::io::Write;
use std::sync::atomic::Ordering;

use flate2::Compression;
use flate2::write::GzEncoder;
use warifu_common::dataset::{SHAPES_SINCE, SOURCES_SINCE};
use warifu_common::model::protocol::RunContext;
use warifu_common::model::{AccessRules, CsvEncoding, InputForm, SourceObjects, error_name};

use super::*;
use crate::testing::{MemoryStore, context, open_run};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A run over `key` of the bucket `input`.
fn run_over(key: &str, size: usize, change: impl FnOnce(&mut RunContext)) -> Arc<OpenRun> {
    let mut context = context(b"");
    context.header = None;
    context.spec.item_reader.key = key.to_owned();
    context.source.key = key.to_owned();
    context.source.size_bytes = size as u64;
    change(&mut context);
    open_run(context)
}

fn json(pointer: &str) -> InputForm {
    InputForm::Json { items_pointer: pointer.to_owned() }
}

/// What the source becomes.
async fn staged(store: &Arc<MemoryStore>, run: Arc<OpenRun>) -> Result<(String, Vec<String>), String> {
    let staged = stage::stage(store.clone(), run, None, CancellationToken::new(), Steps::default()).await;
    let staged = staged.map_err(|fault| {
        assert_eq!(fault.error, error_name::ITEM_READER_FAILED, "{}", fault.cause);
        fault.cause
    })?;
    assert!(staged.source.key.starts_with("warifu/run-1/staged/"), "{}", staged.source.key);
    assert_eq!(staged.source.bucket, "system");
    Ok((store.text(&staged.source.key).unwrap(), staged.probe.header.names))
}

async fn staged_object(
    key: &str,
    bytes: Vec<u8>,
    change: impl FnOnce(&mut RunContext),
) -> Result<String, String> {
    let size = bytes.len();
    let (store, _) = MemoryStore::with(key, bytes);
    staged(&store, run_over(key, size, change)).await.map(|(text, _)| text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_csv_is_the_csv_that_it_holds() {
    let csv = "a,b\n1,\"x\ny\"\n";
    for (key, bytes) in [
        ("a.csv.gz", gzip(csv.as_bytes())),
        ("b.csv.gz", [gzip(&csv.as_bytes()[..5]), gzip(&csv.as_bytes()[5..])].concat()),
        ("c.csv.zst", zstd::encode_all(csv.as_bytes(), 1).unwrap()),
    ] {
        let (store, object) = MemoryStore::with(key, bytes);
        let run = run_over(key, object.size as usize, |_| {});
        assert_eq!(
            staged(&store, run).await.unwrap(),
            (csv.to_owned(), vec!["a".into(), "b".into()]),
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_one_is_written_in_parts() {
    let csv = format!("a\n{}", "0123456789abcdef\n".repeat(1_500_000));
    let (store, object) = MemoryStore::with("a.csv.gz", gzip(csv.as_bytes()));
    let (text, _) = staged(&store, run_over("a.csv.gz", object.size as usize, |_| {})).await.unwrap();
    assert!(text == csv);
}

/// What a staging holds at the most does not depend on its source: two pieces that were read, and one part.
#[tokio::test(flavor = "multi_thread")]
async fn two_pieces_and_one_part_are_held_however_large_a_source_is() {
    let sjis = |context: &mut RunContext| context.spec.item_reader.encoding = CsvEncoding::ShiftJis;
    let csv = format!("a\n{}", "0123456789abcdef\n".repeat(1_600_000));
    let (store, object) = MemoryStore::with("a.csv", csv.clone());
    let steps = Steps { piece_bytes: 1 << 20, ..Steps::default() };
    let run = run_over("a.csv", object.size as usize, sjis);
    let staged = stage::stage(store.clone(), run, None, CancellationToken::new(), steps).await.unwrap();
    assert_eq!(staged.source.size_bytes, object.size);
    let most = store.held.most.load(Ordering::SeqCst);
    assert!(most <= 2 * steps.piece_bytes, "{most} bytes of the source are held");
    let parts = store.parts.lock().unwrap().clone();
    let (last, whole) = parts.split_last().unwrap();
    assert!(whole.len() == 3 && whole.iter().all(|part| *part == 8 << 20) && *last < 8 << 20, "{parts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_corrupt_or_too_large_ends_the_run_and_names_the_object() {
    let whole = gzip("a\n1\n".repeat(1000).as_bytes());
    let mut corrupt = whole.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    let cut_off = whole[..whole.len() - 9].to_vec();
    for (bytes, told) in [
        (cut_off, "it ends early"),
        (corrupt, "is no valid gzip"),
        (b"a\n1\n".to_vec(), "is no valid gzip"),
        (Vec::new(), "it ends early"),
    ] {
        let cause = staged_object("a.csv.gz", bytes, |_| {}).await.unwrap_err();
        assert!(cause.contains(told) && cause.contains("s3://input/a.csv.gz"), "{cause}");
    }
    let bomb = gzip(&vec![b'x'; 40 << 20]);
    assert!(bomb.len() < 1 << 20);
    let cause =
        staged_object("a.csv.gz", bomb, |context| context.max_staged_bytes = 20 << 20).await.unwrap_err();
    assert!(cause.contains("more than 20971520 bytes") && cause.contains("max_staged_bytes"), "{cause}");
    let cause = staged_object("a.zst", b"abc".to_vec(), |_| {}).await.unwrap_err();
    assert!(cause.contains("is no valid Zstandard"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shift_jis_becomes_utf8() {
    let sjis = |context: &mut RunContext| context.spec.item_reader.encoding = CsvEncoding::ShiftJis;
    let csv = b"\x96\xbc\x91\x4f\n\x83\x5c\n".to_vec();
    assert_eq!(staged_object("a.csv", csv.clone(), sjis).await.unwrap(), "名前\nソ\n");
    assert_eq!(staged_object("a.csv.gz", gzip(&csv), sjis).await.unwrap(), "名前\nソ\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_elements_of_an_array_become_lines() {
    let text = br#"{"data": {"rows": [{"a": 1.50}, 7, "x"]}}"#;
    let rows = |context: &mut RunContext| context.spec.item_reader.form = json("/data/rows");
    assert_eq!(staged_object("a.json", text.to_vec(), rows).await.unwrap(), "{\"a\":1.50}\n7\n\"x\"\n");
    assert_eq!(staged_object("a.json.gz", gzip(text), rows).await.unwrap(), "{\"a\":1.50}\n7\n\"x\"\n");
    let whole = |context: &mut RunContext| context.spec.item_reader.form = json("");
    assert_eq!(staged_object("a.json", b"\xef\xbb\xbf[]".to_vec(), whole).await.unwrap(), "");
    let cause = staged_object("a.json", text.to_vec(), whole).await.unwrap_err();
    assert!(
        cause.contains("Attempting to map over non-iterable node.") && cause.contains("a.json"),
        "{cause}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_items_as_aws_words_them() {
    let (store, _) = MemoryStore::with("in/b", &b"12"[..]);
    for key in ["in/a", "other", "in/c/d"] {
        let location = warifu_common::object_store::ObjectLocation::new("input", key);
        store.objects.lock().unwrap().insert(location, bytes::Bytes::from_static(b"1"));
    }
    let run = run_over("in/", 0, |context| context.spec.item_reader.objects = SourceObjects::Listed);
    let (text, _) = staged(&store, run).await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    let first =
        r#"{"Etag":"\"1\"","Key":"in/a","LastModified":1.790204286E9,"Size":1,"StorageClass":"STANDARD"}"#;
    assert_eq!((lines.len(), lines[0]), (3, first));
    assert!(lines[1].contains(r#""Key":"in/b""#) && lines[2].contains(r#""Key":"in/c/d""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_under_a_prefix_are_one_data_set_each_with_its_own_header() {
    let (store, _) = MemoryStore::with("in/1.csv", &b"a,b\n1,2\n"[..]);
    let add = |key: &str, bytes: Vec<u8>| {
        let location = warifu_common::object_store::ObjectLocation::new("input", key);
        store.objects.lock().unwrap().insert(location, bytes.into());
    };
    add("in/2.csv.gz", gzip(b"b,a\n3,4"));
    add("in/0/", Vec::new());
    let flatten = |context: &mut RunContext| context.spec.item_reader.objects = SourceObjects::Flattened;
    let (text, _) = staged(&store, run_over("in/", 0, flatten)).await.unwrap();
    assert_eq!(text, "{\"a\":\"1\",\"b\":\"2\"}\n{\"b\":\"3\",\"a\":\"4\"}\n");
    add("in/3.csv", b"x,x\n1,2\n".to_vec());
    let cause = staged(&store, run_over("in/", 0, flatten)).await.unwrap_err();
    assert!(cause.contains("s3://input/in/3.csv") && cause.contains("duplicates"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_name_the_data_files() {
    let inventory = br#"{"sourceBucket":"s","destinationBucket":"arn:aws:s3:::input","version":"2016-11-30",
        "fileFormat":"CSV","fileSchema":"Bucket, Key, Size","files":[{"key":"d/1.csv.gz","size":1}]}"#;
    let (store, object) = MemoryStore::with("m/manifest.json", &inventory[..]);
    let add = |key: &str, bytes: Vec<u8>| {
        let location = warifu_common::object_store::ObjectLocation::new("input", key);
        store.objects.lock().unwrap().insert(location, bytes.into());
    };
    add("d/1.csv.gz", gzip(b"\"s\",\"k\",\"5\"\n"));
    let run = run_over("m/manifest.json", object.size as usize, |context| {
        context.spec.item_reader.objects = SourceObjects::Inventory;
    });
    assert_eq!(staged(&store, run).await.unwrap().0, "{\"Bucket\":\"s\",\"Key\":\"k\",\"Size\":\"5\"}\n");
    let list = b"s3://input/d/2.jsonl\n\ns3://input/d/3.jsonl\n";
    add("m/list.csv", list.to_vec());
    add("d/2.jsonl", b"{\"n\": 1}".to_vec());
    add("d/3.jsonl", b"2\n".to_vec());
    let named = |context: &mut RunContext| {
        context.spec.item_reader.objects = SourceObjects::Named;
        context.spec.item_reader.form = InputForm::JsonLines;
    };
    let run = run_over("m/list.csv", list.len(), named);
    assert_eq!(staged(&store, run).await.unwrap().0, "{\"n\": 1}\n2\n");
    add("m/list.csv", b"input/d/2.jsonl\n".to_vec());
    let cause = staged(&store, run_over("m/list.csv", 16, named)).await.unwrap_err();
    assert!(cause.contains("m/list.csv, line 1"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_many_objects_say_which_they_come_from_where_the_run_was_created_so() {
    let (store, _) = MemoryStore::with("in/1.csv", &b"a\n1\n2\n"[..]);
    let add = |key: &str, bytes: &[u8]| {
        let location = warifu_common::object_store::ObjectLocation::new("input", key);
        store.objects.lock().unwrap().insert(location, bytes.to_vec().into());
    };
    add("in/2 \"x\".csv", b"b\n3");
    let flatten = |cut_version| {
        move |context: &mut RunContext| {
            context.spec.item_reader.objects = SourceObjects::Flattened;
            context.cut_version = cut_version;
        }
    };
    let (before, _) = staged(&store, run_over("in/", 0, flatten(SHAPES_SINCE))).await.unwrap();
    assert_eq!(before, "{\"a\":\"1\"}\n{\"a\":\"2\"}\n{\"b\":\"3\"}\n");
    let (text, _) = staged(&store, run_over("in/", 0, flatten(SOURCES_SINCE))).await.unwrap();
    let first = r#""s3://input/in/1.csv""#;
    let second = r#""s3://input/in/2 \"x\".csv""#;
    assert_eq!(text, format!("{first} {{\"a\":\"1\"}}\n{first} {{\"a\":\"2\"}}\n{second} {{\"b\":\"3\"}}\n"));
    add("m/list", b"s3://input/in/lines\n");
    add("in/lines", b"\n {\"a\": 1.50}\n\n no JSON");
    let run = run_over("m/list", 20, |context| {
        context.spec.item_reader.objects = SourceObjects::Named;
        context.spec.item_reader.form = InputForm::JsonLines;
        context.cut_version = SOURCES_SINCE;
    });
    let (text, _) = staged(&store, run).await.unwrap();
    assert_eq!(text, "\"s3://input/in/lines\" {\"a\": 1.50}\n\"s3://input/in/lines\" no JSON\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_does_not_allow_ends_the_run_whatever_names_it() {
    let store = Arc::new(MemoryStore::default());
    let add = |bucket: &str, key: &str, text: &str| {
        let location = warifu_common::object_store::ObjectLocation::new(bucket, key);
        store.objects.lock().unwrap().insert(location, text.to_owned().into());
    };
    add("secret", "a.csv", "1");
    add("system", "warifu/run-2/failures.csv", "1");
    add("input", "team-a/1.csv", "a\n1\n");
    let items_of = async |key: &str, text: &str, objects| {
        add("input", key, text);
        let run = run_over(key, text.len(), |context| {
            context.allowed = AccessRules::new(Some(vec!["s3://input/team-a/*".to_owned()]));
            context.spec.item_reader.objects = objects;
        });
        staged(&store, run).await.map(|(items, _)| items)
    };
    let list = "team-a/list.txt";
    for forbidden in
        ["s3://secret/a.csv", "s3://system/warifu/run-2/failures.csv", "s3://input/team-a/../team-b/1.csv"]
    {
        let text = format!("s3://input/team-a/1.csv\n{forbidden}\n");
        let cause = items_of(list, &text, SourceObjects::Named).await.unwrap_err();
        let told = format!("s3://input/{list}: {forbidden} is not among what this cluster lets jobs use");
        assert!(cause.starts_with(&told) && cause.contains("[s3] allowed"), "{cause}");
    }
    let allowed = items_of(list, "s3://input/team-a/1.csv\n", SourceObjects::Named).await;
    assert_eq!(allowed.unwrap(), "{\"a\":\"1\"}\n");
    for bucket in ["secret", "arn:aws:s3:::secret", "input/team-a/../../secret"] {
        let text = format!(
            r#"{{"destinationBucket":"{bucket}","fileFormat":"CSV","fileSchema":"a","files":[{{"key":"a.csv"}}]}}"#
        );
        let cause = items_of("team-a/manifest.json", &text, SourceObjects::Inventory).await.unwrap_err();
        assert!(cause.contains("secret/a.csv is not among what this cluster lets jobs use"), "{cause}");
    }
    let cause = items_of("team-b/list.txt", "", SourceObjects::Named).await.unwrap_err();
    assert!(cause.starts_with("s3://input/team-b/list.txt is not among"), "{cause}");
    for objects in [SourceObjects::Listed, SourceObjects::Flattened] {
        let cause = items_of("team-", "", objects).await.unwrap_err();
        assert!(cause.starts_with("s3://input/team- is not among"), "{cause}");
    }
}
