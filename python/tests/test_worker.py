"""Functions of Python as handlers of the real `warifu-worker`, on real runs."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import Dev, Process, binary, eventually
from warifu import Batch, BatchError, Client, MapRun, Worker

ROWS = 2000
_numbers = itertools.count()


def fresh_id() -> str:
    return f"worker-{next(_numbers)}"


@pytest.fixture
def surroundings(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker of this process needs to reach S3, and where its program is."""
    for name, value in dev.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WARIFU_WORKER", binary("warifu-worker"))


@contextmanager
def running(dev: Dev, name: str, handler: Callable[[Batch], Any], **options: Any) -> Iterator[None]:
    """A worker of this process, on a thread of its own."""
    worker = Worker(endpoint=dev.endpoint, settings={"s3": dev.s3}, **options)
    worker.handler(name)(handler)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            errors.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    try:
        yield
    finally:
        worker.stop()
        runner.join(60)
        assert not runner.is_alive() and errors == []


def put_rows(dev: Dev, rows: int = ROWS) -> str:
    key = f"rows-{rows}.csv"
    dev.put(key, "id,名前\n" + "".join(f'{i},"n, {i}"\n' for i in range(rows)))
    return key


def outcomes(dev: Dev, run: MapRun) -> list[dict[str, Any]]:
    """Every line of every result file."""
    bucket = Path(dev.places["dataDir"]) / "s3" / run.result_location.bucket
    manifest = json.loads((bucket / run.result_location.manifest_key).read_text())
    files = [file["Key"] for kind in ("SUCCEEDED", "FAILED") for file in manifest["ResultFiles"][kind]]
    return [json.loads(line) for key in files for line in (bucket / key).read_text().splitlines()]


@pytest.mark.usefixtures("surroundings")
def test_every_row_has_the_outcome_that_the_function_gave_it(dev: Dev, client: Client) -> None:
    threads: set[str] = set()

    def handle(batch: Batch) -> list[Any]:
        threads.add(threading.current_thread().name)
        assert batch.batch_input == {"factor": 3} and batch.deadline is not None
        for item in batch.items:
            if int(item["id"]) % 100 == 7:
                batch.fail(item, "Bad", f"no luck with {item['名前']}")
        return [int(item["id"]) * int(batch.batch_input["factor"]) for item in batch.items]

    name = fresh_id()
    job = dev.job(put_rows(dev), "user-stats", toleratedFailurePercentage=100)
    job["itemBatcher"] = {"maxItemsPerBatch": 25, "batchInput": {"factor": 3}}
    with running(dev, "user-stats", handle, slots=4):
        client.submit(job, map_run_id=name)
        run = client.wait(name, timeout=60)

    assert run.state == MapRun.SUCCEEDED, run.error
    counts = run.item_counts
    assert (counts.total, counts.succeeded, counts.failed) == (ROWS, ROWS - 20, 20)
    assert 1 <= len(threads) <= 4
    lines = outcomes(dev, run)
    assert sorted(line["index"] for line in lines) == list(range(ROWS))
    for line in lines:
        index = line["index"]
        if index % 100 == 7:
            assert (line["error"], line["cause"], line["kind"]) == ("Bad", f"no luck with n, {index}", "BUSINESS")
        else:
            assert line["output"] == index * 3
    assert {failure.index for failure in client.failures(name)} == set(range(7, ROWS, 100))


@pytest.mark.usefixtures("surroundings")
def test_what_a_function_raises_fails_its_batch_and_is_retried_by_its_name(dev: Dev, client: Client) -> None:
    attempts: list[int] = []

    def handle(batch: Batch) -> None:
        attempts.append(batch.attempt)
        if batch.batch_number == 0 and batch.attempt == 1:
            raise BatchError("Upstream.Busy", "later")
        if batch.batch_number == 1:
            raise KeyError("名前")

    name = fresh_id()
    job = dev.job("ten.csv", "raises", maxBatchSize=5, toleratedFailurePercentage=100)
    job["itemProcessor"]["retry"] = [{"errorEquals": ["Upstream.*"], "intervalSeconds": 1, "maxAttempts": 2}]
    with running(dev, "raises", handle):
        client.submit(job, map_run_id=name)
        run = client.wait(name, timeout=60)
    assert (run.item_counts.succeeded, run.item_counts.failed) == (5, 5)
    assert sorted(attempts) == [1, 1, 2]
    failures = list(client.failures(name))
    assert {(failure.error, failure.cause) for failure in failures} == {("KeyError", "'名前'")}
    assert {failure.kind for failure in failures} == {2}


