"""Makes Python functions handlers of a worker.

Leases, scanning, reading and results are the work of the program `warifu-worker`, which `Worker.run` starts. It calls the
functions of this process over HTTP on loopback, one call for each batch.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from warifu._program import DRAIN, ENDED_AT_ONCE, Program, find_program
from warifu._server import Handler, HandlerServer
from warifu.errors import WorkerError

# What the program takes for names.
_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,128}")
_BUILT_IN = ("echo", "noop")
_MOST_SLOTS = 4096
# An answer to one batch, as with exec: many times what goes in.
_MOST_ANSWER_BYTES = 32 * 1024 * 1024

Function = TypeVar("Function", bound=Handler)
Value = str | int | bool | Sequence[str]
Settings = Mapping[str, Mapping[str, Value]]


class Worker:
    """A worker whose handlers are functions of this process."""

    def __init__(
        self,
        slots: int = 8,
        endpoint: str | Sequence[str] | None = None,
        *,
        id: str | None = None,
        settings: Settings | None = None,
        program: str | os.PathLike[str] | None = None,
        token_file: str | os.PathLike[str] | None = None,
        ca_cert: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        """Checks its arguments; nothing starts before `run`.

        `slots` is how many batches run at once, each on a thread of its own. `endpoint` is a coordinator or several;
        absent: WARIFU_ENDPOINT, else what the program's own configuration says. `id` is a name that is stable over
        restarts. `settings` are further sections and keys of worker.toml, such as `{"s3": {"endpoint_url": "…"}}`; the
        environment stands over them. `program` is the path of `warifu-worker`.
        `token_file` holds the worker's bearer token; absent: WARIFU_TOKEN, if it is set. For https:// endpoints,
        `ca_cert` is a file with the certificates that they are checked against, in place of the system's; `cert` and
        `key` are files with the worker's own. All are read again when they change.
        """
        if not 1 <= slots <= _MOST_SLOTS:
            raise ValueError(f"slots must be 1 to {_MOST_SLOTS}")
        if settings and "handlers" in settings:
            raise ValueError("handlers are functions; give others to a worker of their own")
        self._slots = slots
        self._endpoints = _endpoints(endpoint)
        self._id = id
        secured = _security(token_file, ca_cert, cert, key)
        if twice := secured.keys() & (settings or {}).keys():
            raise ValueError(f"the section {min(twice)} is in settings, too: say it once")
        self._settings = {**(settings or {}), **secured}
        self._program_path = program
        self._handlers: dict[str, Handler] = {}
        self._program: Program | None = None
        self._stopping = False
        # Taken once, as each further request to drain ends the program at once.
        self._drain = threading.Lock()
        self._running = threading.Lock()

    def handler(self, name: str) -> Callable[[Function], Function]:
        """Makes a function the handler that jobs call `name`.

        The function gets a `Batch` and returns a list with one output for each item, or None. Single items fail by
        `batch.fail`; an exception fails the whole batch under its class's name. It is called on several threads at once.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no handler's name: 1 to 128 of letters, digits, '-', '_' and '.'")
        if name in _BUILT_IN or name in self._handlers:
            raise ValueError(f"there is a handler {name!r} already")

        def register(function: Function) -> Function:
            self._handlers[name] = function
            return function

        return register

    def run(self) -> None:
        """Runs batches until the worker is drained: by SIGTERM, Ctrl-C, `stop`, or `warifu drain`.

        Then nothing new begins, handlers finish, and it returns. A second signal ends it at once (KeyboardInterrupt, or
        SystemExit for SIGTERM). Signals are taken only in the main thread; in another one, call `stop`. Raises
        WorkerError if the program is not there or ends with an error.
        """
        if not self._handlers:
            raise ValueError("the worker has no handlers")
        if self._stopping:
            return
        if not self._running.acquire(blocking=False):
            raise RuntimeError("the worker runs already")
        try:
            path = find_program(self._program_path)
            with tempfile.TemporaryDirectory(prefix="warifu-") as directory, HandlerServer(
                self._handlers, self._slots
            ) as server:
                self._run_program(path, self._write_config(Path(directory), server))
        finally:
            self._running.release()

    def stop(self) -> None:
        """Drains the worker; `run` returns once it is done, and at once ever after. Safe to repeat, and in any thread."""
        self._stopping = True
        program = self._program
        if program is not None and self._drain.acquire(blocking=False):
            program.drain()

    def _run_program(self, path: str, config: Path) -> None:
        signals: list[int] = []
        with self._signals_taken(signals):
            program = self._program = Program(path, self._arguments(config))
            try:
                if self._stopping:
                    # It was stopped before there was anything to stop.
                    self.stop()
                status = program.wait()
            finally:
                self._program = None
                program.kill()
        if len(signals) > 1 and status in (-DRAIN, ENDED_AT_ONCE):
            raise KeyboardInterrupt if signals[-1] == signal.SIGINT else SystemExit(128 + signals[-1])
        if status != 0 and not (self._stopping and status == -DRAIN):
            raise WorkerError(f"{path} ended with {_shown(status)}; its log on standard error says why")

    @contextmanager
    def _signals_taken(self, signals: list[int]) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains, each further one is passed on; `signals` gathers them."""

        def take(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            self.stop()
            if len(signals) > 1 and self._program is not None:
                self._program.drain()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, take) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, action in before.items():
                # None: it was not set by Python, and cannot be set again.
                signal.signal(number, signal.SIG_DFL if action is None else action)

    def _arguments(self, config: Path) -> list[str]:
        """Flags, because they stand over the environment."""
        arguments = ["--config", str(config), "--slots", str(self._slots)]
        arguments += [part for endpoint in self._endpoints for part in ("--endpoint", endpoint)]
        return arguments + (["--id", self._id] if self._id is not None else [])

    def _write_config(self, directory: Path, server: HandlerServer) -> Path:
        sections: dict[str, Mapping[str, Any]] = dict(self._settings)
        for name in self._handlers:
            sections[f'handlers."{name}"'] = {
                "type": "http",
                "url": server.url(name),
                # Its errors have names of their own; those of `plain` are named after the status.
                "protocol": "lambda",
                "event_format": "warifu",
                "max_response_bytes": _MOST_ANSWER_BYTES,
                "headers": server.headers,
            }
        path = directory / "worker.toml"
        # It holds the secret: nobody else may read it, from its first byte on.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_toml(sections))
        return path


_File = str | os.PathLike[str] | None


def _security(token_file: _File, ca_cert: _File, cert: _File, key: _File) -> dict[str, Mapping[str, Any]]:
    """The sections of worker.toml that name these files."""
    if (cert is None) != (key is None):
        raise ValueError("cert and key go together")
    sections = {
        "coordinator": {"token_file": token_file},
        "tls": {"ca_file": ca_cert, "cert_file": cert, "key_file": key},
    }
    given = {
        name: {field: os.path.abspath(file) for field, file in files.items() if file is not None}
        for name, files in sections.items()
    }
    return {name: files for name, files in given.items() if files}


def _endpoints(endpoint: str | Sequence[str] | None) -> list[str]:
    if endpoint is None:
        endpoint = os.environ.get("WARIFU_ENDPOINT") or []
    return [endpoint] if isinstance(endpoint, str) else list(endpoint)


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    tables = []
    for section, values in sections.items():
        lines = [f"{key} = {_toml_value(value)}" for key, value in values.items()]
        tables.append("\n".join([f"[{section}]", *lines, ""]))
    return "\n".join(tables)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_toml_value(str(key))} = {_toml_value(child)}" for key, child in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, str):
        # A basic string of TOML is a string of JSON, but for one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (bool, int)):
        return json.dumps(value)
    return "[" + ", ".join(_toml_value(child) for child in value) + "]"


def _shown(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
