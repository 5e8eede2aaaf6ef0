//! Processes that are kept running, against real programs.

use std::path::Path;

use tokio::time::Instant;
use warifu_common::model::error_name;

use super::tests::await_end;
use super::*;
use crate::testing::{call_of, unbatched_call_of};

/// Answers each line with the process id as the output of its one item.
const PID: &str = r#"while read -r line; do echo "[$$]"; done"#;

fn kept(script: &str) -> Exec {
    Exec::shell(script).keep_running(None)
}

fn python(program: &str) -> Exec {
    Exec::new(["python3", "-u", "-c", program]).keep_running(None)
}

async fn call(exec: &Exec, csv: &str) -> HandlerAnswer {
    exec.call(call_of(csv), CancellationToken::new()).await
}

/// The output of a call with one item.
async fn output(exec: &Exec) -> String {
    match call(exec, "a\n1\n").await {
        HandlerAnswer::Answered { outputs: Some(outputs), .. } => {
            String::from_utf8_lossy(outputs.get(0).unwrap()).into_owned()
        }
        answer => panic!("{answer:?}"),
    }
}

async fn failure(exec: &Exec) -> CallFailure {
    match call(exec, "a\n1\n").await {
        HandlerAnswer::Failed(failure) => failure,
        answer => panic!("{answer:?}"),
    }
}

fn fifo(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

#[tokio::test]
async fn a_process_gets_one_batch_after_another_as_a_line_each() {
    let exec = python(
        r#"
import json, os, sys
for n, line in enumerate(sys.stdin):
    event = json.loads(line)
    facts = [event["batchInput"], event["batch"]["indexes"]]
    print(json.dumps([[n, os.getpid(), item, *facts] for item in event["items"]], separators=(",", ":")))
"#,
    );
    let first = output(&exec).await;
    let second = output(&exec).await;
    assert!(first.starts_with("[0,") && first.ends_with(r#",{"a":"1"},{"k":"v"},[700]]"#), "{first}");
    assert_eq!(second, first.replacen("[0,", "[1,", 1));
}

#[tokio::test]
async fn every_form_of_answer_is_taken() {
    let exec = kept(
        r#"while read -r line; do case $line in
            *nothing*) echo;;
            *null*) echo null;;
            *fail*) echo '{"batchItemFailures": [{"itemIdentifier": 700, "errorType": "Bad"}]}';;
        esac; done"#,
    );
    assert_eq!(call(&exec, "a\nnothing\n").await, HandlerAnswer::Succeeded);
    assert_eq!(call(&exec, "a\nnull\n").await, HandlerAnswer::Succeeded);
    let HandlerAnswer::Answered { failures, .. } = call(&exec, "a\nfail\n").await else { panic!() };
    assert_eq!(failures[0].failure.error, "Bad");
}

#[tokio::test]
async fn calls_at_once_have_a_process_each_and_both_are_kept() {
    let exec = kept(PID);
    let (one, two) = tokio::join!(output(&exec), output(&exec));
    assert_ne!(one, two);
    let (three, four) = tokio::join!(output(&exec), output(&exec));
    let sorted = |mut pids: [String; 2]| {
        pids.sort();
        pids
    };
    assert_eq!(sorted([one, two]), sorted([three, four]));
}

#[tokio::test]
async fn a_process_that_dies_fails_its_batch_with_its_last_words_and_is_replaced() {
    let exec = kept(
        r#"echo old >&2; while read -r line; do case $line in
            *die*) echo "no luck" >&2; kill -9 $$;;
            *leave*) exit 0;;
            *) echo "[$$]";;
        esac; done"#,
    );
    let first = output(&exec).await;
    let HandlerAnswer::Failed(failure) = call(&exec, "a\ndie\n").await else { panic!() };
    assert_eq!(failure.error, "Exec.Signal.9");
    // What it wrote for an earlier batch may still be on its way when the next one comes.
    let cause = failure.cause.replace("old\n", "");
    assert_eq!(cause, "the program was ended by signal 9 before it answered: no luck");
    let second = output(&exec).await;
    assert_ne!(first, second);
    let HandlerAnswer::Failed(failure) = call(&exec, "a\nleave\n").await else { panic!() };
    assert_eq!(failure.error, "Exec.Exit.0");
}

