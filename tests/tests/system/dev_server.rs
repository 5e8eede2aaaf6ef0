//! `warifu dev` and every command of the client against it, with their exit statuses.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Dev, DevSettings, Process, eventually, read_results, run, skipped, text, warifu};

const NOOP_JOB: &str = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
                        itemProcessor: {handler: noop}\n";

/// Runs until it is released or cancelled.
const WAITING_WORKER: &str = r#"
[handlers.wait]
type = "exec"
command = ["sh", "-c", "while [ ! -e released ]; do sleep 0.02; done"]
"#;

fn job(handler: &str, more: &str) -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemBatcher: {{maxItemsPerBatch: 10}}\n\
         itemProcessor: {{handler: {handler}}}\n{more}"
    )
}

fn put_rows(dev: &Dev, rows: u64) {
    let rows: String = (0..rows).map(|row| format!("{row},note\n")).collect();
    dev.s3().put("input", "in.csv", format!("id,note\n{rows}"));
}

#[test]
fn a_hundred_no_op_items_are_submitted_and_done() {
    let dev = Dev::start(&DevSettings::default());
    put_rows(&dev, 100);
    let file = dev.write("job.yaml", NOOP_JOB);
    for id in ["first", "second", "third"] {
        let submitted = Instant::now();
        dev.run(["submit", "-f", text(&file), "--id", id, "-q", "--watch"]).expect(0);
        let took = submitted.elapsed();
        let run = dev.json(["get", id], 0);
        assert_eq!((&run["state"], &run["itemCounts"]["succeeded"]), (&"SUCCEEDED".into(), &100.into()));
        let (start, stop) = (&run["createTime"], &run["stopTime"]);
        eprintln!("{id}: 100 no-op items, {took:?} with the command; created {start}, stopped {stop}");
    }
    dev.stop();
}

#[test]
fn runs_are_listed_shown_watched_and_waited_for() {
    let dev = Dev::start(&DevSettings::default());
    put_rows(&dev, 100);
    let labelled = job("echo", "labels: {team: data}\nresultWriter: {bucket: output, prefix: r/}\n");
    let file = dev.write("job.yaml", &labelled);
    let created = dev.run(["submit", "-f", text(&file), "--id", "a"]).expect(0);
    assert!(created.stdout.contains("mapRuns/a"), "{}", created.stdout);
    let watched = dev.run(["watch", "a"]).expect(0);
    assert!(watched.stderr.contains("SUCCEEDED") && watched.stdout.is_empty(), "{watched:?}");
    dev.run(["wait", "mapRuns/a"]).expect(0).says(&["SUCCEEDED", "100 items"]);
    // The same ID: the same job is the same run, another job is refused.
    dev.run(["submit", "-f", text(&file), "--id", "a"]).expect(0);
    let changed = ["submit", "-f", text(&file), "--id", "a", "--set", "maxConcurrency=3"];
    dev.run(changed).expect(2).says(&["choose another --id"]);
    dev.submit_and_wait("b", NOOP_JOB, 0);
    let names = |arguments: &[&str]| {
        let listed = dev.json(arguments.iter().copied(), 0);
        let runs = listed["mapRuns"].as_array().unwrap().clone();
        runs.iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["list"]), ["mapRuns/b", "mapRuns/a"], "newest first");
    assert_eq!(names(&["list", "--label", "team=data"]), ["mapRuns/a"]);
    assert_eq!(names(&["list", "--state", "failed"]), [""; 0]);
    assert_eq!(dev.run(["list", "-q", "--limit", "1"]).expect(0).stdout, "b\n");
    let shown = dev.run(["get", "a"]).expect(0).stdout;
    for fact in ["SUCCEEDED", "echo", "s3://input/in.csv", "100 items", "s3://output/r/a/manifest.json"] {
        assert!(shown.contains(fact), "no `{fact}` in\n{shown}");
    }
    // What `get --spec` writes, `submit` takes.
    let spec = dev.run(["get", "a", "--spec"]).expect(0).stdout;
    dev.submit_and_wait("c", &spec, 0);
    let (a, c) = (dev.json(["get", "a"], 0), dev.json(["get", "c"], 0));
    assert_eq!(a["spec"], c["spec"]);
    assert!(dev.run(["get", "a", "-o", "yaml"]).expect(0).stdout.contains("state: SUCCEEDED"));
    dev.stop();
}

