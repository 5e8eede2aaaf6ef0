//! Every kind of input against every way to cut it, `maxItems`, and nothing at all; and inputs that are hostile.

use serde_json::json;

use crate::harness::{Dev, DevSettings, gzip, read_results, soak, zstd};
use crate::inputs_kinds::{Kind, job, kinds, many, one};

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
