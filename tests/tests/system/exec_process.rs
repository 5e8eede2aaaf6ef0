//! A program that is kept running: it answers batch after batch, is killed in one, hangs in another, and every item ends
//! as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Dev, DevSettings, eventually, read_results, text};

const ROWS: u64 = 4_000;
const BATCH_SIZE: u64 = 20;
/// Says that it wants to be killed, and waits for it.
const KILLED_BATCH: u64 = 50;
/// Does not come back.
const HUNG_BATCH: u64 = 120;
const WORKERS: u32 = 2;
const SLOTS: u32 = 3;

/// Doubles each number, and fails items that are no numbers. Notes `PID BATCH ATTEMPT` of each batch.
const SERVER: &str = r#"
import json, os, sys, time

def double(item):
    return {"id": item["id"], "double": 2 * int(item["number"])}

def failure(index, item):
    return {"itemIdentifier": index, "errorType": "NoNumber", "errorMessage": item["number"]}

print("ready", file=sys.stderr)
for line in sys.stdin:
    event = json.loads(line)
    batch, items = event["batch"], event["items"]
    with open("log", "a") as log:
        log.write(f"{os.getpid()} {batch['batchNumber']} {batch['attempt']}\n")
    if batch["attempt"] == 1 and batch["batchNumber"] == KILLED_BATCH:
        with open("kill-me.new", "w") as mark:
            mark.write(str(os.getpid()))
        os.rename("kill-me.new", "kill-me")
        time.sleep(3600)
    if batch["attempt"] == 1 and batch["batchNumber"] == HUNG_BATCH:
        time.sleep(3600)
    good = [item["number"].isdigit() for item in items]
    print(json.dumps({
        "results": [double(item) if ok else None for item, ok in zip(items, good)],
        "batchItemFailures": [failure(index, item) for index, item, ok in zip(batch["indexes"], items, good) if not ok],
    }), flush=True)
"#;

/// An event in AWS's format, or a bare item, on each line.
const STATES_SERVER: &str = r#"
import json, os, sys
for line in sys.stdin:
    event = json.loads(line)
    if event.get("id") == "3":
        sys.exit("item 3 is too much")
    print(json.dumps({"pid": os.getpid(), "event": event}), flush=True)
"#;

fn start(server: &str, more: &str) -> (Dev, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let server = server
        .replace("KILLED_BATCH", &KILLED_BATCH.to_string())
        .replace("HUNG_BATCH", &HUNG_BATCH.to_string());
    std::fs::write(directory.path().join("server.py"), server).unwrap();
    let config = format!(
        "[handlers.server]\ntype = \"exec\"\ncommand = [\"python3\", \"server.py\"]\nper = \"process\"\n\
         workdir = \"{}\"\n{more}",
        text(directory.path()),
    );
    let settings =
        DevSettings { workers: WORKERS, slots: SLOTS, worker_config: &config, ..DevSettings::default() };
    (Dev::start(&settings), directory)
}

/// Processes and attempts of each batch, in order.
fn calls(directory: &Path) -> Vec<(i32, u64, u64)> {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    let calls = log.lines().map(|line| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        (i32::try_from(numbers[0]).unwrap(), numbers[1], numbers[2])
    });
    calls.collect()
}

