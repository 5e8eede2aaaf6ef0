//! Bad input: every kind of it ends with an error that says what, where and what to do.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::harness::{Dev, DevSettings, Finished, eventually, read_results, run, scratch, text};

const MIB: usize = 1 << 20;

/// Whether a quote is open at the end of CSV text, by the rules of RFC 4180 as the `csv` crate reads it.
pub(crate) fn open_quote(content: &[u8]) -> bool {
    // A record that is read to its end and one more differ if the first one was not complete: so text that ends inside
    // quotes is told by what a line end and a record after it become.
    let records = |content: &[u8]| {
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(content);
        let last = reader.byte_records().last();
        last.map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    records(&[content, b"\nprobe\n"].concat()) != Some(vec![b"probe".to_vec()])
}

/// Runs `echo` over a file with this content.
fn run_content(content: &[u8], flags: &[&str]) -> (Finished, tempfile::TempDir) {
    let directory = scratch();
    let csv = directory.path().join("in.csv");
    std::fs::write(&csv, content).unwrap();
    (run_file(&csv, directory.path(), flags), directory)
}

fn run_file(csv: &Path, directory: &Path, flags: &[&str]) -> Finished {
    let output = directory.join("out");
    let arguments = ["run", text(csv), "--handler", "echo", "--output", text(&output), "-o", "json"];
    run(arguments.into_iter().chain(flags.iter().copied()))
}

/// The run's error must be `error`, and its cause hold all of `parts`.
#[track_caller]
fn expect_failed(finished: Finished, error: &str, parts: &[&str]) {
    let finished = finished.expect(1);
    let run = finished.json();
    assert_eq!(run["state"], "FAILED");
    assert_eq!(run["error"]["error"], error, "{}", run["error"]);
    let cause = run["error"]["cause"].as_str().unwrap_or_default();
    for part in parts {
        assert!(cause.contains(part), "no `{part}` in the cause: {cause}");
    }
    finished.says(&[error]);
}

/// Refused at once or failed at the start: which one, the size decides; the words must be there either way.
#[track_caller]
fn expect_refused_or_failed(finished: Finished, parts: &[&str]) {
    assert!([1, 2].contains(&finished.status), "{finished:?}");
    finished.says(parts);
}

#[test]
fn a_file_that_does_not_exist_is_refused_by_name() {
    run(["run", "/no/such/users.csv", "--handler", "echo"])
        .expect(2)
        .says(&["cannot read /no/such/users.csv", "hint: INPUT is a CSV file"]);
    run(["run", "/", "--handler", "echo"]).expect(2).says(&["it is no file"]);
}

#[test]
fn a_bucket_and_a_key_that_do_not_exist_are_refused_by_name() {
    let dev = Dev::start(&DevSettings::default());
    for (place, bucket, key, missing) in [
        ("no-key", "input", "nobody.csv", "s3://input/nobody.csv"),
        ("no-bucket", "nowhere", "a.csv", "s3://nowhere"),
    ] {
        let job = format!(
            "itemReader: {{bucket: {bucket}, key: {key}, readerConfig: {{inputType: CSV}}}}\n\
             itemProcessor: {{handler: echo}}\n"
        );
        let file = dev.write("job.yaml", job);
        let finished = dev.run(["submit", "-f", text(&file), "--id", place]).expect(2);
        finished.says(&[missing, "does not exist"]);
        dev.run(["get", place]).expect(2);
        let url = format!("s3://{bucket}/{key}");
        let finished = dev.run(["run", &url, "--handler", "echo"]).expect(2);
        finished.says(&[missing]);
    }
    dev.stop();
}

#[test]
fn an_empty_file_and_a_header_alone_succeed_with_no_items() {
    for content in ["", "\n\n", "\u{feff}", "id,name\n", "id,name", "\u{feff}id,name\r\n"] {
        let (finished, directory) = run_content(content.as_bytes(), &[]);
        let run = finished.expect(0).json();
        assert_eq!(run["state"], "SUCCEEDED", "{content:?}");
        assert_eq!(run["itemCounts"]["total"], 0, "{content:?}");
        let results = read_results(&directory.path().join("out"));
        results.expect_echoed(&[]);
    }
}

#[test]
fn a_quote_that_is_left_open_ends_the_run_with_the_place_where_it_opened() {
    let content = b"id,note\n1,fine\n2,\"left open\n3,swallowed\n";
    assert!(open_quote(content));
    let opened_at = content.iter().position(|byte| *byte == b'"').unwrap().to_string();
    for shard_size in ["4", "8388608"] {
        let (finished, _directory) = run_content(content, &["--shard-size", shard_size]);
        expect_failed(finished, "States.ItemReaderFailed", &["quote", &opened_at]);
    }
    let (finished, directory) = run_content(content, &["--lenient-quotes"]);
    finished.expect(0);
    let results = read_results(&directory.path().join("out"));
    assert_eq!(results.succeeded[&1]["output"]["note"], "left open\n3,swallowed\n");
}

#[test]
fn a_record_of_100_megabytes_ends_the_run_with_its_place() {
    let mut content = b"id,note\n1,fine\n2,".to_vec();
    content.resize(content.len() + 100 * MIB, b'x');
    content.extend_from_slice(b"\n3,fine\n");
    for shard_size in ["8388608", "1048576"] {
        let (finished, _directory) = run_content(&content, &["--shard-size", shard_size]);
        // The record begins at byte 15.
        expect_failed(finished, "Warifu.RecordTooLarge", &["15"]);
    }
}

#[test]
fn ten_gigabytes_without_a_line_end_end_the_run_at_once() {
    let directory = scratch();
    let csv = directory.path().join("sparse.csv");
    let mut file = File::create(&csv).unwrap();
    file.write_all(b"id\n1\n").unwrap();
    file.seek(SeekFrom::Start(10 << 30)).unwrap();
    file.write_all(b"x").unwrap();
    let finished = run_file(&csv, directory.path(), &[]);
    eprintln!("a sparse file of 10 GiB was refused after {:?}", finished.took);
    expect_failed(finished, "Warifu.RecordTooLarge", &[]);
    // The same as the header.
    let mut file = File::create(&csv).unwrap();
    file.seek(SeekFrom::Start(10 << 30)).unwrap();
    file.write_all(b"x").unwrap();
    let finished = run_file(&csv, directory.path(), &[]);
    eprintln!("a header of 10 GiB was refused after {:?}", finished.took);
    expect_refused_or_failed(finished, &["header"]);
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_ends_the_run() {
    let directory = scratch();
    let csv = directory.path().join("in.csv");
    let rows: String = (0..5_000).map(|row| format!("{row},one\n")).collect();
    std::fs::write(&csv, format!("id,version\n{rows}")).unwrap();
    let other = directory.path().join("other.csv");
    std::fs::write(&other, format!("id,version\n{}", rows.replace("one", "two"))).unwrap();
    // The first batch replaces the file: the same length, another content.
    let handler = format!("if [ -e '{0}' ]; then mv '{0}' '{1}'; fi; cat", text(&other), text(&csv));
    let output = directory.path().join("out");
    let arguments = [
        ["run", text(&csv)],
        ["--exec", &handler],
        ["--output", text(&output)],
        ["--shard-size", "2048"],
        ["--batch-size", "10"],
        ["--max-concurrency", "1"],
        ["-o", "json"],
    ];
    expect_failed(run(arguments.into_iter().flatten()), "Warifu.SourceChanged", &[text(&csv)]);
    for line in read_results(&output).succeeded.values() {
        assert_eq!(line["output"]["version"], "one", "nothing of the other file was handled");
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_ends_the_run() {
    let release = tempfile::tempdir().unwrap();
    let released = release.path().join("released");
    let worker_config = format!(
        "[handlers.wait]\ntype = \"exec\"\n\
         command = [\"sh\", \"-c\", \"while [ ! -e '{}' ]; do sleep 0.02; done; cat\"]\n",
        text(&released)
    );
    let dev = Dev::start(&DevSettings {
        shard_size: 1 << 20,
        worker_config: &worker_config,
        ..DevSettings::default()
    });
    // More than workers keep: most of it has to be read again after it was scanned, or has not been read.
    let note = "one".repeat(300);
    let rows: String = (0..100_000).map(|row| format!("{row},{note}\n")).collect();
    let s3 = dev.s3();
    s3.put("input", "in.csv", format!("id,note\n{rows}"));
    let job = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
               itemBatcher: {maxItemsPerBatch: 1000}\n\
               itemProcessor: {handler: wait}\nmaxConcurrency: 2\nresultWriter: {bucket: output, prefix: r/}\n";
    dev.submit("r", job);
    crate::harness::eventually("batches run", std::time::Duration::from_secs(60), || {
        (dev.json(["get", "r"], 0)["batchCounts"]["running"].as_u64() > Some(0)).then_some(())
    });
    s3.put("input", "in.csv", format!("id,note\n{}", rows.replace("one", "two")));
    std::fs::write(&released, "").unwrap();
    let run = dev.wait("r", 1);
    assert_eq!(run["error"]["error"], "Warifu.SourceChanged", "{}", run["error"]);
    assert!(run["error"]["cause"].as_str().unwrap().contains("s3://input/in.csv"), "{}", run["error"]);
    for line in read_results(&dev.download("r")).succeeded.values() {
        assert!(line["output"]["note"].as_str().unwrap().starts_with("one"));
    }
    // A redrive reads what was pinned, which is gone: it is refused, or ends as the run did.
    let redriven = dev.run(["redrive", "r", "--watch"]);
    assert!([1, 2].contains(&redriven.status), "{redriven:?}");
    redriven.says(&["in.csv"]);
    dev.stop();
}

#[test]
fn a_handler_that_nobody_has_is_refused_or_warned_about() {
    let directory = scratch();
    let csv = directory.path().join("in.csv");
    std::fs::write(&csv, "a\n1\n").unwrap();
    run(["run", text(&csv), "--handler", "eco"]).expect(2).says(&["no handler `eco`", "echo, noop"]);
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "in.csv", "a\n1\n");
    let job = "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
               itemProcessor: {handler: eco}\n";
    let file = dev.write("job.yaml", job);
    let refused = dev.run(["submit", "-f", text(&file), "--require-handler"]).expect(2);
    refused.says(&["eco", "warifu workers"]);
    let finished = dev.run(["submit", "-f", text(&file), "--id", "waits"]).expect(0);
    finished.says(&["HANDLER_NOT_AVAILABLE", "eco"]);
    let run = dev.json(["get", "waits"], 0);
    assert_eq!(run["state"], "RUNNING");
    assert_eq!(run["warnings"][0]["reason"], "HANDLER_NOT_AVAILABLE");
    dev.run(["stop", "waits"]).expect(0);
    dev.wait("waits", 1);
    dev.stop();
}

/// Every line is wrong by itself.
const ALL_WRONG: &str = "itemReader: {bucket: '', key: a.csv, prefix: b/, readerConfig: {inputType: PARQUET}}\n\
                         itemBatcher: {maxInputBytesPerBatch: 99999999}\n\
                         itemProcessor: {handler: 'no handler', retry: [{errorEquals: [], backoffRate: 0.5}]}\n\
                         toleratedFailurePercentage: 101\n\
                         resultWriter: {prefix: x}\n\
                         maxItemsPerSecond: -5\n";

#[test]
fn all_wrong_fields_of_a_job_are_named_at_once() {
    let dev = Dev::start(&DevSettings::default());
    let file = dev.write("job.yaml", ALL_WRONG);
    for more in [&["--dry-run"][..], &[]] {
        let arguments = ["submit", "-f", text(&file)].into_iter().chain(more.iter().copied());
        dev.run(arguments).expect(2).says(&[
            "spec.item_reader.bucket",
            "spec.item_reader.reader_config.input_type",
            "spec.item_batcher.max_input_bytes_per_batch",
            "spec.item_processor.handler",
            "spec.item_processor.retry[0].error_equals",
            "spec.item_processor.retry[0].backoff_rate",
            "spec.tolerated_failure_percentage",
            "spec.result_writer.bucket",
            "spec.max_items_per_second",
        ]);
    }
    assert_eq!(dev.json(["list"], 0)["mapRuns"].as_array().map(Vec::len), Some(0));
    let misspelt = "ItemReader: {bucket: input, key: a.csv}\nmaxConcurrency: '5'\n";
    let file = dev.write("job.yaml", misspelt);
    let finished = dev.run(["submit", "-f", text(&file)]).expect(2);
    finished.says(&["did you mean `itemReader`?", "max_concurrency", "without quotes"]);
    dev.stop();
}

#[test]
fn headers_that_cannot_be_used_are_refused_with_the_reason() {
    let long_header = format!("id,{}\n1,2\n", "x".repeat(300_000));
    let (finished, _directory) = run_content(long_header.as_bytes(), &[]);
    expect_refused_or_failed(finished, &["header", "262"]);
    let columns: Vec<String> = (0..70_000).map(|_| "c".to_owned()).collect();
    let (finished, _directory) = run_content(format!("{}\n", columns.join(",")).as_bytes(), &[]);
    expect_refused_or_failed(finished, &["65"]);
    let (finished, _directory) = run_content(b"id,name,id\n1,2,3\n", &[]);
    expect_refused_or_failed(finished, &["CSV headers cannot contain duplicates"]);
    let (finished, _directory) = run_content(b"id,\xff\xfe\n1,2\n", &[]);
    expect_refused_or_failed(finished, &["header", "UTF-8"]);
}

#[test]
fn a_field_that_is_no_utf_8_fails_its_item_alone_with_the_byte() {
    let content = b"id,note\n1,fine\n2,bad \xff byte\n3,fine\n";
    let (finished, directory) = run_content(content, &["--tolerated-failure-count", "1"]);
    finished.expect(0);
    let results = read_results(&directory.path().join("out"));
    assert_eq!(results.succeeded.keys().copied().collect::<Vec<u64>>(), [0, 2]);
    let cause = results.failed[&1]["cause"].as_str().unwrap();
    let place = content.iter().position(|byte| *byte == 0xff).unwrap().to_string();
    assert!(cause.contains("UTF-8") && cause.contains(&place), "{cause} (byte {place})");
}

/// The results' bucket goes away while batches run: what ran cannot be written down any more, and the run ends.
#[test]
fn results_that_cannot_be_written_end_the_run_and_keep_nothing_waiting() {
    let config = "[handlers.slow]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \"sleep 0.02; cat\"]\n";
    let dev = Dev::start(&DevSettings { worker_config: config, ..DevSettings::default() });
    let rows: String = (0..5_000).map(|row| format!("{row}\n")).collect();
    dev.s3().put("input", "in.csv", format!("id\n{rows}"));
    dev.submit(
        "r",
        "itemReader: {bucket: input, key: in.csv, readerConfig: {inputType: CSV}}\n\
         itemBatcher: {maxItemsPerBatch: 1}\nitemProcessor: {handler: slow}\n\
         resultWriter: {bucket: output, prefix: r/}\n",
    );
    eventually("something is counted", Duration::from_secs(30), || {
        let run = dev.json(["get", "r"], 0);
        (run["itemCounts"]["succeeded"].as_u64() > Some(0)).then_some(())
    });
    // At once: a file may be on its way into it.
    let output = dev.directory().join("data/s3/output");
    std::fs::rename(&output, dev.directory().join("data/output-gone")).unwrap();
    std::fs::write(&output, "no directory can be made here").unwrap();
    let run = dev.wait("r", 1);
    assert_eq!(run["error"]["error"], "States.ResultWriterFailed");
    let (items, batches) = (&run["itemCounts"], &run["batchCounts"]);
    assert_eq!((&items["running"], &batches["running"]), (&0.into(), &0.into()), "{items}");
    assert!(items["pending"].as_u64() > Some(0), "{items}");
    dev.stop();
}