#[tokio::test]
async fn a_process_that_died_idle_costs_no_batch() {
    let exec = kept(PID);
    let first = output(&exec).await;
    let pid = first.parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    await_end(&first).await;
    assert_ne!(output(&exec).await, first);
}

#[tokio::test]
async fn garbage_fails_the_batch_and_the_process_is_replaced() {
    let table = [
        (r#"printf '[1]\n[2]\n'"#, "more than one line"),
        ("echo debug", "a line that is not JSON"),
        ("echo '[1, 2]'", "2 results for 1 items"),
        ("head -c 34000000 /dev/zero | tr '\\0' 1", "a line of more than 33554432 bytes"),
    ];
    for (garbage, expected) in table {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("echo $$ >> {}; while read -r line; do {garbage}; done", pids.display());
        let exec = kept(&script);
        for _ in 0..2 {
            let failure = failure(&exec).await;
            assert_eq!(failure.error, error_name::INVALID_HANDLER_OUTPUT, "{garbage}");
            assert!(failure.cause.contains(expected), "{garbage}: {}", failure.cause);
        }
        assert_eq!(std::fs::read_to_string(&pids).unwrap().lines().count(), 2, "{garbage}");
    }
}

#[tokio::test]
async fn a_line_that_comes_too_late_is_not_taken_for_the_next_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (answered, written) = (fifo(directory.path(), "answered"), fifo(directory.path(), "written"));
    let script = format!(
        r#"while read -r line; do echo "[$$]"; cat {} > /dev/null; echo '["late"]'; echo > {}; done"#,
        answered.display(),
        written.display(),
    );
    let exec = kept(&script);
    let first = output(&exec).await;
    tokio::fs::write(&answered, "").await.unwrap();
    tokio::fs::read(&written).await.unwrap();
    let second = output(&exec).await;
    assert!(second != first && second.parse::<u32>().is_ok(), "{second}");
}

#[tokio::test]
async fn a_program_may_answer_while_it_reads() {
    // Longer than any pipe holds, in both directions.
    let exec = python(
        r#"
import os
begun = False
while part := os.read(0, 1000):
    answer = b'x' * len(part) if begun else b'["'
    begun = not part.endswith(b'\n')
    if not begun:
        answer += b'"]\n'
    while answer:
        answer = answer[os.write(1, answer):]
"#,
    );
    let csv = format!("a\n{}\n", "y".repeat(1_000_000));
    for _ in 0..2 {
        let HandlerAnswer::Answered { outputs: Some(outputs), .. } = call(&exec, &csv).await else {
            panic!()
        };
        assert!(outputs.get(0).unwrap().len() > 990_000);
    }
}

#[tokio::test]
async fn a_program_that_answers_without_reading_is_not_believed() {
    let csv = format!("a\n{}\n", "y".repeat(1_000_000));
    let exec = kept("echo null; exec sleep 1000");
    let HandlerAnswer::Failed(failure) = call(&exec, &csv).await else { panic!() };
    assert!(failure.cause.contains("before it had read"), "{}", failure.cause);
}