#[test]
fn a_kept_program_is_killed_and_hangs_and_every_item_ends_as_it_should() {
    let (dev, directory) = start(SERVER, "");
    let number = |row: u64| if row % 97 == 5 { format!("x{row}") } else { row.to_string() };
    let rows: String = (0..ROWS).map(|row| format!("U{row},{}\n", number(row))).collect();
    dev.s3().put("input", "in.csv", format!("id,number\n{rows}"));
    dev.submit(
        "doubles",
        &format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
             itemBatcher: {{maxItemsPerBatch: {BATCH_SIZE}}}\n\
             itemProcessor:\n  handler: server\n  timeoutSeconds: 8\n  \
             retry: [{{errorEquals: [States.ALL], intervalSeconds: 1, maxAttempts: 3}}]\n\
             toleratedFailureCount: {ROWS}\n\
             resultWriter: {{bucket: output, prefix: r/}}\n"
        ),
    );
    let victim = eventually("a process wants to be killed", Duration::from_secs(60), || {
        std::fs::read_to_string(directory.path().join("kill-me")).ok()
    });
    kill(Pid::from_raw(victim.parse().unwrap()), Signal::SIGKILL).unwrap();
    let run = dev.wait("doubles", 0);

    let bad: Vec<u64> = (0..ROWS).filter(|row| row % 97 == 5).collect();
    assert_eq!(run["itemCounts"]["succeeded"], ROWS - bad.len() as u64, "{run}");
    assert_eq!(run["itemCounts"]["failed"], bad.len() as u64, "{run}");
    let results = read_results(&dev.download("doubles"));
    assert_eq!(results.failed.keys().copied().collect::<Vec<u64>>(), bad);
    for (row, line) in &results.failed {
        let told = (&line["error"], &line["cause"], &line["kind"]);
        assert_eq!(told, (&json!("NoNumber"), &json!(format!("x{row}")), &json!("BUSINESS")));
    }
    for (row, line) in &results.succeeded {
        assert_eq!(line["output"], json!({"id": format!("U{row}"), "double": 2 * row}));
    }

    let calls = calls(directory.path());
    let mut attempts: BTreeMap<u64, u64> = BTreeMap::new();
    calls.iter().for_each(|(_, batch, attempt)| {
        let most = attempts.entry(*batch).or_default();
        *most = (*most).max(*attempt);
    });
    assert_eq!(attempts.len() as u64, ROWS / BATCH_SIZE);
    assert!(attempts[&KILLED_BATCH] >= 2 && attempts[&HUNG_BATCH] >= 2, "{attempts:?}");
    let processes: BTreeSet<i32> = calls.iter().map(|(process, ..)| *process).collect();
    eprintln!("{} calls in {} processes", calls.len(), processes.len());
    // One per slot, and one for each that was lost; some more if this machine is so slow that calls time out.
    assert!(processes.len() < calls.len() / 4, "processes are not kept: {processes:?}");
    dev.stop();
    for process in processes {
        assert_eq!(kill(Pid::from_raw(process), None), Err(Errno::ESRCH), "{process} outlived the worker");
    }
}

#[test]
fn awss_events_are_lines_too_and_without_batches_each_item_is_one() {
    let (dev, _directory) = start(STATES_SERVER, "event_format = \"states\"\n");
    dev.s3().put("input", "in.csv", "id\n1\n2\n3\n4\n");
    let job = |batcher: &str| {
        format!(
            "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n{batcher}\
             itemProcessor: {{handler: server}}\n\
             toleratedFailureCount: 4\n\
             resultWriter: {{bucket: output, prefix: r/}}\n"
        )
    };
    dev.submit_and_wait("bare", &job(""), 0);
    let results = read_results(&dev.download("bare"));
    assert_eq!(results.failed_as("FAILED"), [2]);
    assert_eq!(results.failed[&2]["error"], "Exec.Exit.1");
    assert!(results.failed[&2]["cause"].as_str().unwrap().contains("item 3 is too much"));
    for index in [0, 1, 3] {
        assert_eq!(results.succeeded[&index]["output"]["event"], json!({"id": (index + 1).to_string()}));
    }
    let batcher = "itemBatcher: {maxItemsPerBatch: 4, batchInput: {k: v}}\n";
    dev.submit_and_wait("batched", &job(batcher), 0);
    let results = read_results(&dev.download("batched"));
    let items = json!([{"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4"}]);
    let event = &results.succeeded[&0]["output"]["event"];
    assert_eq!(event, &json!({"BatchInput": {"k": "v"}, "Items": items}));
    dev.stop();
}
