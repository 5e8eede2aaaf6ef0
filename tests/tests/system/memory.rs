//! Memory: however large the file is, the process stays small.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{
    Dev, DevSettings, Process, Random, computing_for_long, eventually, run_json, scratch, soak, text, warifu,
};

const MIB: u64 = 1 << 20;
/// What all processes together may hold at their most.
const MOST_RESIDENT: u64 = 300 * MIB;

#[test]
fn a_large_file_is_handled_in_less_than_300_megabytes() {
    // The development build takes half a minute for the small one; the large one is for a soak.
    let _computing = computing_for_long();
    let sizes: &[u64] = if soak() { &[1_000 * MIB, 10_000 * MIB] } else { &[1_000 * MIB] };
    for size in sizes {
        let directory = scratch();
        let csv = directory.path().join("large.csv");
        let rows = write_users(&csv, *size);
        let started = Instant::now();
        let (run, most_resident) = run_and_measure(&csv);
        let (took, resident) = (started.elapsed(), most_resident / MIB);
        let rate = (*size / MIB) as f64 / took.as_secs_f64();
        eprintln!("{} MiB, {rows} rows: {took:?} ({rate:.0} MiB/s), at most {resident} MiB", size / MIB);
        assert_eq!(run["itemCounts"]["succeeded"], rows);
        assert!(most_resident < MOST_RESIDENT, "{resident} MiB are resident at the most");
    }
}

/// Rows of users, some of them with a note in quotes; returns their number.
fn write_users(csv: &Path, size: u64) -> u64 {
    let mut random = Random::new(8);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(csv).unwrap());
    let mut written = 0;
    let mut rows = 0;
    file.write_all("ユーザーID,ログイン回数,投稿回数,備考\n".as_bytes()).unwrap();
    while written < size {
        let note = random.choose(&["", "plain words of a note", "\"with, comma\"", "\"two\nlines\""]);
        let row = format!("U{rows:09},{},{},{note}\n", random.below(500), random.below(2_000));
        file.write_all(row.as_bytes()).unwrap();
        written += row.len() as u64;
        rows += 1;
    }
    file.flush().unwrap();
    rows
}

/// Returns the run, and the sum of the most that each process of the tree held.
fn run_and_measure(csv: &Path) -> (serde_json::Value, u64) {
    let arguments = ["run", text(csv), "--handler", "noop", "--batch-size", "1000", "-o", "json"];
    let mut process = Process::start(warifu(arguments));
    let mut most = BTreeMap::new();
    eventually("the run ends", Duration::from_secs(3_600), || {
        note_high_water_marks(process.id(), &mut most);
        (!process.is_running()).then_some(())
    });
    (process.finish().expect(0).json(), most.values().sum())
}

/// Notes the most that each process of the tree has held so far.
pub(crate) fn note_high_water_marks(id: u32, most: &mut BTreeMap<u32, u64>) {
    for id in tree_of(id) {
        if let Some(bytes) = high_water_mark(id) {
            most.insert(id, bytes);
        }
    }
}

/// Fails every item, each for a reason of its own.
const FAILING: &str = r#"
[handlers.failing]
type = "exec"
command = ["sed", 's/.*row \([0-9]*\)".*/{"warifu:error":{"errorType":"E","errorMessage":"row \1 is not wanted"}}/']
"#;

#[test]
fn a_million_failed_items_take_no_more_memory_than_others() {
    let _computing = computing_for_long();
    let rows = 1_000_000;
    let dev = Dev::start(&DevSettings { worker_config: FAILING, ..DevSettings::default() });
    let csv: String = (0..rows).map(|row| format!("row {row}\n")).collect();
    dev.s3().put("input", "in.csv", format!("name\n{csv}"));
    drop(csv);
    // An entry for each reason, all in AWS's shape: the longest form.
    let job = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
               itemBatcher: {maxItemsPerBatch: 1000}\n\
               itemProcessor: {handler: failing}\n\
               toleratedFailurePercentage: 100\n\
               resultWriter: {bucket: output, prefix: r/, writerConfig: {transformation: NONE, outputType: JSON}}\n";
    let (started, mut most) = (Instant::now(), BTreeMap::new());
    dev.submit("million", job);
    eventually("a million items fail", Duration::from_secs(1_800), || {
        note_high_water_marks(dev.process_id(), &mut most);
        let run = dev.json(["get", "million"], 0);
        (run["state"] == "SUCCEEDED").then_some(())
    });
    let resident = most.values().max().unwrap() / MIB;
    eprintln!("{rows} failed items: {:?}, the largest process held {resident} MiB", started.elapsed());
    assert_eq!(dev.json(["get", "million"], 0)["itemCounts"]["failed"], rows);
    let manifest = dev.json(["results", "million"], 0);
    let sizes = manifest["manifest"]["ResultFiles"]["FAILED"].as_array().unwrap();
    let sizes: Vec<u64> = sizes.iter().map(|file| file["Size"].as_u64().unwrap()).collect();
    let (all, largest) = (sizes.iter().sum::<u64>(), *sizes.iter().max().unwrap());
    eprintln!("{} files of {} MiB, the largest has {} KiB", sizes.len(), all / MIB, largest >> 10);
    assert!(all > 300 * MIB, "{all}: more than may be held");
    assert!(largest < 9 * MIB, "{largest}: a part is 8 MiB, and a batch");
    assert!(resident < MOST_RESIDENT / MIB, "{resident} MiB are resident at the most");
    dev.stop();
}

/// A process and all below it.
fn tree_of(id: u32) -> Vec<u32> {
    let mut ids = vec![id];
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        ids.extend(children.split_whitespace().flat_map(|child| tree_of(child.parse().unwrap())));
    }
    ids
}

/// VmHWM: the most that a process ever held, in bytes.
fn high_water_mark(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[test]
fn a_record_as_large_as_allowed_passes_through_every_worker() {
    let directory = scratch();
    let (csv, output) = (directory.path().join("in.csv"), directory.path().join("out"));
    let note = "x".repeat(15 << 20);
    let rows: String = (0..4).map(|row| format!("{row},{note}\n")).collect();
    std::fs::write(&csv, format!("id,note\n{rows}")).unwrap();
    let arguments = ["run", text(&csv), "--handler", "echo", "--output", text(&output)];
    let run = run_json(arguments.into_iter().chain(["--shard-size", "1000000"]), 0);
    // Each alone is more than a batch should hold, and makes a batch of its own.
    assert_eq!((&run["itemCounts"]["succeeded"], &run["batchCounts"]["total"]), (&4.into(), &4.into()));
    let results = crate::harness::read_results(&output);
    assert!(results.succeeded.values().all(|line| line["output"]["note"].as_str() == Some(&note)));
}