#[test]
fn a_dry_run_shows_the_first_events_and_creates_nothing() {
    let dev = Dev::start(&DevSettings::default());
    put_rows(&dev, 100);
    let file = dev.write("job.yaml", job("echo", ""));
    let checked = dev.json(["submit", "-f", text(&file), "--id", "a", "--dry-run"], 0);
    let events = checked["previewEvents"].as_array().unwrap();
    assert_eq!(events.len(), 3);
    let first: Value = serde_json::from_str(events[0].as_str().unwrap()).unwrap();
    let items = first.get("items").or(first.get("Items")).expect("an event holds items");
    assert_eq!(items.as_array().map(Vec::len), Some(10));
    assert_eq!(items[0], serde_json::json!({"id": "0", "note": "note"}));
    dev.run(["get", "a"]).expect(2);
    dev.stop();
}

#[test]
fn a_run_in_progress_is_updated_stopped_redriven_and_deleted() {
    let dev = Dev::start(&DevSettings { worker_config: WAITING_WORKER, ..DevSettings::default() });
    put_rows(&dev, 100);
    dev.submit("a", &job("wait", "maxConcurrency: 2\nresultWriter: {bucket: output, prefix: r/}\n"));
    let running = || dev.json(["get", "a"], 0)["batchCounts"]["running"].as_u64().unwrap();
    let eventually_running =
        |count| eventually("batches run", Duration::from_secs(30), || (running() == count).then_some(()));
    eventually_running(2);
    dev.run(["wait", "a", "--timeout", "200ms"]).expect(4);
    let waiting = dev.command(["watch", "a"]);
    let watching = Process::start(waiting);
    eventually("it watches", Duration::from_secs(30), || watching.stderr().contains("RUNNING").then_some(()));
    watching.signal(Signal::SIGINT);
    watching.finish().expect(130);
    let updated = dev.json(["update", "a", "--max-concurrency", "4"], 0);
    assert_eq!(updated["spec"]["maxConcurrency"], 4);
    eventually_running(4);
    dev.run(["update", "a"]).expect(2).says(&["nothing to change"]);
    dev.run(["redrive", "a"]).expect(2).says(&["RUNNING"]);
    dev.run(["delete", "a"]).expect(2).says(&["RUNNING"]);
    dev.run(["results", "a"]).expect(2).says(&["no manifest yet"]);
    // A cause is told, or refused: never dropped.
    let with_cause = dev.run(["stop", "a", "--cause", "seen enough"]);
    let is_refused = with_cause.status == 2;
    if is_refused {
        with_cause.says(&["cause"]);
        dev.run(["stop", "a"]).expect(0);
    }
    let stopped = dev.wait("a", 1);
    assert_eq!(stopped["state"], "ABORTED");
    let cause = stopped["error"]["cause"].as_str().unwrap_or_default();
    assert!(is_refused || cause.contains("seen enough"), "{cause}");
    // A slot that was free before its worker was told may have begun one more.
    let counted = |state: &str| stopped["itemCounts"][state].as_u64().unwrap();
    assert!(counted("aborted") >= 40, "{stopped}");
    assert_eq!(counted("aborted") + counted("pending"), 100);
    dev.run(["stop", "a"]).expect(2).says(&["ABORTED"]);
    dev.run(["update", "a", "--max-concurrency", "1"]).expect(2);
    dev.write("released", "");
    dev.run(["redrive", "a", "--watch"]).expect(0);
    dev.run(["redrive", "a"]).expect(2);
    dev.run(["delete", "a"]).expect(0);
    dev.run(["get", "a"]).expect(2).says(&["no map run a", "warifu list"]);
    let file = dev.write("job.yaml", NOOP_JOB);
    dev.run(["submit", "-f", text(&file), "--id", "a"]).expect(2);
    assert!(!dev.s3().list("output", "r/a/").is_empty(), "results stay");
    for command in ["stop", "redrive", "delete", "watch", "wait", "failures", "results"] {
        dev.run([command, "nobody"]).expect(2).says(&["nobody"]);
    }
    dev.stop();
}

