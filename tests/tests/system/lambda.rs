//! AWS Lambda functions, unmodified: AWS's own runtime clients run the same function in three languages, and one in Python
//! that goes wrong in every way.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Dev, DevSettings, Process, binary, python_with, read_results, repository, scratch, skipped, text, tool,
    tools_directory, warifu_in,
};

/// Users that are fine, users whose counts make no sense, one without a name.
const USERS: u64 = 200;
/// The function breaks at the user in this row, and fails the whole batch of ten.
const BREAKS_AT: u64 = 77;

/// A row's fields.
fn user(row: u64) -> (String, String, String) {
    let name = match row {
        BREAKS_AT => "U-BREAKS".to_owned(),
        _ if row % 50 == 3 => String::new(),
        _ => format!("U{row:05}"),
    };
    let logins = if row % 20 == 9 { "三回".to_owned() } else { (row * 7 % 100).to_string() };
    (name, logins, (row * 13 % 90).to_string())
}

fn users_csv() -> String {
    let rows = (0..USERS).map(user).map(|(name, logins, posts)| format!("{name},{logins},{posts}\n"));
    format!("ユーザーID,ログイン回数,投稿回数\n{}", rows.collect::<String>())
}

/// What the function must come to for a row: its result, or error and cause.
fn expected(row: u64) -> Result<Value, (&'static str, String)> {
    let (name, logins, posts) = user(row);
    if name.is_empty() {
        return Err(("ValidationError", "ユーザーID is empty".to_owned()));
    }
    let number = |text: &str| text.parse::<u64>().ok();
    match (number(&logins), number(&posts)) {
        (Some(logins), Some(posts)) => {
            Ok(json!({"userId": name, "loginCount": logins, "postCount": posts, "status": "SUCCESS"}))
        }
        _ => Err(("ValueError", format!("ログイン回数 is no count: {logins}"))),
    }
}

fn function_directory() -> PathBuf {
    repository().join("tests/lambda_function")
}

/// AWS's runtime client for Python.
const PYTHON_CLIENT: &str = "awslambdaric";

/// A function, and the command of its runtime client.
struct Function {
    language: &'static str,
    command: Vec<String>,
}

fn function(language: &'static str) -> Result<Function, String> {
    let command = match language {
        "python" => {
            let python = python_with(PYTHON_CLIENT)?;
            [text(&python), "-m", PYTHON_CLIENT, "app.lambda_handler"].map(str::to_owned).into()
        }
        "node" => {
            let client = tool("node/node_modules/.bin/aws-lambda-ric")?;
            vec![text(&client).to_owned(), "app.handler".to_owned()]
        }
        _ => vec![text(&binary("warifu-test-lambda")).to_owned()],
    };
    Ok(Function { language, command })
}

/// `[handlers.NAME]`
fn handler(name: &str, command: &[String], more: &str) -> String {
    let (command, workdir) = (json!(command), json!(function_directory()));
    format!(
        "[handlers.{name}]\ntype = \"lambda\"\ncommand = {command}\nworkdir = {workdir}\n\
         env = {{ PYTHONDONTWRITEBYTECODE = \"1\" }}\n{more}\n"
    )
}

fn job(handler: &str, more: &str) -> String {
    format!(
        "itemReader: {{bucket: input, key: in.csv, readerConfig: {{inputType: CSV}}}}\n\
         itemProcessor: {{handler: {handler}}}\n\
         toleratedFailureCount: 1000\n\
         resultWriter: {{bucket: output, prefix: r/}}\n{more}"
    )
}

const BATCHES_OF_TEN: &str = "itemBatcher: {maxItemsPerBatch: 10, batchInput: {batchId: b-1}}\n";

#[test]
fn the_same_function_in_three_languages_comes_to_the_same() {
    let mut functions = Vec::new();
    for language in ["python", "node", "rust"] {
        match function(language) {
            Ok(function) => functions.push(function),
            Err(reason) => skipped(&format!("a Lambda function in {language}"), &reason),
        }
    }
    let sections = functions.iter().map(|Function { language, command }| {
        handler(language, command, "event_format = \"warifu\"")
            + &handler(&format!("{language}-as-on-aws"), command, "")
    });
    let worker_config: String = sections.collect();
    let dev =
        Dev::start(&DevSettings { worker_config: &worker_config, workers: 1, ..DevSettings::default() });
    dev.s3().put("input", "in.csv", users_csv());
    for Function { language, .. } in &functions {
        let run = dev.submit_and_wait(language, &job(language, BATCHES_OF_TEN), 0);
        assert_eq!(run["itemCounts"]["total"], USERS, "{run}");
        expect_item_by_item(language, &dev.download(language));

        let name = format!("{language}-as-on-aws");
        dev.submit_and_wait(&name, &job(&name, BATCHES_OF_TEN), 0);
        expect_batch_by_batch(language, &dev.download(&name));
    }
    dev.stop();
}

