"""Serves handlers to the `warifu-worker` of this process over HTTP on loopback, on a bounded number of threads."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

from waitress import create_server, wasyncore

from warifu.batch import Batch, read_event, write_answer, write_error

Handler = Callable[[Batch], Any]

# Carries what only this process and its worker know: anyone on the machine may connect to a port of loopback.
SECRET_HEADER = "Warifu-Secret"
# Lambda's own sign that a function failed. By a status the worker would name the failure after that, and not as it is.
_FUNCTION_ERROR = ("X-Amz-Function-Error", "Unhandled")
# When nobody waits any more, in milliseconds since 1970.
_DEADLINE_VARIABLE = "HTTP_WARIFU_DEADLINE"
_SECRET_VARIABLE = "HTTP_WARIFU_SECRET"
# Handlers that still run when the worker has ended are waited for so long, in seconds: nobody takes their answers.
_END_WITHIN = 5.0
# Requests up to so many bytes stay in memory: larger than any batch but one of a single large item.
_IN_MEMORY_BYTES = 4 * 1024 * 1024
# Idle connections are the worker's to close: if the server did so, a call could meet the end of its connection and fail.
_IDLE_TIMEOUT = 30 * 86_400
# Connections beyond one for each call: those that the worker closes, and strangers'.
_SPARE_CONNECTIONS = 64

_log = logging.getLogger("warifu")


class _Response(NamedTuple):
    status: str
    body: bytes = b"null"
    headers: tuple[tuple[str, str], ...] = ()


class HandlerServer:
    """Handlers by name on a port of loopback. Every request needs the secret that `headers` holds.

    As many threads as there are slots: a handler that goes on after its call was given up takes up a thread until it
    returns, and the next call waits for it.
    """

    def __init__(self, handlers: Mapping[str, Handler], slots: int) -> None:
        self._handlers = dict(handlers)
        self._secret = secrets.token_hex(32)
        self._ending = threading.Event()
        self._connections: dict[int, Any] = {}
        self._server = create_server(
            self._answer,
            map=self._connections,
            host="127.0.0.1",
            port=0,
            threads=slots,
            connection_limit=2 * slots + _SPARE_CONNECTIONS,
            inbuf_overflow=_IN_MEMORY_BYTES,
            channel_timeout=_IDLE_TIMEOUT,
            # Notices that the worker hung up while the handler runs.
            channel_request_lookahead=1,
            asyncore_use_poll=True,
            ident="warifu",
        )
        self._thread = threading.Thread(target=self._server.run, name="warifu-http", daemon=True)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every request must have."""
        return {SECRET_HEADER: self._secret}

    def url(self, name: str) -> str:
        """Where a handler is."""
        return f"http://127.0.0.1:{self._server.effective_port}/{quote(name, safe='')}"

    def __enter__(self) -> HandlerServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._server.task_dispatcher.shutdown(timeout=_END_WITHIN)
        # Its loop owns the connections, and ends when there are none.
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._connections))
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._respond(environ)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(response.body)))]
        start_response(response.status, [*headers, *response.headers])
        return [response.body]

    def _respond(self, environ: dict[str, Any]) -> _Response:
        # Bytes, as a header may hold characters that are not ASCII.
        given = environ.get(_SECRET_VARIABLE, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._secret.encode()):
            return _Response("403 Forbidden")
        handler = self._handlers.get(environ["PATH_INFO"].removeprefix("/"))
        if handler is None or environ["REQUEST_METHOD"] != "POST":
            return _Response("404 Not Found")
        return self._call(handler, environ)

    def _call(self, handler: Handler, environ: dict[str, Any]) -> _Response:
        has_hung_up: Callable[[], bool] = environ["waitress.client_disconnected"]
        event = environ["wsgi.input"].read()
        batch = read_event(event, environ.get(_DEADLINE_VARIABLE), lambda: self._ending.is_set() or has_hung_up())
        if batch.cancelled():
            # It waited for a thread until it was given up.
            return _Response("503 Service Unavailable")
        try:
            return _Response("200 OK", write_answer(batch, handler(batch)))
        except BaseException as error:
            _log.exception("a handler failed on batch %s of %s", batch.batch_number, batch.map_run_id)
            return _Response("200 OK", write_error(error), (_FUNCTION_ERROR,))
