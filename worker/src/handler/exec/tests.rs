//! The handler against real programs.

use warifu_common::model::error_name;

use super::*;
use crate::testing::call_of;

async fn run(exec: Exec, csv: &str) -> HandlerAnswer {
    exec.call(call_of(csv), CancellationToken::new()).await
}

async fn failure(script: &str) -> CallFailure {
    match run(Exec::shell(script), "a\n1\n").await {
        HandlerAnswer::Failed(failure) => failure,
        answer => panic!("{answer:?}"),
    }
}

async fn outputs(exec: Exec, csv: &str) -> Vec<String> {
    match run(exec, csv).await {
        HandlerAnswer::Answered { outputs: Some(outputs), failures } => {
            assert!(failures.is_empty(), "{failures:?}");
            (0..outputs.len())
                .map(|i| String::from_utf8_lossy(outputs.get(i).unwrap()).into_owned())
                .collect()
        }
        answer => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn items_go_in_as_json_lines_and_come_out_as_outputs() {
    assert_eq!(
        outputs(Exec::shell("cat"), "a,b\n1,x\n2,\n").await,
        [r#"{"a":"1","b":"x"}"#, r#"{"a":"2","b":""}"#]
    );
}

#[tokio::test]
async fn variables_and_files_say_which_call_it_is() {
    let script = r#"echo "$WARIFU_MAP_RUN_ID $WARIFU_BATCH_NUMBER $WARIFU_ATTEMPT $WARIFU_ROUND $WARIFU_IDEMPOTENCY_KEY $WARIFU_DEADLINE $MORE"
        echo $(cat "$WARIFU_INDEXES_FILE") $(cat "$WARIFU_BATCH_INPUT_FILE")"#;
    let exec =
        Exec::shell(script).output(ExecOutput::Text).environment([("MORE".to_owned(), "more".to_owned())]);
    let expected = [r#""run-1 7 1 0 run-1/7/0 1700000000000 more""#, r#""700 701 {\"k\":\"v\"}""#];
    assert_eq!(outputs(exec, "a\n1\n2\n").await, expected);
}

#[tokio::test]
async fn a_status_or_a_signal_fails_the_batch_with_the_last_of_standard_error() {
    let exit = failure("echo first >&2; echo last >&2; exit 3").await;
    assert_eq!(
        (exit.error.as_str(), exit.cause.as_str()),
        ("Exec.Exit.3", "the program ended with status 3: first\nlast")
    );
    assert_eq!(failure("kill -9 $$").await.error, "Exec.Signal.9");
    assert!(failure("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1").await.cause.len() <= 1024);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_found_before_the_first_call() {
    let exec = Exec::new(["no-such-program"]);
    assert!(exec.check().await.unwrap_err().contains("no-such-program"));
    let HandlerAnswer::Failed(failure) = run(exec, "a\n1\n").await else { panic!() };
    assert_eq!(failure.error, "Exec.NotStarted");
    assert_eq!(Exec::shell("true").check().await, Ok(()));
}

#[tokio::test]
async fn all_streams_are_pumped_at_once() {
    let csv = format!("a\n{}", "x".repeat(1000).replace('x', "0123456789abcdef\n").repeat(20));
    let exec = Exec::shell("tee /dev/stderr");
    assert_eq!(outputs(exec, &csv).await.len(), 20_000);
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let csv = format!("a\n{}", "0123456789abcdef\n".repeat(20_000));
    assert_eq!(run(Exec::shell("exec true"), &csv).await, HandlerAnswer::Succeeded);
    assert_eq!(
        run(Exec::shell("echo x; echo y").output(ExecOutput::Discard), "a\n1\n").await,
        HandlerAnswer::Succeeded
    );
}

#[tokio::test]
async fn what_a_program_leaves_running_does_not_outlive_the_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo 1", file.display());
    assert_eq!(outputs(Exec::shell(script), "a\n1\n").await, ["1"]);
    await_end_of(&file).await;
}

/// Waits until the process named in a file is gone.
async fn await_end_of(file: &std::path::Path) {
    await_end(&std::fs::read_to_string(file).unwrap()).await;
}

/// Waits until a process is gone: the test runner's time limit bounds it.
pub(super) async fn await_end(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    // A killed process may stay a zombie if nobody reaps it here.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_program_gets_sigterm_first() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("ready");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("trap 'exit 7' TERM; echo ready > {}; while :; do sleep 0.05; done", fifo.display());
    let cancel = CancellationToken::new();
    let handler = Exec::shell(script);
    let calling = handler.call(call_of("a\n1\n"), cancel.clone());
    let ready = async {
        assert_eq!(tokio::fs::read_to_string(&fifo).await.unwrap(), "ready\n");
        cancel.cancel();
    };
    let (answer, ()) = tokio::join!(calling, ready);
    let HandlerAnswer::Failed(failure) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.error, "Exec.Exit.7");
}

#[tokio::test]
async fn a_dropped_call_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("ready");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("trap '' TERM; sleep 1000 & echo $! > {}; wait", fifo.display());
    let handler = Exec::shell(script);
    let pid = {
        let calling = handler.call(call_of("a\n1\n"), CancellationToken::new());
        tokio::pin!(calling);
        tokio::select! {
            answer = &mut calling => panic!("{answer:?}"),
            pid = tokio::fs::read_to_string(&fifo) => pid.unwrap(),
        }
    };
    let file = directory.path().join("pid");
    std::fs::write(&file, pid).unwrap();
    await_end_of(&file).await;
}

fn states(script: &str, partial_failures: bool) -> Exec {
    Exec::shell(script).event_format(EventFormat::States { partial_failures })
}

#[tokio::test]
async fn in_awss_format_the_whole_event_goes_in_and_any_json_comes_out() {
    let event = r#"{"BatchInput":{"k":"v"},"Items":[{"a":"1"},{"a":"2"}]}"#;
    assert_eq!(outputs(states("cat", false), "a\n1\n2\n").await, [event, "null"]);
    assert_eq!(outputs(states("printf '[1,\n {}]'", false), "a\n1\n2\n").await, ["1", "{}"]);
    let text = run(states("echo hello", false), "a\n1\n").await;
    assert!(matches!(text, HandlerAnswer::Failed(f) if f.error == error_name::INVALID_HANDLER_OUTPUT));
    let crash = run(states("echo no >&2; exit 4", false), "a\n1\n").await;
    assert_eq!(
        crash,
        HandlerAnswer::Failed(CallFailure::system("Exec.Exit.4", "the program ended with status 4: no"))
    );
}

#[tokio::test]
async fn named_failures_count_in_awss_format_only_where_it_is_said() {
    let script = r#"echo '{"batchItemFailures": [{"itemIdentifier": "701", "errorType": "Bad"}]}'"#;
    let HandlerAnswer::Answered { failures, .. } = run(states(script, true), "a\n1\n2\n").await else {
        panic!()
    };
    assert_eq!((failures.len(), failures[0].position, failures[0].failure.error.as_str()), (1, 1, "Bad"));
    assert_eq!(outputs(states(script, false), "a\n1\n2\n").await.len(), 2);
}

#[tokio::test]
async fn without_batches_each_item_has_a_process_and_a_key_of_its_own() {
    let script = r#"read -r item; test "$item" != '{"a":"2"}' || exit 1
        echo "[$item, \"$WARIFU_IDEMPOTENCY_KEY\", $(cat "$WARIFU_INDEXES_FILE")]""#;
    let call = crate::testing::unbatched_call_of("a\n1\n2\n3\n");
    let HandlerAnswer::Answered { outputs: Some(outputs), failures } =
        states(script, false).call(call, CancellationToken::new()).await
    else {
        panic!()
    };
    let output = |position| String::from_utf8_lossy(outputs.get(position).unwrap()).into_owned();
    assert_eq!(output(0), r#"[{"a":"1"},"run-1/700/0",700]"#);
    assert_eq!(output(2), r#"[{"a":"3"},"run-1/702/0",702]"#);
    assert_eq!(
        (failures.len(), failures[0].position, failures[0].failure.error.as_str()),
        (1, 1, "Exec.Exit.1")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_the_form_is_named_as_such() {
    let failure = failure("echo 1; echo 2").await;
    assert_eq!(failure.error, error_name::INVALID_HANDLER_OUTPUT);
    assert!(failure.cause.contains("2 lines for 1 items"), "{}", failure.cause);
}