@pytest.mark.usefixtures("surroundings")
def test_a_batch_that_takes_too_long_is_told_so(dev: Dev, client: Client) -> None:
    cancelled = threading.Event()

    def handle(batch: Batch) -> None:
        eventually("the batch is cancelled", batch.cancelled)
        cancelled.set()

    name = fresh_id()
    job = dev.job("ten.csv", "slow")
    job["itemProcessor"]["timeoutSeconds"] = 1
    with running(dev, "slow", handle, slots=1):
        client.submit(job, map_run_id=name)
        run = client.wait(name, timeout=60)
        assert cancelled.wait(60)
    assert run.state == MapRun.FAILED and run.item_counts.timed_out == 10


# Notes each call in `calls`; the first one waits until the file `go` is there.
SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from conftest import eventually
from pathlib import Path
from warifu import Worker
worker = Worker(slots=1, id="python-w", settings={"s3": S3, "worker": {"state_dir": "state"}})
@worker.handler("careful")
def handle(batch):
    with open("begun", "a") as begun:
        begun.write(f"{batch.batch_number}\\n")
    eventually("it may go on", Path("go").exists)
    with open("calls", "a") as calls:
        calls.write(f"{batch.batch_number}\\n")
worker.run()
"""


def start(dev: Dev, directory: Path) -> Process:
    environment = {**dev.environment, "WARIFU_WORKER": binary("warifu-worker"), "WARIFU_ENDPOINT": dev.endpoint}
    script = SCRIPT.replace("S3", repr(dev.s3), 1)
    return Process([sys.executable, "-c", script, str(Path(__file__).parent)], directory, environment)


def numbers_in(file: Path) -> Counter[int]:
    return Counter(int(line) for line in file.read_text().split()) if file.exists() else Counter()


def test_sigterm_lets_a_function_finish_and_gives_the_rest_back(dev: Dev, client: Client, tmp_path: Path) -> None:
    name = fresh_id()
    process = start(dev, tmp_path)
    try:
        client.submit(dev.job("ten.csv", "careful", maxBatchSize=1), map_run_id=name)
        eventually("the first batch has begun", lambda: numbers_in(tmp_path / "begun"))
        process.child.terminate()
        eventually("the worker drains", lambda: not [w for w in client.workers() if w.name == "workers/python-w" and w.state == 1])
        (tmp_path / "go").touch()
        assert process.child.wait(60) == 0, process.said()
    finally:
        process.kill()
    done = numbers_in(tmp_path / "calls")
    run = client.get(name)
    assert run.item_counts.succeeded == len(done) == 1, process.said()

    process = start(dev, tmp_path)
    try:
        assert client.wait(name, timeout=60).state == MapRun.SUCCEEDED
    finally:
        assert process.end() == 0, process.said()
    assert numbers_in(tmp_path / "calls") == Counter(range(10))


def test_a_process_that_is_killed_is_a_loss_and_no_failure(dev: Dev, client: Client, tmp_path: Path) -> None:
    name = fresh_id()
    process = start(dev, tmp_path)
    try:
        client.submit(dev.job("ten.csv", "careful", maxBatchSize=1), map_run_id=name)
        eventually("the first batch has begun", lambda: numbers_in(tmp_path / "begun"))
    finally:
        process.kill()
    (tmp_path / "go").touch()
    process = start(dev, tmp_path)
    try:
        run = client.wait(name, timeout=60)
    finally:
        assert process.end() == 0, process.said()
    # No failed item is tolerated.
    assert run.state == MapRun.SUCCEEDED and run.item_counts.succeeded == 10
    assert numbers_in(tmp_path / "calls") == Counter(range(10))
