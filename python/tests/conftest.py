"""Real servers for the tests: everything in one process, and a coordinator of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from warifu import CallError, Client

REPOSITORY = Path(__file__).resolve().parents[2]
# Far beyond what anything here takes, so that only a hang reaches it.
DEADLINE = 60.0
_TICK = threading.Event()

# A handler of `warifu dev` that fails each item.
_REFUSE = """
[handlers.refuse]
type = "exec"
command = ["sed", 's/.*/{"warifu:error":{"errorType":"Refused","errorMessage":"no"}}/']
"""

T = TypeVar("T")


def binary(name: str) -> str:
    """A program that was built: in WARIFU_BIN_DIR, else in cargo's target directory."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = Path(os.environ.get("WARIFU_BIN_DIR", target / "debug")) / name
    assert path.is_file(), f"there is no {path}; cargo build -p warifu-cli -p warifu-coordinator -p warifu-worker"
    return str(path)


def eventually(what: str, condition: Callable[[], T | None]) -> T:
    """The first value that is neither None nor False."""
    give_up_at = time.monotonic() + DEADLINE
    while time.monotonic() < give_up_at:
        value = condition()
        if value:
            return value
        _TICK.wait(0.02)
    raise AssertionError(f"not within {DEADLINE:g} s: {what}")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what configures Warifu and S3, and with `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WARIFU_", "AWS_")) and k != "RUST_LOG"}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **more}


class Process:
    """A process of the test. What it says is in a file."""

    def __init__(self, command: list[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.log = directory / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def is_running(self) -> bool:
        return self.child.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal, and returns the exit status."""
        self.child.send_signal(number)
        return self.child.wait(DEADLINE)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


@dataclass
class Dev:
    """`warifu dev` in a directory of its own."""

    process: Process
    directory: Path
    places: dict[str, Any]

    @property
    def endpoint(self) -> str:
        return str(self.places["endpoint"])

    @property
    def s3(self) -> dict[str, str | bool]:
        """The section of a configuration that reaches its S3."""
        return {"endpoint_url": self.places["s3Endpoint"], "region": self.places["region"], "force_path_style": True}

    @property
    def environment(self) -> dict[str, str]:
        """What a worker or coordinator beside it needs."""
        return clean_environment(
            AWS_ACCESS_KEY_ID=self.places["accessKey"], AWS_SECRET_ACCESS_KEY=self.places["secretKey"]
        )

    def put(self, key: str, content: str) -> None:
        """An object in the bucket `input`."""
        (Path(self.places["dataDir"]) / "s3" / "input" / key).write_text(content)

    def job(self, key: str, handler: str, **more: Any) -> dict[str, Any]:
        """A job over an object of the bucket `input`, with results: without them failures go where only `dev` can write."""
        return {
            "itemReader": {"bucket": "input", "key": key, "readerConfig": {"inputType": "CSV"}},
            "itemProcessor": {"handler": handler},
            "resultWriter": {"bucket": "output", "prefix": "python"},
            **more,
        }


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    directory = tmp_path_factory.mktemp("dev")
    ports = directory / "data" / "ports.json"
    (directory / "worker.toml").write_text(_REFUSE)
    command = [binary("warifu"), "dev", "--port-base", "0", "--data-dir", "data", "--workers", "1", "--slots", "4"]
    process = Process(command, directory, clean_environment())
    try:

        def places() -> Any:
            assert process.is_running(), process.said()
            try:
                return json.loads(ports.read_text())
            except (OSError, ValueError):
                return None

        server = Dev(process, directory, eventually("`warifu dev` writes ports.json", places))
        server.places["dataDir"] = str(directory / "data")
        server.put("ten.csv", "id,name\n" + "".join(f"{i},n{i}\n" for i in range(10)))
        yield server
        assert process.end() == 0, process.said()
    finally:
        process.kill()


@pytest.fixture
def client(dev: Dev) -> Iterator[Client]:
    with Client(dev.endpoint) as connected:
        yield connected


class Coordinator:
    """A `warifu-coordinator` that can be killed and started anew on the same port."""

    def __init__(self, dev: Dev, directory: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._directory, self._environment = directory, dev.environment
        s3 = "\n".join(f"{key} = {json.dumps(value)}" for key, value in dev.s3.items())
        (directory / "coordinator.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:{self.port}"\nhttp_listen = "127.0.0.1:0"\n'
            f'[store]\ntype = "sqlite"\npath = "{directory / "state.db"}"\n'
            f'[s3]\n{s3}\nsystem_bucket = "output"\n'
        )
        self.start()

    def start(self) -> None:
        command = [binary("warifu-coordinator"), "--config", "coordinator.toml"]
        self.process = Process(command, self._directory, self._environment)
        eventually("the coordinator answers", self._answers)

    def _answers(self) -> bool:
        assert self.process.is_running(), self.process.said()
        with Client(self.endpoint, retry_timeout=0) as client:
            try:
                next(client.list(), None)
                return True
            except CallError as error:
                assert error.is_unreachable, error
                return False


@pytest.fixture
def coordinator(dev: Dev, tmp_path: Path) -> Iterator[Coordinator]:
    started = Coordinator(dev, tmp_path)
    try:
        yield started
    finally:
        started.process.kill()


@pytest.fixture(autouse=True)
def _surroundings_configure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WARIFU_", "AWS_")) and name != "WARIFU_BIN_DIR":
            monkeypatch.delenv(name)


def python(script: str, *arguments: str) -> list[str]:
    """The command line of a script of this directory."""
    return [sys.executable, str(Path(__file__).parent / script), *arguments]