#[test]
fn rejected_records_come_back_byte_for_byte() {
    // sed takes one of two backslashes, JSON the other.
    let worker_config = r#"
[handlers.odd]
type = "exec"
command = ["sed", 's/.*"bad.*/{"warifu:error":{"errorType":"Odd","errorMessage":"say \\"why\\""}}/']
"#;
    let dev = Dev::start(&DevSettings { worker_config, shard_size: 30, ..DevSettings::default() });
    let header = "\u{feff}id,\"n\"\"ame\",備考\r\n";
    let records = [
        "1,fine,a\r\n",
        "2,bad,\"two\nlines, \"\"quoted\"\"\"\r\n",
        "\r\n",
        "3,fine,x\n",
        "\"4\",bad\n",
        "5,\"bad\",more,than,enough\r\n",
        "6,fine,\n",
        "7,bad,no line end",
    ];
    dev.s3().put("input", "in.csv", format!("{header}{}", records.concat()));
    let run = dev.submit_and_wait("a", &job("odd", "toleratedFailureCount: 4\n"), 0);
    assert_eq!(run["itemCounts"]["failed"], 4);
    let rejected = dev.run(["failures", "a", "-o", "csv"]).expect(0).stdout;
    // The header first, the records in no promised order; the last one gets a line end. A mark belongs to the file.
    let header = header.trim_start_matches('\u{feff}');
    let last = format!("{}\n", records[7]);
    let expected = [records[1], records[4], records[5], &last];
    let returned =
        rejected.trim_start_matches('\u{feff}').strip_prefix(header).expect("the header comes first");
    assert_eq!(returned.len(), expected.concat().len(), "{returned}");
    assert!(expected.iter().all(|record| returned.contains(record)), "{returned}");
    let with_errors = dev.run(["failures", "a", "-o", "csv", "--with-errors"]).expect(0).stdout;
    assert!(
        with_errors.contains("2,bad,\"two\nlines, \"\"quoted\"\"\",\"Odd\",\"say \"\"why\"\"\"\r\n"),
        "{with_errors}"
    );
    let listed = dev.json(["failures", "a"], 0);
    let lines: Vec<u64> = listed["itemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["source"]["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 7, 8, 10]);
    let table = dev.run(["failures", "a", "--error", "Odd", "--limit", "2"]).expect(0).stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    // What came back can be submitted again.
    dev.s3().put("input", "in.csv", rejected);
    let again = dev.submit_and_wait("again", &job("noop", ""), 0);
    assert_eq!(again["itemCounts"]["total"], 4);
    dev.stop();
}

#[test]
fn results_are_listed_downloaded_and_sorted() {
    let dev = Dev::start(&DevSettings { shard_size: 100, ..DevSettings::default() });
    put_rows(&dev, 200);
    dev.submit_and_wait("a", &job("echo", "resultWriter: {bucket: output, prefix: r/}\n"), 0);
    let listed = dev.run(["results", "a"]).expect(0).stdout;
    assert!(listed.contains("SUCCEEDED") && listed.contains("s3://output/r/a/manifest.json"), "{listed}");
    let directory = dev.directory().join("downloaded");
    dev.run(["results", "a", "--download", text(&directory), "--sorted"]).expect(0);
    assert_eq!(read_results(&directory).succeeded.len(), 200);
    let sorted = std::fs::read_to_string(directory.join("sorted.jsonl")).unwrap();
    let indexes: Vec<u64> = sorted
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, (0..200).collect::<Vec<u64>>());
    // Without a result writer the run carries its first outputs.
    let run = dev.submit_and_wait("b", &job("echo", ""), 0);
    assert_eq!(run["outputs"].as_array().map(Vec::len), Some(200));
    dev.run(["results", "b"]).expect(2).says(&["no result writer"]);
    dev.stop();
}

