//! Redrive: exactly what did not succeed runs again, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Dev, DevSettings, eventually, read_results, text};

/// Notes `ROUND INDEX` of each item that it gets. Until `fixed` exists: fails items that say so one by one, fails the whole
/// of batch 3, and hangs in batch 5.
const WORKER: &str = r#"
[handlers.story]
type = "exec"
command = ["sh", "-c", '''
sed "s/^/$WARIFU_ROUND /" "$WARIFU_INDEXES_FILE" >>"$LOG"
if [ -e "$FIXED" ]; then cat; exit 0; fi
if [ "$WARIFU_BATCH_NUMBER" = 5 ]; then sleep 3600; fi
if [ "$WARIFU_BATCH_NUMBER" = 3 ]; then exit 3; fi
sed 's/.*"fail":"1".*/{"warifu:error":{"errorType":"Told"}}/'
''']
"#;

fn job(tolerated: u64) -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: 5}}\n\
         itemProcessor: {{handler: story}}\n\
         maxConcurrency: 1\n\
         toleratedFailureCount: {tolerated}\n\
         resultWriter: {{bucket: output, prefix: r/}}\n"
    )
}

/// Indexes that the handler saw, in order.
fn seen(log: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn a_redrive_runs_exactly_what_did_not_succeed() {
    let marks = tempfile::tempdir().unwrap();
    let (log, fixed) = (marks.path().join("log"), marks.path().join("fixed"));
    // `${…}` in the file would be the worker's own variables; the shell's are written without braces.
    let config = WORKER.replace("$LOG", text(&log)).replace("$FIXED", text(&fixed));
    let dev = Dev::start(&DevSettings { worker_config: &config, ..DevSettings::default() });
    // 50 items in batches of 5; item 7 fails by itself.
    let rows: String = (0..50).map(|item| format!("{item},{}\n", u8::from(item == 7))).collect();
    dev.s3().put("input", "in.csv", format!("id,fail\n{rows}"));
    dev.submit("r", &job(100));
    eventually("batch 5 hangs", Duration::from_secs(30), || (seen(&log).len() >= 30).then_some(()));
    dev.run(["stop", "r"]).expect(0);
    let stopped = dev.wait("r", 1);
    assert_eq!(stopped["state"], "ABORTED");
    let results = read_results(&dev.download("r"));
    let succeeded: BTreeSet<u64> = results.succeeded.keys().copied().collect();
    assert_eq!(results.failed_as("FAILED"), [7, 15, 16, 17, 18, 19]);
    assert_eq!(results.failed_as("ABORTED"), (25..30).collect::<Vec<u64>>());
    assert_eq!(results.pending_indexes(), (30..50).collect::<Vec<u64>>());
    assert_eq!(succeeded.len(), 50 - 6 - 5 - 20);

    let preview = dev.json(["redrive", "r", "--dry-run"], 0);
    let again = |state: &str| preview["itemCounts"][state].as_u64().unwrap();
    assert_eq!(again("pendingRedrive") + again("pending"), 31);
    let told = dev.run(["redrive", "r", "--dry-run"]).expect(0).stdout;
    assert!(told.starts_with("31 items"), "{told}");
    assert_eq!(dev.json(["get", "r"], 0)["state"], "ABORTED", "a dry run changes nothing");

    std::fs::write(&fixed, "").unwrap();
    let before = seen(&log).len();
    dev.run(["redrive", "r", "--watch"]).expect(0);
    let mut again = seen(&log)[before..].to_vec();
    again.sort_unstable();
    let expected: Vec<u64> = (0..50).filter(|index| !succeeded.contains(index)).collect();
    assert_eq!(again, expected);
    let run = dev.json(["get", "r"], 0);
    assert_eq!((&run["state"], &run["redriveCount"]), (&"SUCCEEDED".into(), &1.into()));
    assert_eq!(run["itemCounts"]["succeeded"], 50);
    let results = read_results(&dev.download("r"));
    assert_eq!(results.succeeded.len(), 50, "the newest manifest lists the successes of all");
    assert!(results.failed.is_empty() && results.pending.is_empty());
    let kept = dev.s3().list("output", "r/r/Redrive-");
    assert_eq!(kept, ["r/r/Redrive-1/manifest.json"]);
    dev.run(["redrive", "r"]).expect(2).says(&["nothing to redrive"]);
    dev.stop();
}

#[test]
fn a_run_that_failed_by_its_limit_is_redriven_under_another_limit() {
    let marks = tempfile::tempdir().unwrap();
    let (log, fixed) = (marks.path().join("log"), marks.path().join("fixed"));
    let config = WORKER.replace("$LOG", text(&log)).replace("$FIXED", text(&fixed));
    let dev = Dev::start(&DevSettings { worker_config: &config, ..DevSettings::default() });
    // Items 2, 8 and 13 fail, however often they run.
    let fails = |item: u64| u8::from([2, 8, 13].contains(&item));
    let rows: String = (0..15).map(|item| format!("{item},{}\n", fails(item))).collect();
    dev.s3().put("input", "in.csv", format!("id,fail\n{rows}"));
    let run = dev.submit_and_wait("r", &job(1), 1);
    assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
    // How far the worker got before it was told is a race; what it says of it is not.
    let results = read_results(&dev.download("r"));
    let succeeded: BTreeSet<u64> = results.succeeded.keys().copied().collect();
    assert!(results.failed.len() >= 2);
    let before = seen(&log).len();
    dev.run(["redrive", "r", "--tolerated-failure-count", "3", "--watch"]).expect(0);
    let mut again = seen(&log)[before..].to_vec();
    again.sort_unstable();
    let expected: Vec<u64> = (0..15).filter(|index| !succeeded.contains(index)).collect();
    assert_eq!(again, expected);
    let run = dev.json(["get", "r"], 0);
    assert_eq!(run["itemCounts"]["failed"], 3);
    assert_eq!(run["itemCounts"]["succeeded"], 12);
    dev.stop();
}
