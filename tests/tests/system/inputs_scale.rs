//! Inputs of many objects, many lines and many bytes: exact, and in little memory whatever they are.
//!
//! A small form of each always runs; `WARIFU_SOAK=1` runs the large one. What they held at the most is printed.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{Dev, DevSettings, Fleet, FleetSettings, eventually, soak};
use crate::memory::note_high_water_marks;

/// What the one process with coordinator, workers, store and S3 may hold at its most.
const MOST_RESIDENT: u64 = 300 << 20;

const WITHIN: Duration = Duration::from_secs(3_600);

/// Runs a job that does nothing with its items, all of which must succeed: `items` of them.
fn run_and_measure(dev: &Dev, id: &str, items: u64, reader: &Value) {
    let job = json!({
        "itemReader": reader,
        "itemBatcher": {"maxItemsPerBatch": 1000},
        "itemProcessor": {"handler": "noop"},
    });
    let (started, mut most) = (Instant::now(), BTreeMap::new());
    dev.submit(id, &job.to_string());
    let run = eventually("the run succeeds", WITHIN, || {
        note_high_water_marks(dev.process_id(), &mut most);
        let run = dev.json(["get", id], 0);
        assert!(run["state"] != "FAILED", "{run}");
        (run["state"] == "SUCCEEDED").then_some(run)
    });
    let resident = *most.values().max().unwrap();
    eprintln!("{id}: {items} items in {:?}, at most {} MiB", started.elapsed(), resident >> 20);
    let counts = &run["itemCounts"];
    assert_eq!((&counts["total"], &counts["succeeded"]), (&json!(items), &json!(items)), "{run}");
    assert!(resident < MOST_RESIDENT, "{} MiB are resident at the most", resident >> 20);
}

/// The file of an object of the development server's S3, which keeps each as a file.
fn object_file(dev: &Dev, key: &str) -> std::fs::File {
    let path = dev.directory().join("data/s3/input").join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(path).unwrap()
}

#[test]
fn many_objects_under_a_prefix_are_listed_in_little_memory() {
    let objects: u64 = if soak() { 100_000 } else { 2_500 };
    let dev = Dev::start(&DevSettings::default());
    for object in 0..objects {
        drop(object_file(&dev, &format!("many/{:03}/{object:06}", object % 100)));
    }
    run_and_measure(&dev, "listing", objects, &json!({"bucket": "input", "prefix": "many/"}));
    dev.stop();
}

#[test]
fn many_json_lines_pass_in_little_memory() {
    let lines: u64 = if soak() { 10_000_000 } else { 200_000 };
    let dev = Dev::start(&DevSettings::default());
    let mut file = BufWriter::new(object_file(&dev, "lines.jsonl"));
    for line in 0..lines {
        writeln!(file, "{{\"id\":{line},\"name\":\"user {line}\"}}").unwrap();
    }
    drop(file.into_inner().unwrap());
    let config = json!({"inputType": "JSONL"});
    let reader = json!({"bucket": "input", "key": "lines.jsonl", "readerConfig": config});
    run_and_measure(&dev, "lines", lines, &reader);
    dev.stop();
}

#[test]
fn a_large_gzip_is_staged_in_little_memory() {
    let bytes: u64 = if soak() { 1 << 30 } else { 32 << 20 };
    let dev = Dev::start(&DevSettings::default());
    let mut encoder = GzEncoder::new(BufWriter::new(object_file(&dev, "large.csv.gz")), Compression::fast());
    let (mut written, mut rows) = (0, 0);
    encoder.write_all(b"id,name,note\n").unwrap();
    while written < bytes {
        let row = format!("{rows},user {rows},\"a note, as long\nas that of all others\"\n");
        encoder.write_all(row.as_bytes()).unwrap();
        written += row.len() as u64;
        rows += 1;
    }
    encoder.finish().unwrap().flush().unwrap();
    let config = json!({"inputType": "CSV"});
    let reader = json!({"bucket": "input", "key": "large.csv.gz", "readerConfig": config});
    run_and_measure(&dev, "large", rows, &reader);
    dev.stop();
}

#[test]
fn a_worker_of_its_own_keeps_what_is_scanned_ahead_not_what_is_done() {
    let lines: u64 = if soak() { 10_000_000 } else { 200_000 };
    let mut fleet =
        Fleet::start(&FleetSettings { coordinators: 1, etcd_members: 1, ..FleetSettings::default() });
    fleet.start_worker("w", 8, "");
    let mut text = Vec::new();
    for line in 0..lines {
        writeln!(text, "{{\"id\":{line},\"name\":\"user {line}\"}}").unwrap();
    }
    fleet.s3().put("input", "lines.jsonl", text);
    let job = json!({
        "itemReader": {"bucket": "input", "key": "lines.jsonl", "readerConfig": {"inputType": "JSONL"}},
        "itemBatcher": {"maxItemsPerBatch": 1000},
        "itemProcessor": {"handler": "noop"},
    });
    fleet.submit("lines", &job.to_string());
    let mut most = BTreeMap::new();
    let run = eventually("the run succeeds", WITHIN, || {
        note_high_water_marks(fleet.worker_id(0), &mut most);
        fleet.get("lines").filter(|run| run["state"] == "SUCCEEDED")
    });
    assert_eq!(run["itemCounts"]["succeeded"], lines, "{run}");
    let resident = *most.values().max().unwrap();
    eprintln!("a worker with {lines} items: at most {} MiB", resident >> 20);
    assert!(resident < MOST_RESIDENT, "{} MiB are resident at the most", resident >> 20);
    fleet.stop();
}