/// The function answered for each item.
#[track_caller]
fn expect_item_by_item(language: &str, directory: &Path) {
    let results = read_results(directory);
    for row in 0..USERS {
        if row / 10 == BREAKS_AT / 10 {
            let line = &results.failed[&row];
            assert_eq!(
                (&line["error"], &line["kind"]),
                (&json!("DatabaseError"), &json!("SYSTEM")),
                "{language}"
            );
            let cause = line["cause"].as_str().unwrap();
            assert!(cause.starts_with("the user database does not answer"), "{language}: {cause}");
            continue;
        }
        match expected(row) {
            Ok(output) => assert_eq!(results.succeeded[&row]["output"], output, "{language}, row {row}"),
            Err((error, cause)) => {
                let line = &results.failed[&row];
                let found = (&line["error"], &line["cause"], &line["kind"]);
                assert_eq!(
                    found,
                    (&json!(error), &json!(cause), &json!("BUSINESS")),
                    "{language}, row {row}"
                );
            }
        }
    }
    assert_eq!(results.succeeded.len() + results.failed.len(), USERS as usize);
}

/// The function answered as on AWS: one answer stands for the whole batch, with its first item.
#[track_caller]
fn expect_batch_by_batch(language: &str, directory: &Path) {
    let results = read_results(directory);
    for batch in 0..USERS / 10 {
        let rows = batch * 10..batch * 10 + 10;
        if rows.contains(&BREAKS_AT) {
            assert!(rows.clone().all(|row| results.failed[&row]["error"] == "DatabaseError"), "{language}");
            continue;
        }
        let good: Vec<Value> = rows.clone().filter_map(|row| expected(row).ok()).collect();
        let bad: Vec<Value> = rows
            .clone()
            .filter_map(|row| expected(row).err().map(|error| (row, error)))
            .map(|(row, (error_type, error))| {
                let (name, logins, posts) = user(row);
                let item = json!({"ユーザーID": name, "ログイン回数": logins, "投稿回数": posts});
                json!({"item": item, "errorType": error_type, "error": error})
            })
            .collect();
        let summary = json!({"batchId": "b-1", "processedCount": good.len(), "errorCount": bad.len(),
                             "results": good, "errors": bad});
        assert_eq!(results.succeeded[&rows.start]["output"], summary, "{language}, batch {batch}");
        assert!(rows.skip(1).all(|row| results.succeeded[&row]["output"].is_null()), "{language}");
    }
}

#[test]
fn a_function_that_goes_wrong_fails_its_batch_and_the_next_one_runs() {
    let mut command = match function("python") {
        Ok(function) => function.command,
        Err(reason) => return skipped("a Lambda function that goes wrong", &reason),
    };
    *command.last_mut().unwrap() = "faults.lambda_handler".to_owned();
    let config = handler("faults", &command, "event_format = \"warifu\"\nidle_timeout = \"5s\"");
    let dev = Dev::start(&DevSettings { worker_config: &config, workers: 1, ..DevSettings::default() });
    let faults = ["raise", "exit", "hang", "log", "large", "garbage"];
    let rows: String = faults.iter().map(|fault| format!("{fault}\nwork\n")).collect();
    dev.s3().put("input", "in.csv", format!("do\n{rows}"));
    let one_by_one = "itemBatcher: {maxItemsPerBatch: 1}\nmaxConcurrency: 1\n";
    let spec = job("faults", one_by_one).replace("{handler: faults}", "{handler: faults, timeoutSeconds: 5}");
    dev.submit_and_wait("r", &spec, 0);
    let results = read_results(&dev.download("r"));
    for row in (1..12).step_by(2) {
        assert_eq!(results.succeeded[&row]["output"]["done"], "work", "after {}", faults[row as usize / 2]);
    }
    assert_eq!(results.succeeded[&6]["output"]["done"], "log", "10 MB of logs are no failure");
    let failed = |row: u64| {
        let line = &results.failed[&row];
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (text("status"), text("error"), text("cause"))
    };
    let table = [
        (0, "FAILED", "OutOfStock", "nothing is left"),
        (2, "FAILED", "Lambda.Exit.3", "the licence has run out"),
        (4, "TIMED_OUT", "States.Timeout", "took longer than 5 s"),
        (8, "FAILED", "Lambda.ResponseTooLarge", "the answer has 7000004 bytes, more than 6291556"),
        (10, "FAILED", "Warifu.InvalidHandlerOutput", "the answer"),
    ];
    for (row, status, error, cause) in table {
        let found = failed(row);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, error), "{}", found.2);
        assert!(found.2.contains(cause), "{cause} is not in {}", found.2);
    }
    let log = dev.log();
    let told = log.lines().find(|line| line.contains("about to raise")).expect("what it prints is logged");
    assert!(told.contains("warifu_worker::lambda") && told.contains("request_id="), "{told}");
    dev.stop();
}

