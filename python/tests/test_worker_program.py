"""The worker around a program that stands for `warifu-worker`: what is posted, what comes back, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY, Process, clean_environment, eventually
from warifu import Batch, BatchError, Worker, WorkerError

STUB = REPOSITORY / "python" / "tests" / "stub_worker.py"


def event(*items: Any, first: int = 700) -> dict[str, Any]:
    indexes = list(range(first, first + len(items)))
    batch = {
        "mapRunId": "run-1",
        "batchNumber": 7,
        "attempt": 2,
        "round": 1,
        "indexes": indexes,
        "idempotencyKey": "run-1/7/1",
        "itemIdempotencyKeys": [f"run-1/{index}/1" for index in indexes],
    }
    return {"batchInput": {"k": "v"}, "items": list(items), "batch": batch}


class Stub:
    """The program in a directory of the test's own, and what it writes."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program = directory / "warifu-worker"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
        self.program.chmod(stat.S_IRWXU)
        self.answers_file = directory / "answers.json"
        self.environment = {"STUB_ANSWERS": str(self.answers_file), "WARIFU_WORKER": str(self.program)}
        self._monkeypatch = monkeypatch
        self.events()

    def events(self, *entries: dict[str, Any]) -> None:
        self.environment["STUB_EVENTS"] = json.dumps(entries)
        for name, value in self.environment.items():
            self._monkeypatch.setenv(name, value)

    def answers(self) -> list[dict[str, Any]]:
        """What the program was told, and then each answer; waits for them."""
        eventually("the stub has its answers", self.answers_file.exists)
        found: list[dict[str, Any]] = json.loads(self.answers_file.read_text())
        return found

    def run(self, handler: Callable[[Batch], Any], *entries: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Runs a worker with `handler` until the stub has its answers."""
        self.events(*entries)
        worker = Worker(**options)
        worker.handler("h")(handler)
        runner = threading.Thread(target=worker.run)
        runner.start()
        try:
            return self.answers()
        finally:
            worker.stop()
            runner.join(60)
            assert not runner.is_alive()


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    return Stub(tmp_path, monkeypatch)


def test_a_batch_has_all_that_the_event_says(stub: Stub) -> None:
    seen: list[Batch] = []
    entry = {"event": event({"a": "1"}, {"a": "2"}), "headers": {"Warifu-Deadline": "1700000000500"}}
    stub.run(seen.append, entry)
    (batch,) = seen
    assert (batch.items, batch.indexes, batch.batch_input) == ([{"a": "1"}, {"a": "2"}], [700, 701], {"k": "v"})
    assert (batch.map_run_id, batch.batch_number, batch.attempt, batch.round) == ("run-1", 7, 2, 1)
    assert batch.idempotency_key == "run-1/7/1"
    assert batch.item_idempotency_keys == ["run-1/700/1", "run-1/701/1"]
    assert batch.deadline == datetime(2023, 11, 14, 22, 13, 20, 500_000, timezone.utc)


def fails_one(batch: Batch) -> list[Any]:
    batch.fail(batch.items[1], "Bad", "no number", retryable=True)
    batch.fail(701, "Other", "the first one counts")
    batch.fail({"a": "3"}, "Third")
    return [item["a"] for item in batch.items]


def fails_unknown(batch: Batch) -> None:
    batch.fail({"a": "x"}, "Bad")


def raises(error: BaseException) -> Callable[[Batch], Any]:
    def handler(batch: Batch) -> Any:
        raise error

    return handler


ITEMS = ({"a": "1"}, {"a": "ü2"}, {"a": "3"})


@pytest.mark.parametrize(
    ("handler", "failed", "answer"),
    [
        (lambda batch: None, False, None),
        (lambda batch: [item["a"] for item in batch.items], False, {"results": ["1", "ü2", "3"]}),
        (lambda batch: (1, None, {"b": [True]}), False, {"results": [1, None, {"b": [True]}]}),
        (
            fails_one,
            False,
            {
                "results": ["1", "ü2", "3"],
                "batchItemFailures": [
                    {"itemIdentifier": 701, "errorType": "Bad", "errorMessage": "no number", "retryable": True},
                    {"itemIdentifier": 702, "errorType": "Third", "errorMessage": "", "retryable": False},
                ],
            },
        ),
        (raises(ValueError("that is wrong")), True, {"errorType": "ValueError", "errorMessage": "that is wrong"}),
        (raises(BatchError("Upstream.Busy", "later")), True, {"errorType": "Upstream.Busy", "errorMessage": "later"}),
        (raises(SystemExit(3)), True, {"errorType": "SystemExit", "errorMessage": "3"}),
    ],
)
def test_what_a_handler_says_is_the_answer(stub: Stub, handler: Callable[[Batch], Any], failed: bool, answer: Any) -> None:
    _, said = stub.run(handler, {"event": event(*ITEMS)})
    assert said == {"status": 200, "failed": failed, "answer": answer}


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        (lambda batch: [1, 2], "ValueError", "one output for each item: 3, and not 2"),
        (lambda batch: {"a": 1}, "TypeError", "a list with one output for each item, or None, and not dict"),
        (lambda batch: [object()] * 3, "TypeError", "not JSON serializable"),
        (lambda batch: [float("nan")] * 3, "ValueError", "not JSON compliant"),
        (fails_unknown, "ValueError", "name one of the batch's items"),
    ],
)
def test_what_no_answer_can_be_fails_the_batch(
    stub: Stub, handler: Callable[[Batch], Any], error_type: str, message: str
) -> None:
    _, said = stub.run(handler, {"event": event(*ITEMS)})
    assert (said["failed"], said["answer"]["errorType"]) == (True, error_type)
    assert message in said["answer"]["errorMessage"]


def test_only_the_worker_of_this_process_may_call(stub: Stub) -> None:
    seen: list[Batch] = []
    wrong = [{"Warifu-Secret": ""}, {"Warifu-Secret": "0" * 64}, {"Warifu-Secret": "ü"}]
    entries = [{"event": event(1), "headers": headers} for headers in wrong]
    _, *said = stub.run(seen.append, *entries, {"event": event(1), "path": "/other"})
    assert [answer["status"] for answer in said] == [403, 403, 403, 404]
    assert seen == []


def test_a_call_that_is_given_up_is_cancelled(stub: Stub, tmp_path: Path) -> None:
    begun, cancelled = tmp_path / "begun", threading.Event()

    def handler(batch: Batch) -> None:
        begun.touch()
        eventually("the batch is cancelled", batch.cancelled)
        cancelled.set()

    stub.run(handler, {"event": event(1), "hang_up": str(begun)}, slots=1)
    assert cancelled.wait(60)


def test_the_program_is_told_what_the_worker_was_told(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARIFU_ENDPOINT", "http://10.0.0.1:1")
    settings = {"s3": {"endpoint_url": 'http://a"b', "force_path_style": True}, "worker": {"drain_timeout": "5s"}}
    told, *_ = stub.run(lambda batch: None, slots=3, id="w-1", settings=settings)
    assert told["arguments"][2:] == ["--slots", "3", "--endpoint", "http://10.0.0.1:1", "--id", "w-1"]
    assert '[s3]\nendpoint_url = "http://a\\"b"\nforce_path_style = true\n' in told["config"]
    assert 'type = "http"' in told["config"] and 'event_format = "warifu"' in told["config"]
    assert not Path(told["arguments"][1]).exists()


def test_what_the_program_cannot_do_is_an_error(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_STATUS", "2")
    worker = Worker()
    worker.handler("h")(lambda batch: None)
    errors: list[WorkerError] = []

    def run() -> None:
        try:
            worker.run()
        except WorkerError as error:
            errors.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    stub.answers()
    worker.stop()
    runner.join(60)
    assert ["status 2" in str(error) for error in errors] == [True]
    # A worker that was stopped does not begin again.
    worker.run()


def test_names_are_checked_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker = Worker()
    for name in ("", "a b", "a/b", ".", "..", "x" * 129, "ü"):
        with pytest.raises(ValueError, match="is no handler's name"):
            worker.handler(name)
    with pytest.raises(ValueError, match="has no handlers"):
        worker.run()
    worker.handler("h")(lambda batch: None)
    for name in ("h", "echo", "noop"):
        with pytest.raises(ValueError, match="already"):
            worker.handler(name)
    with pytest.raises(ValueError, match="slots"):
        Worker(slots=0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match="on the PATH"):
        worker.run()
    monkeypatch.setenv("WARIFU_WORKER", str(tmp_path / "none"))
    with pytest.raises(WorkerError, match="there is no program"):
        worker.run()


SCRIPT = """
import signal, sys
from warifu import Worker
before = signal.getsignal(signal.SIGINT)
worker = Worker()
@worker.handler("h")
def handle(batch):
    return None
worker.run()
print("ended", signal.getsignal(signal.SIGINT) is before)
"""


def start(stub: Stub, tmp_path: Path, **environment: str) -> tuple[Process, int]:
    """A process with a worker, and the process ID of its program."""
    environment = clean_environment(**stub.environment, **environment)
    process = Process([sys.executable, "-c", SCRIPT], tmp_path, environment)
    return process, stub.answers()[0]["id"]


def is_alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_process_ends_well(stub: Stub, tmp_path: Path, number: int) -> None:
    process, program = start(stub, tmp_path)
    assert process.end(number) == 0, process.said()
    assert process.said() == "ended True\n"
    assert not is_alive(program)


def test_a_signal_to_the_program_too_is_not_taken_for_a_second_one(stub: Stub, tmp_path: Path) -> None:
    process, program = start(stub, tmp_path)
    os.kill(program, signal.SIGTERM)
    assert process.end() == 0, process.said()


def test_a_second_signal_ends_it_at_once(stub: Stub, tmp_path: Path) -> None:
    drains = tmp_path / "drains"
    process, program = start(stub, tmp_path, STUB_DRAINS=str(drains))
    process.child.send_signal(signal.SIGINT)
    eventually("the program drains", drains.exists)
    assert process.end(signal.SIGINT) == -signal.SIGINT, process.said()
    assert "KeyboardInterrupt" in process.said()
    assert not is_alive(program)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux promises it")
def test_the_program_does_not_outlive_a_process_that_is_killed(stub: Stub, tmp_path: Path) -> None:
    process, program = start(stub, tmp_path)
    assert is_alive(program) and os.getpgid(program) != os.getpgid(process.child.pid)
    process.kill()
    began = time.monotonic()
    eventually("the program is gone", lambda: not is_alive(program))
    assert time.monotonic() - began < 10
