"""Calls to a real coordinator."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import grpc
import pytest

from conftest import Coordinator, Dev, eventually, free_port
from warifu import CallError, Client, MapRun, is_terminal

_numbers = itertools.count()


def fresh_id() -> str:
    return f"python-{next(_numbers)}"


def test_a_run_goes_from_submit_to_delete(dev: Dev, client: Client) -> None:
    name = fresh_id()
    job = dev.job("ten.csv", "echo", maxBatchSize=3, labels={"team": "data"})
    del job["resultWriter"]
    run = client.submit(job, map_run_id=name)
    assert run.name == f"mapRuns/{name}"
    assert client.submit(job, map_run_id=name).uid == run.uid

    snapshots = list(client.watch(name))
    assert snapshots[-1].state == MapRun.SUCCEEDED
    assert not any(is_terminal(snapshot) for snapshot in snapshots[:-1])
    ended = client.wait(name)
    assert ended.item_counts.succeeded == ended.item_counts.total == 10
    assert len(ended.outputs) == 10
    assert client.get(run.name).uid == run.uid

    assert run.name in [found.name for found in client.list(states=["SUCCEEDED"], labels={"team": "data"})]
    assert list(client.list(states=[MapRun.FAILED], labels={"team": "data"})) == []
    client.delete(name)
    with pytest.raises(CallError) as gone:
        client.get(name)
    assert gone.value.code is grpc.StatusCode.NOT_FOUND
    assert (gone.value.reason, gone.value.attempts) == ("MAP_RUN_NOT_FOUND", 1)


def test_a_job_file_is_checked_without_creating_anything(dev: Dev, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "itemReader: {bucket: input, key: ten.csv, readerConfig: {inputType: CSV}}\nitemProcessor: {handler: echo}\n"
    )
    name = fresh_id()
    assert len(client.submit(file, map_run_id=name, dry_run=True).preview_events) >= 1
    with pytest.raises(CallError, match="there is no map run"):
        client.get(name)
    assert client.submit(file).name.startswith("mapRuns/run-")


def test_errors_say_what_is_wrong(dev: Dev, client: Client) -> None:
    with pytest.raises(CallError) as invalid:
        client.submit(dev.job("ten.csv", "", toleratedFailurePercentage=101))
    assert invalid.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert invalid.value.reason == "INVALID_REQUEST"
    fields = {violation.field for violation in invalid.value.violations}
    assert "spec.item_processor.handler" in fields and len(fields) == 2
    assert "spec.item_processor.handler: " in str(invalid.value)
    assert not invalid.value.is_unreachable

    with pytest.raises(CallError) as missing:
        client.submit(dev.job("none.csv", "echo"))
    assert missing.value.reason == "SOURCE_NOT_FOUND"
    with pytest.raises(CallError) as unavailable:
        client.submit(dev.job("ten.csv", "nobody-has-it"), require_handler=True)
    assert unavailable.value.reason == "HANDLER_NOT_AVAILABLE"

    name = fresh_id()
    client.submit(dev.job("ten.csv", "echo"), map_run_id=name)
    with pytest.raises(CallError) as taken:
        client.submit(dev.job("ten.csv", "noop"), map_run_id=name)
    assert taken.value.reason == "MAP_RUN_EXISTS"
    client.wait(name)
    with pytest.raises(CallError) as ended:
        client.stop(name)
    assert (ended.value.reason, ended.value.metadata["state"]) == ("WRONG_STATE", "SUCCEEDED")
    with pytest.raises(CallError) as whole:
        client.redrive(name)
    assert whole.value.reason == "WRONG_STATE"


def test_a_run_without_a_worker_is_updated_stopped_and_redriven(dev: Dev, client: Client) -> None:
    name = fresh_id()
    run = client.submit(dev.job("ten.csv", "nobody-has-it", maxConcurrency=5, toleratedFailureCount=3), map_run_id=name)
    assert "HANDLER_NOT_AVAILABLE" in str(run.warnings)
    changed = client.update(name, max_concurrency=None, tolerated_failure_percentage=12.5).spec
    assert (changed.max_concurrency, changed.tolerated_failure_count) == (0, 3)
    assert changed.tolerated_failure_percentage == 12.5

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="it goes on"):
        client.wait(name, timeout=0.2)
    with pytest.raises(TimeoutError):
        client.wait(name, timeout=0)
    assert time.monotonic() - began < 10

    client.stop(name, cause="enough")
    ended = client.wait(name, timeout=30)
    assert ended.state == MapRun.ABORTED and "enough" in ended.error.cause
    assert client.redrive(name, dry_run=True).item_counts.pending == 10
    assert client.get(name).state == MapRun.ABORTED
    assert client.redrive(name, tolerated_failure_count=None).redrive_count == 1
    client.stop(name)
    client.wait(name)


def test_failures_are_listed_over_pages(dev: Dev, client: Client) -> None:
    name = fresh_id()
    dev.put("many.csv", "id\n" + "".join(f"{i}\n" for i in range(120)))
    client.submit(dev.job("many.csv", "refuse", toleratedFailurePercentage=100), map_run_id=name)
    assert client.wait(name).item_counts.failed == 120
    failures = list(client.failures(name))
    assert sorted(failure.index for failure in failures) == list(range(120))
    assert {(failure.error, failure.cause, failure.item) for failure in failures} == {("Refused", "no", "")}
    full = list(client.failures(name, error="Refused", full=True))
    assert {failure.record for failure in full} == {b"%d\n" % i for i in range(120)}
    assert list(client.failures(name, error="Other")) == []


def test_an_endpoint_where_nobody_is_fails_within_its_time() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", retry_timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(CallError) as unreachable:
            client.get("a")
        assert time.monotonic() - began < 10
    assert unreachable.value.is_unreachable and unreachable.value.attempts > 1
    assert unreachable.value.reason is None


def test_the_environment_names_coordinator_and_token(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARIFU_ENDPOINT", dev.endpoint)
    monkeypatch.setenv("WARIFU_TOKEN", " secret \n")
    with Client() as client:
        assert client.endpoint == dev.endpoint
        assert len(list(client.workers())) >= 1
    monkeypatch.delenv("WARIFU_ENDPOINT")
    with Client() as client:
        assert client.endpoint == "http://127.0.0.1:7400"
    with pytest.raises(ValueError, match="the token"):
        Client(token="a\nb")
    for endpoint in ("127.0.0.1:7400", "ftp://a:1", "http://", "http://a:1/path"):
        with pytest.raises(ValueError, match="is no endpoint"):
            Client(endpoint)
    with pytest.raises(ValueError, match="ca_cert"):
        Client("http://a:1", ca_cert="ca.pem")


def test_a_call_waits_for_a_coordinator_that_is_started_anew(coordinator: Coordinator, dev: Dev) -> None:
    with Client(coordinator.endpoint, retry_timeout=60) as client:
        job = dev.job("ten.csv", "nobody-has-it")
        created = client.submit(job, map_run_id="a")
        coordinator.process.kill()
        answers: list[MapRun] = []
        caller = threading.Thread(target=lambda: answers.append(client.submit(job, map_run_id="a")))
        caller.start()
        coordinator.start()
        caller.join(60)
        assert [answer.uid for answer in answers] == [created.uid]


def test_watch_and_wait_go_on_over_a_restart(coordinator: Coordinator, dev: Dev) -> None:
    with Client(coordinator.endpoint) as client:
        client.submit(dev.job("ten.csv", "nobody-has-it"), map_run_id="a")
        snapshots: list[MapRun] = []
        ends: list[MapRun] = []
        watcher = threading.Thread(target=lambda: snapshots.extend(client.watch("a")))
        first = client.watch("a")
        assert next(first).state in (MapRun.QUEUED, MapRun.RUNNING)
        waiter = threading.Thread(target=lambda: ends.append(client.wait("a")))
        watcher.start()
        waiter.start()
        eventually("the watch has begun", lambda: len(snapshots))
        coordinator.process.kill()
        coordinator.start()
        client.stop("a")
        rest = list(first)
        watcher.join(60)
        waiter.join(60)
        assert rest[-1].state == snapshots[-1].state == ends[0].state == MapRun.ABORTED
        assert sum(is_terminal(snapshot) for snapshot in rest) == 1


def test_a_watch_that_is_left_ends(dev: Dev, client: Client) -> None:
    name = fresh_id()
    client.submit(dev.job("ten.csv", "nobody-has-it"), map_run_id=name)
    for snapshot in client.watch(name):
        assert not is_terminal(snapshot)
        break
    client.stop(name)
    assert client.wait(name).state == MapRun.ABORTED
