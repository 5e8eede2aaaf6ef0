//! The handler against a real process: a runtime client written in Python, standard library only.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use warifu_common::model::{FailureKind, error_name};

use super::*;
use crate::testing::{call_in, call_of, identity};

/// The client; see its own words.
fn client() -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/handler/lambda/testdata/runtime.py");
    vec!["python3".to_owned(), script.to_owned()]
}

fn config() -> LambdaConfig {
    LambdaConfig { warm: 0, ..LambdaConfig::new("f", client()) }
}

/// A function whose start does something.
fn starting(how: &str) -> LambdaConfig {
    let toml = format!(
        "[handlers.f]\ntype = 'lambda'\ncommand = ['python3', '{}']\nenv = {{ AT_START = '{how}', MORE = 'more' }}\n",
        client()[1]
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let worker = warifu_common::config::WorkerConfig::load(Some(file.path()), Vec::new()).unwrap();
    let lambda = worker.handlers.into_values().find_map(|handler| match handler.handler {
        warifu_common::config::HandlerConfig::Lambda(config) => Some(config),
        _ => None,
    });
    lambda.unwrap()
}

async fn run(lambda: &Lambda, what: &str) -> HandlerAnswer {
    lambda.call(call_of(&format!("do\n{what}\n")), CancellationToken::new()).await
}

/// The output of a call that went well.
async fn output(lambda: &Lambda, what: &str) -> Value {
    match run(lambda, what).await {
        HandlerAnswer::Answered { outputs: Some(outputs), failures } if failures.is_empty() => {
            serde_json::from_slice(outputs.get(0).unwrap()).unwrap()
        }
        answer => panic!("{answer:?}"),
    }
}

async fn pid(lambda: &Lambda) -> i64 {
    output(lambda, "echo").await["pid"].as_i64().unwrap()
}

/// The failure of a call, after which the next one must work.
async fn failure(lambda: &Lambda, what: &str) -> CallFailure {
    let HandlerAnswer::Failed(failure) = run(lambda, what).await else { panic!("{what} went well") };
    assert_eq!(failure.kind, FailureKind::System);
    assert!(pid(lambda).await > 0);
    failure
}

/// Waits until a process is gone: the test runner's time limit bounds it. A killed one may stay a zombie for a while.
async fn await_end_of(pid: impl std::fmt::Display) {
    let stat = format!("/proc/{pid}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

fn lines_of(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_function_gets_what_it_gets_on_aws() {
    let lambda = Lambda::new(LambdaConfig { memory_mb: 512, ..starting("") });
    let seen = output(&lambda, "echo").await;
    assert_eq!(seen["event"], serde_json::json!({"BatchInput": {"k": "v"}, "Items": [{"do": "echo"}]}));
    let header = |name: &str| seen["headers"][format!("lambda-runtime-{name}")].as_str().unwrap();
    let id = uuid::Uuid::parse_str(header("aws-request-id")).unwrap();
    assert_eq!(id.get_version_num(), 4);
    assert_eq!(header("deadline-ms"), "1700000000000");
    assert_eq!(header("invoked-function-arn"), "arn:aws:lambda:us-east-1:000000000000:function:f");
    assert!(header("trace-id").starts_with("Root=1-"));
    let variable = |name: &str| seen["variables"][name].as_str().unwrap();
    assert_eq!(
        (variable("AWS_LAMBDA_FUNCTION_NAME"), variable("AWS_LAMBDA_FUNCTION_VERSION")),
        ("f", "$LATEST")
    );
    assert_eq!((variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), variable("TZ")), ("512", ":UTC"));
    assert_eq!((variable("MORE"), variable("AWS_LAMBDA_LOG_GROUP_NAME")), ("more", "/aws/lambda/f"));
    assert_eq!(variable("LAMBDA_TASK_ROOT"), std::env::current_dir().unwrap().to_str().unwrap());
    assert_ne!(output(&lambda, "echo").await["headers"]["lambda-runtime-aws-request-id"], seen["headers"]);
}

#[tokio::test]
async fn an_error_is_the_functions_own_and_its_process_goes_on() {
    let lambda = Lambda::new(config());
    let before = pid(&lambda).await;
    let raised = failure(&lambda, "raise").await;
    assert_eq!(
        (raised.error.as_str(), raised.cause.as_str()),
        ("ValueError", "no such user\n  in handler\n    raise")
    );
    assert_eq!(pid(&lambda).await, before);
}

#[tokio::test]
async fn a_process_that_ends_fails_its_batch_and_is_replaced() {
    let lambda = Lambda::new(config());
    let exit = failure(&lambda, "exit:3").await;
    assert_eq!(exit.error, "Lambda.Exit.3");
    let cause = "the function's process ended with status 3 before it answered the event: about to exit";
    assert_eq!(exit.cause, cause);
    assert_eq!(failure(&lambda, "exit:0").await.error, "Lambda.Exit.0");
    assert_eq!(failure(&lambda, "kill").await.error, "Lambda.Signal.9");
}

#[tokio::test]
async fn an_event_that_a_dying_process_did_not_take_goes_to_the_next_one() {
    let lambda = Lambda::new(config());
    let mut before = output(&lambda, "last").await;
    for _ in 0..5 {
        let after = output(&lambda, "last").await;
        assert_ne!(after, before);
        before = after;
    }
}

#[tokio::test]
async fn answers_that_cannot_be_taken_are_named_and_the_process_goes_on() {
    let lambda = Lambda::new(LambdaConfig { max_response_bytes: 1_000_000, ..config() });
    let before = pid(&lambda).await;
    let large = failure(&lambda, "large:7000000").await;
    assert_eq!(large.error, "Lambda.ResponseTooLarge");
    assert!(large.cause.starts_with("the answer has 7000002 bytes, more than 1000000"), "{}", large.cause);
    assert_eq!(output(&lambda, "large:999998").await.as_str().unwrap().len(), 999_998);
    assert_eq!(failure(&lambda, "garbage").await.error, error_name::INVALID_HANDLER_OUTPUT);
    assert_eq!(failure(&lambda, "bad-mode").await.error, "Runtime.InvalidResponseModeHeader");
    assert_eq!(output(&lambda, "nothing").await, Value::Null);
    assert_eq!(pid(&lambda).await, before);
}

#[tokio::test]
async fn streamed_answers_are_read_and_their_late_errors_heard() {
    let lambda = Lambda::new(config());
    assert_eq!(output(&lambda, "stream").await, serde_json::json!(["a", "b"]));
    let late = failure(&lambda, "stream:error").await;
    assert_eq!((late.error.as_str(), late.cause.as_str()), ("Late", "half way"));
}

#[tokio::test]
async fn rules_of_the_api_are_kept_as_aws_keeps_them() {
    let lambda = Lambda::new(config());
    assert_eq!(output(&lambda, "break-rules").await, serde_json::json!([400, 400, 403, 403, 404, 405]));
}

#[tokio::test]
async fn a_flood_of_logs_neither_blocks_nor_fails() {
    let lambda = Lambda::new(config());
    assert_eq!(output(&lambda, "log:10000000").await, "logged");
}

#[tokio::test]
async fn a_cancelled_call_ends_the_process_and_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("ready");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let lambda = Lambda::new(config());
    let cancel = CancellationToken::new();
    let calling = lambda.call(call_of(&format!("do\nhang:{}\n", fifo.display())), cancel.clone());
    let ready = async {
        let pids = tokio::fs::read_to_string(&fifo).await.unwrap();
        cancel.cancel();
        pids
    };
    let (_, pids) = tokio::join!(calling, ready);
    let (parent, child) = pids.split_once(' ').unwrap();
    assert!(!Path::new(&format!("/proc/{parent}")).exists(), "the call waits for the end of its process");
    await_end_of(child).await;
    assert!(pid(&lambda).await > 0);
}

#[tokio::test]
async fn processes_die_with_the_handler() {
    let lambda = Lambda::new(config());
    let pid = pid(&lambda).await;
    drop(lambda);
    await_end_of(pid).await;
}

#[tokio::test]
async fn as_many_processes_as_calls_and_the_last_one_used_first() {
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let lambda = Lambda::new(LambdaConfig { warm: 0, ..starting(&format!("count:{}", started.display())) });
    let four = futures::future::join_all((0..4).map(|_| pid(&lambda))).await;
    let count = lines_of(&started);
    assert!((1..=4).contains(&count), "{four:?}");
    for _ in 0..3 {
        let first = pid(&lambda).await;
        assert_eq!(pid(&lambda).await, first);
    }
    assert_eq!(lines_of(&started), count, "idle processes are used before one is started");
}

#[tokio::test]
async fn idle_processes_end_but_for_those_that_are_kept() {
    let started = tempfile::NamedTempFile::new().unwrap();
    let lambda = Lambda::new(LambdaConfig {
        warm: 1,
        idle_timeout: Duration::ZERO,
        ..starting(&format!("count:{}", started.path().display()))
    });
    lambda.check().await.unwrap();
    // Two at once: the second is beyond what is kept, and goes when it has nothing to do.
    let (first, second) = tokio::join!(lambda.pool.take(), lambda.pool.take());
    lambda.pool.put(first.ok().unwrap());
    lambda.pool.put(second.ok().unwrap());
    let text = std::fs::read_to_string(started.path()).unwrap();
    let pids: Vec<&str> = text.lines().collect();
    assert_eq!(pids.len(), 2);
    await_end_of(pids[0]).await;
    assert_eq!(pid(&lambda).await.to_string(), pids[1]);
}

#[tokio::test]
async fn warm_processes_are_started_ahead_and_replaced() {
    let started = tempfile::NamedTempFile::new().unwrap();
    let lambda =
        Lambda::new(LambdaConfig { warm: 2, ..starting(&format!("count:{}", started.path().display())) });
    lambda.check().await.unwrap();
    let wait_for = async |count: usize| {
        while lines_of(started.path()) < count {
            tokio::task::yield_now().await;
        }
    };
    wait_for(2).await;
    let HandlerAnswer::Failed(_) = run(&lambda, "exit:1").await else { panic!("it exits") };
    wait_for(3).await;
}

#[tokio::test]
async fn a_start_that_fails_keeps_the_handler_from_being_offered_and_says_why() {
    let check = async |config: LambdaConfig| Lambda::new(config).check().await.unwrap_err();
    assert_eq!(
        check(starting("error")).await,
        "Runtime.ImportModuleError: No module named 'app'\n  in handler\n    raise"
    );
    let marks = tempfile::NamedTempFile::new().unwrap();
    let exit = check(starting(&format!("exit:{}", marks.path().display()))).await;
    let expected = "Lambda.Exit.7: the function's process ended with status 7 before it asked for an event: \
                    the start goes wrong";
    assert_eq!(exit, expected);
    let slow = LambdaConfig { init_timeout: Duration::from_millis(500), ..starting("hang") };
    let slow = check(slow).await;
    assert!(slow.starts_with("Lambda.InitTimeout: ") && slow.contains("within 0.5 s"), "{slow}");
    let missing = LambdaConfig::new("f", vec!["no-such-program".to_owned()]);
    assert!(check(missing).await.contains("no-such-program"));
    let nowhere = LambdaConfig { workdir: Some("/no/such/directory".into()), ..config() };
    assert!(check(nowhere).await.contains("/no/such/directory"));
}

#[tokio::test]
async fn starts_that_fail_are_spaced_out_and_a_repaired_function_works_again() {
    let marks = tempfile::NamedTempFile::new().unwrap();
    let broken =
        Lambda::new(LambdaConfig { warm: 0, ..starting(&format!("exit:{}", marks.path().display())) });
    let answers = futures::future::join_all((0..8).map(|_| run(&broken, "echo"))).await;
    assert!(
        answers.iter().all(|answer| matches!(answer, HandlerAnswer::Failed(f) if f.error == "Lambda.Exit.7"))
    );
    let tried = lines_of(marks.path());
    futures::future::join_all((0..8).map(|_| run(&broken, "echo"))).await;
    assert_eq!(lines_of(marks.path()), tried + 1, "eight calls wait for one try");

    let directory = tempfile::tempdir().unwrap();
    let repaired = directory.path().join("repaired");
    let lambda =
        Lambda::new(LambdaConfig { warm: 0, ..starting(&format!("exit-unless:{}", repaired.display())) });
    assert!(matches!(run(&lambda, "echo").await, HandlerAnswer::Failed(_)));
    std::fs::write(&repaired, "").unwrap();
    assert!(pid(&lambda).await > 0);
}

#[tokio::test]
async fn without_a_batcher_each_item_is_an_event_and_fails_alone() {
    let lambda = Lambda::new(config());
    let facts = crate::handler::RunFacts { batched: false, ..crate::testing::facts() };
    let whole = call_in("do\necho\nraise\nexit:3\necho\n", identity(7, 0));
    let batch = crate::testing::batch_of(b"do\necho\nraise\nexit:3\necho\n");
    let call = BatchCall::new(Arc::new(facts), whole.identity(), batch, vec![0, 1, 2, 3]);
    let answer = lambda.call(call, CancellationToken::new()).await;
    let HandlerAnswer::Answered { outputs: Some(outputs), failures } = answer else { panic!("{answer:?}") };
    let failed: Vec<_> =
        failures.iter().map(|failed| (failed.position, failed.failure.error.as_str())).collect();
    assert_eq!(failed, [(1, "ValueError"), (2, "Lambda.Exit.3")]);
    let last: Value = serde_json::from_slice(outputs.get(3).unwrap()).unwrap();
    assert_eq!(last["event"], serde_json::json!({"do": "echo"}));
}