#[test]
fn workers_are_listed_drained_and_uncordoned() {
    let dev = Dev::start(&DevSettings { worker_config: WAITING_WORKER, ..DevSettings::default() });
    put_rows(&dev, 100);
    let state = |worker: &str| -> Option<Value> {
        let workers = dev.json(["workers"], 0);
        let name = Value::from(format!("workers/{worker}"));
        workers["workers"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
    };
    let shown = state("worker-1").unwrap();
    assert_eq!((&shown["state"], &shown["slots"]), (&"ACTIVE".into(), &8.into()));
    let handlers: Vec<&str> =
        shown["handlers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(handlers, ["echo", "noop", "wait"]);
    dev.submit("a", &job("wait", ""));
    let running = |worker: &str| state(worker).map(|one| one["runningBatchCount"].as_u64().unwrap_or(0));
    eventually("both workers run batches", Duration::from_secs(30), || {
        (running("worker-1") > Some(0) && running("worker-2") > Some(0)).then_some(())
    });
    dev.run(["drain", "worker-1"]).expect(0);
    eventually("it drains", Duration::from_secs(30), || {
        state("worker-1").is_none_or(|one| one["state"] == "DRAINING").then_some(())
    });
    dev.run(["uncordon", "workers/worker-1"]).expect(0);
    assert_eq!(state("worker-1").unwrap()["state"], "ACTIVE");
    dev.write("released", "");
    dev.wait("a", 0);
    dev.run(["drain", "nobody"]).expect(2).says(&["nobody", "warifu workers"]);
    dev.run(["uncordon", "nobody"]).expect(2);
    let cluster = dev.json(["cluster"], 0);
    assert_eq!(cluster["workerCount"], 2);
    assert_eq!(cluster["store"]["type"], "sqlite");
    dev.stop();
}

#[test]
fn a_drained_worker_gets_nothing_new_and_the_other_does_the_rest() {
    let dev = Dev::start(&DevSettings::default());
    put_rows(&dev, 1_000);
    dev.run(["drain", "worker-1"]).expect(0);
    let job = job("echo", "resultWriter: {bucket: output, prefix: r/}\n");
    let run = dev.submit_and_wait("a", &job, 0);
    assert_eq!(run["itemCounts"]["succeeded"], 1_000);
    dev.run(["drain", "worker-2"]).expect(0);
    dev.submit("b", &job);
    let waited = dev.run(["wait", "b", "--timeout", "500ms"]);
    waited.expect(4);
    dev.stop();
}

#[test]
fn nobody_there_is_exit_status_3_and_wrong_usage_is_2() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    for command in [&["list"][..], &["get", "a"], &["workers"], &["stop", "a"]] {
        let flags = ["--endpoint", &endpoint, "--connect-timeout", "2s"];
        let finished = run(command.iter().copied().chain(flags)).expect(3);
        finished.says(&[&endpoint]);
    }
    for usage in [&["nonsense"][..], &["get"], &["run"], &["list", "--limit", "0"], &["get", "a/b"]] {
        run(usage.iter().copied()).expect(2);
    }
    let help = run(["--help"]).expect(0).stdout;
    for command in ["quickstart", "run", "dev", "submit", "failures", "redrive", "drain"] {
        assert!(help.contains(command), "no {command} in\n{help}");
    }
}

#[test]
fn health_and_metrics_are_served() {
    let dev = Dev::start(&DevSettings::default());
    put_rows(&dev, 50);
    dev.submit_and_wait("a", NOOP_JOB, 0);
    for path in ["/healthz", "/readyz"] {
        assert!(dev.http_get(path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    let metrics = dev.http_get("/metrics");
    assert!(metrics.contains("\nwarifu_"), "{metrics}");
    let bad_names: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("warifu_") && line.contains("_ms")).collect();
    assert!(bad_names.is_empty(), "{bad_names:?}");
    dev.stop();
}

/// The things that people do first, with the client that most of them have.
const BOTO3: &str = "
import boto3, botocore, os
s3 = boto3.client('s3')
assert {'input', 'output'} <= {b['Name'] for b in s3.list_buckets()['Buckets']}
s3.put_object(Bucket='input', Key='a b/ü.csv', Body=b'0123456789')
assert s3.get_object(Bucket='input', Key='a b/ü.csv', Range='bytes=2-4')['Body'].read() == b'234'
assert s3.head_object(Bucket='input', Key='a b/ü.csv')['ContentLength'] == 10
open('big', 'wb').write(os.urandom(20 << 20))
s3.upload_file('big', 'input', 'big')
s3.download_file('input', 'big', 'back')
assert open('big', 'rb').read() == open('back', 'rb').read()
assert [o['Key'] for o in s3.list_objects_v2(Bucket='input', Prefix='a b/')['Contents']] == ['a b/ü.csv']
s3.delete_object(Bucket='input', Key='big')
try:
    s3.get_object(Bucket='input', Key='big'); assert False
except s3.exceptions.NoSuchKey:
    pass
print('fine')
";

#[test]
fn its_s3_serves_ordinary_clients() {
    let dev = Dev::start(&DevSettings::default());
    let s3 = dev.s3();
    s3.put("input", "folder/a.csv", "id\n1\n");
    assert_eq!(s3.get("input", "folder/a.csv"), b"id\n1\n");
    assert_eq!(s3.list("input", "folder/"), ["folder/a.csv"]);
    let mut probe = Command::new("python3");
    probe.args(["-c", "import boto3"]);
    if Process::start(probe).finish().status != 0 {
        skipped("boto3", "it is not installed");
    } else {
        // The variables that `dev` tells people to export.
        let mut python = dev.command([""; 0]);
        let variables: Vec<_> =
            python.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        python = Command::new("python3");
        python.current_dir(dev.directory()).args(["-c", BOTO3]);
        for (name, value) in variables {
            if let Some(value) = value {
                python.env(name, value);
            }
        }
        let finished = Process::start(python).finish().expect(0);
        assert_eq!(finished.stdout, "fine\n");
    }
    dev.stop();
}

#[test]
fn runs_go_on_after_dev_was_ended_and_started_again() {
    let dev = Dev::start(&DevSettings { worker_config: WAITING_WORKER, ..DevSettings::default() });
    put_rows(&dev, 100);
    dev.submit("a", &job("wait", "maxConcurrency: 3\n"));
    eventually("batches run", Duration::from_secs(30), || {
        (dev.json(["get", "a"], 0)["batchCounts"]["running"] == 3).then_some(())
    });
    let (data, config) = (dev.directory().join("data"), dev.directory().join("worker.toml"));
    // A second process is kept out.
    let second = ["dev", "--port-base", "0", "--data-dir", text(&data)];
    Process::start(warifu(second)).finish().expect(2);
    let directory = dev.end_keeping_files();
    let dev = Dev::start_on(&data, &config);
    assert_eq!(dev.json(["get", "a"], 0)["state"], "RUNNING");
    dev.write("released", "");
    let run = dev.wait("a", 0);
    assert_eq!(run["itemCounts"]["succeeded"], 100);
    assert_eq!(run["batchCounts"]["failed"], 0);
    dev.stop();
    drop(directory);
}