#[test]
fn a_function_that_cannot_start_is_not_offered_and_the_reason_is_shown() {
    let mut command = match function("python") {
        Ok(function) => function.command,
        Err(reason) => return skipped("a Lambda function that cannot start", &reason),
    };
    *command.last_mut().unwrap() = "no_such_module.lambda_handler".to_owned();
    // Without processes ahead nobody finds out before a batch comes.
    let config = handler("broken", &command, "") + &handler("broken-later", &command, "warm = 0");
    let dev = Dev::start(&DevSettings { worker_config: &config, workers: 1, ..DevSettings::default() });
    let workers = dev.run(["workers"]).expect(0).stdout;
    assert!(workers.contains("Runtime.ImportModuleError"), "{workers}");
    dev.s3().put("input", "in.csv", "do\nwork\nwork\nwork\n");
    dev.submit_and_wait("r", &job("broken-later", "itemBatcher: {maxItemsPerBatch: 1}\n"), 0);
    let results = read_results(&dev.download("r"));
    let causes =
        results.failed.values().map(|line| (line["error"].as_str(), line["cause"].as_str().unwrap()));
    for (error, cause) in causes {
        assert_eq!(error, Some("Runtime.ImportModuleError"));
        assert!(cause.contains("no_such_module"), "{cause}");
    }
    let told = dev.log().lines().filter(|line| line.contains("the function does not start")).count();
    assert_eq!(told, 1, "once is enough:\n{}", dev.log());
    dev.stop();
}

#[test]
fn run_hosts_a_function_of_the_current_directory() {
    if let Err(reason) = python_with(PYTHON_CLIENT) {
        return skipped("run --lambda", &reason);
    }
    let directory = scratch();
    let (csv, output) = (directory.path().join("users.csv"), directory.path().join("out"));
    std::fs::write(&csv, "ユーザーID,ログイン回数,投稿回数\nU1,1,2\nU2,3,4\n").unwrap();
    let path =
        std::env::join_paths([tools_directory().join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
    let run = |function: &str| {
        let arguments = ["run", text(&csv), "--lambda", function, "--output", text(&output)];
        let mut command: Command = warifu_in(&function_directory(), arguments);
        command.env("PATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        Process::start(command).finish()
    };
    run("app.lambda_handler").expect(0);
    let results = read_results(&output);
    assert_eq!(results.succeeded[&0]["output"]["processedCount"], 2);
    run("app").expect(2).says(&["names no function", "app.lambda_handler"]);
    run("app.no_such_function").expect(2).says(&["Runtime.HandlerNotFound"]);
}

#[test]
fn run_says_how_to_get_what_a_function_needs() {
    let directory = scratch();
    let csv = directory.path().join("users.csv");
    std::fs::write(&csv, "a\n1\n").unwrap();
    // A python3 that has no package at all.
    let python = directory.path().join("python3");
    std::fs::write(
        &python,
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'awslambdaric'\" >&2\nexit 1\n",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, mode).unwrap();
    let mut command = warifu_in(directory.path(), ["run", text(&csv), "--lambda", "app.handler"]);
    command.env("PATH", directory.path());
    Process::start(command)
        .finish()
        .expect(2)
        .says(&["No module named", "python3 -m pip install awslambdaric"]);
}
