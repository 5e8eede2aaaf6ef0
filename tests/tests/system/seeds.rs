//! The cases of the design that this engine was asked to replace: its header, its batch size, its tolerance.

use serde_json::json;

use crate::harness::{Dev, DevSettings, read_results};

/// As the design gives it: batches of 25, at most five at once, five percent tolerated.
const JOB: &str = "itemReader: {bucket: input, key: users.csv, readerConfig: {inputType: CSV, csvHeaderLocation: FIRST_ROW}}\n\
                   itemBatcher: {maxItemsPerBatch: 25, maxInputBytesPerBatch: 262144}\n\
                   itemProcessor: {handler: HANDLER}\n\
                   maxConcurrency: 5\n\
                   toleratedFailurePercentage: 5\n\
                   resultWriter: {bucket: output, prefix: results/}\n";

const HEADER: &str = "ユーザーID,ログイン回数,投稿回数\n";

const WORKER: &str = r#"
[handlers.user-stats]
type = "exec"
command = ["sed", 's/.*"ログイン回数":"x".*/{"warifu:error":{"errorType":"InvalidCount","errorMessage":"x is no number"}}/']
"#;

fn job(handler: &str) -> String {
    JOB.replace("HANDLER", handler)
}

/// `bad` of 100 users have a count that is no number.
fn hundred_users(bad: u64) -> String {
    let count = |user: u64| {
        if user.is_multiple_of(13) && user / 13 < bad { "x".to_owned() } else { user.to_string() }
    };
    let rows: String = (0..100).map(|user| format!("user{user:03},{},{}\n", count(user), user * 2)).collect();
    format!("{HEADER}{rows}")
}

#[test]
fn three_rows_become_three_items_with_the_japanese_headers_as_keys() {
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "users.csv", format!("{HEADER}user001,10,5\nuser002,20,15\nuser003,30,25\n"));
    let run = dev.submit_and_wait("three", &job("echo"), 0);
    assert_eq!((&run["itemCounts"]["total"], &run["batchCounts"]["total"]), (&3.into(), &1.into()));
    let items = [("user001", "10", "5"), ("user002", "20", "15"), ("user003", "30", "25")]
        .map(|(id, logins, posts)| json!({"ユーザーID": id, "ログイン回数": logins, "投稿回数": posts}));
    read_results(&dev.download("three")).expect_echoed(&items);
    dev.stop();
}

#[test]
fn a_hundred_items_make_four_batches_of_25() {
    let dev = Dev::start(&DevSettings::default());
    dev.s3().put("input", "users.csv", hundred_users(0));
    let run = dev.submit_and_wait("hundred", &job("echo"), 0);
    assert_eq!(run["itemCounts"]["succeeded"], 100);
    assert_eq!(run["batchCounts"]["succeeded"], 4);
    let results = read_results(&dev.download("hundred"));
    for (index, line) in &results.succeeded {
        assert_eq!(line["batch"], index / 25);
    }
    dev.stop();
}

#[test]
fn four_of_a_hundred_failed_are_within_five_percent_and_six_are_not() {
    let dev = Dev::start(&DevSettings { worker_config: WORKER, ..DevSettings::default() });
    dev.s3().put("input", "users.csv", hundred_users(4));
    let run = dev.submit_and_wait("four", &job("user-stats"), 0);
    assert_eq!((&run["state"], &run["itemCounts"]["failed"]), (&"SUCCEEDED".into(), &4.into()));
    assert_eq!(run["itemCounts"]["succeeded"], 96);
    dev.s3().put("input", "users.csv", hundred_users(6));
    let run = dev.submit_and_wait("six", &job("user-stats"), 1);
    assert_eq!(run["state"], "FAILED");
    assert_eq!(run["error"]["error"], "States.ExceedToleratedFailureThreshold");
    assert_eq!(run["errorGroups"][0]["error"], "InvalidCount");
    dev.stop();
}