#[tokio::test]
async fn a_cancelled_call_ends_its_process_even_if_it_does_not_listen() {
    for (trap, patient) in [("trap 'exit 7' TERM", false), ("trap '' TERM", true)] {
        let directory = tempfile::tempdir().unwrap();
        let ready = fifo(directory.path(), "ready");
        let script =
            format!("{trap}; read -r line; echo $$ > {}; while :; do sleep 0.05; done", ready.display());
        let exec = kept(&script);
        let cancel = CancellationToken::new();
        let calling = exec.call(call_of("a\n1\n"), cancel.clone());
        let cancelling = async {
            let pid = tokio::fs::read_to_string(&ready).await.unwrap();
            if patient {
                // Five seconds pass at once.
                tokio::time::pause();
            }
            cancel.cancel();
            pid
        };
        let (answer, pid) = tokio::join!(calling, cancelling);
        assert!(matches!(answer, HandlerAnswer::Failed(_)), "{answer:?}");
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "{trap}");
        if patient {
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn a_dropped_call_kills_its_process_and_a_dropped_handler_its_idle_ones() {
    let directory = tempfile::tempdir().unwrap();
    let ready = fifo(directory.path(), "ready");
    let script =
        format!("trap '' TERM; read -r line; echo $$ > {}; while :; do sleep 1; done", ready.display());
    let exec = kept(&script);
    let pid = {
        let calling = exec.call(call_of("a\n1\n"), CancellationToken::new());
        tokio::pin!(calling);
        tokio::select! {
            answer = &mut calling => panic!("{answer:?}"),
            pid = tokio::fs::read_to_string(&ready) => pid.unwrap(),
        }
    };
    await_end(&pid).await;
    let exec = kept(PID);
    let idle = output(&exec).await;
    drop(exec);
    await_end(&idle).await;
}

#[tokio::test]
async fn closing_lets_processes_end_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let bye = directory.path().join("bye");
    let exec = kept(&format!("{PID}; echo bye > {}", bye.display()));
    let pid = output(&exec).await;
    exec.close().await;
    assert_eq!(std::fs::read_to_string(&bye).unwrap(), "bye\n");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_process_is_replaced_after_so_many_calls() {
    let exec = Exec::shell(PID).keep_running(Some(2));
    let pids = [output(&exec).await, output(&exec).await, output(&exec).await];
    assert_eq!(pids[0], pids[1]);
    assert_ne!(pids[1], pids[2]);
}

#[tokio::test]
async fn a_program_that_always_crashes_is_not_started_faster_and_faster() {
    let directory = tempfile::tempdir().unwrap();
    let starts = directory.path().join("starts");
    let exec = kept(&format!("echo >> {}; exit 1", starts.display()));
    tokio::time::pause();
    let began_at = Instant::now();
    for _ in 0..10 {
        failure(&exec).await;
    }
    // 0.2 + 0.4 + … + 6.4, then 10 s each.
    assert!(began_at.elapsed().as_secs_f64() >= 12.6 + 30.0, "{:?}", began_at.elapsed());
    assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 10);
}

#[tokio::test]
async fn a_call_that_waits_for_a_start_can_be_cancelled() {
    let exec = kept("exit 1");
    failure(&exec).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let answer = exec.call(call_of("a\n1\n"), cancel).await;
    assert!(matches!(answer, HandlerAnswer::Failed(failure) if failure.error == error_name::ABORTED));
}

#[tokio::test]
async fn without_batches_each_item_is_a_line_for_the_same_process_and_fails_alone() {
    let exec =
        kept(r#"while read -r line; do case $line in *2*) exit 1;; *) echo "[$$,$line]";; esac; done"#)
            .event_format(EventFormat::States { partial_failures: false });
    let answer = exec.call(unbatched_call_of("a\n0\n1\n2\n3\n"), CancellationToken::new()).await;
    let HandlerAnswer::Answered { outputs: Some(outputs), failures } = answer else { panic!() };
    let pid_of = |position: usize| {
        let output = String::from_utf8_lossy(outputs.get(position).unwrap()).into_owned();
        output.split_once(',').map(|(pid, _)| pid.to_owned())
    };
    assert_eq!(pid_of(0), pid_of(1));
    assert_ne!(pid_of(1), pid_of(3));
    assert_eq!(
        (failures.len(), failures[0].position, failures[0].failure.error.as_str()),
        (1, 2, "Exec.Exit.1")
    );
}

#[tokio::test]
async fn a_kept_process_has_the_configured_variables_and_none_of_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"read -r line; echo "[\"$MORE $PWD ${WARIFU_MAP_RUN_ID-none}\"]"; read -r line"#;
    let exec = Exec::shell(script)
        .environment([("MORE".to_owned(), "more".to_owned())])
        .directory(Some(directory.path().to_owned()))
        .keep_running(None);
    let directory = directory.path().canonicalize().unwrap();
    assert_eq!(output(&exec).await, format!("\"more {} none\"", directory.display()));
}
