//! Single batches while a run goes on and when it has ended, and failures as they come.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Dev, DevSettings, Process, eventually};

/// Fails batches that hold a bad row; others wait until they are released.
const WORKER: &str = r#"
[handlers.choosy]
type = "exec"
command = ["sh", "-c", 'if grep -q bad; then echo "no such user" >&2; exit 3; fi; while [ ! -e released ]; do sleep 0.02; done']
"#;

const JOB: &str = "
itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}
itemBatcher: {maxItemsPerBatch: 10}
itemProcessor: {handler: choosy}
maxConcurrency: 6
toleratedFailureCount: 30
";

const WITHIN: Duration = Duration::from_secs(30);

/// 200 rows in 20 batches, of which batches 2 and 5 hold a bad row.
fn put_rows(dev: &Dev) {
    let note = |row: u64| if [23, 51].contains(&row) { "bad" } else { "good" };
    let rows: String = (0..200).map(|row| format!("{row},{}\n", note(row))).collect();
    dev.s3().put("input", "in.csv", format!("id,note\n{rows}"));
}

fn batches(dev: &Dev, more: &[&str]) -> Vec<Value> {
    let listed = dev.json(["batches", "a"].into_iter().chain(more.iter().copied()), 0);
    listed["batches"].as_array().unwrap().clone()
}

fn numbers(batches: &[Value]) -> Vec<u64> {
    batches.iter().map(|batch| batch["number"].as_u64().unwrap_or(0)).collect()
}

#[test]
fn batches_are_listed_by_state_and_failures_are_followed_to_the_end() {
    // One worker and one shard: batches begin in order, so those that wait do not keep the bad ones back.
    let dev = Dev::start(&DevSettings { worker_config: WORKER, workers: 1, ..DevSettings::default() });
    put_rows(&dev);
    dev.submit("a", JOB);
    let follower = Process::start(dev.command(["failures", "a", "--follow", "-o", "json"]));
    let running = eventually("two batches failed, six run", WITHIN, || {
        let is_full = batches(&dev, &["--state", "failed"]).len() == 2;
        let running = batches(&dev, &["--state", "running"]);
        (is_full && running.len() == 6).then_some(running)
    });
    for batch in &running {
        let worker = batch["worker"].as_str().unwrap();
        assert!(worker.starts_with("workers/worker-") && batch["leaseTime"].is_string(), "{batch}");
        assert_eq!(batch["attempts"], 1);
    }
    let failed = batches(&dev, &["--state", "failed"]);
    for batch in &failed {
        assert_eq!((&batch["failedItemCount"], &batch["error"]), (&10.into(), &"Exec.Exit.3".into()));
        assert!(batch["worker"].is_string() && batch["failTime"].is_string(), "{batch}");
        assert!(batch["cause"].as_str().unwrap().contains("no such user"), "{batch}");
    }
    let all = batches(&dev, &["--limit", "1000"]);
    let counts = dev.json(["get", "a"], 0)["batchCounts"].clone();
    assert_eq!(all.len() as u64, counts["total"].as_u64().unwrap());
    assert!(numbers(&all).is_sorted(), "{all:?}");

    dev.write("released", "");
    let run = dev.wait("a", 0);
    let followed = follower.finish_within(WITHIN).expect(0);
    let mut indexes: Vec<u64> = followed
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap())
        .collect();
    indexes.sort_unstable();
    assert_eq!(indexes.len() as u64, run["itemCounts"]["failed"].as_u64().unwrap());
    indexes.dedup();
    assert_eq!(indexes.len(), 20, "each once: {}", followed.stdout);

    let ended = batches(&dev, &["--limit", "1000"]);
    assert_eq!(ended.len() as u64, run["batchCounts"]["total"].as_u64().unwrap());
    assert_eq!(batches(&dev, &["--state", "succeeded", "--limit", "1000"]).len(), ended.len() - 2);
    assert_eq!(numbers(&batches(&dev, &["--state", "FAILED", "--limit", "1"])), numbers(&failed[..1]));
    let table = dev.run(["batches", "a", "--state", "failed"]).expect(0).stdout;
    assert!(table.contains("Exec.Exit.3: ") && table.lines().count() == 3, "{table}");
    dev.stop();
}
