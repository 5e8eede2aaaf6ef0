"""The connection to a coordinator: endpoint, token, limits, and which calls are made again."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc

from warifu.errors import CallError, call_error

DEFAULT_ENDPOINT = "http://127.0.0.1:7400"
# One attempt at a call that answers at once. It is cut off only when the other side hangs.
CALL_TIMEOUT = 30.0

# The first pause before a call is made again, in seconds; it doubles up to the longest.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024

# As every connection of Warifu's: a peer that vanished is noticed within 15 s. No proxy stands between, whatever the
# environment says, and a coordinator that comes back is found again within a second.
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    # Whether a call may be made again is decided here.
    ("grpc.enable_retries", 0),
)

Answer = TypeVar("Answer")
Metadata = tuple[tuple[str, str], ...]


def endpoint_or_default(endpoint: str | None) -> str:
    """The endpoint that is given, else that of the environment."""
    return endpoint or os.environ.get("WARIFU_ENDPOINT") or DEFAULT_ENDPOINT


File = str | os.PathLike[str]


def open_channel(endpoint: str, ca_cert: File | None, cert: File | None = None, key: File | None = None) -> grpc.Channel:
    """A channel that connects with its first call. Raises ValueError for what is no endpoint."""
    if (cert is None) != (key is None):
        raise ValueError("cert and key go together")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{endpoint!r} is no endpoint: write http://host:port")
    if parts.scheme == "http":
        if ca_cert is not None or cert is not None:
            raise ValueError("ca_cert, cert and key are for endpoints that begin with https://")
        return grpc.insecure_channel(parts.netloc, _OPTIONS)
    roots, chain, private = (None if file is None else Path(file).read_bytes() for file in (ca_cert, cert, key))
    return grpc.secure_channel(parts.netloc, grpc.ssl_channel_credentials(roots, private, chain), _OPTIONS)


def authorization(token: str | None) -> Metadata:
    """The metadata that carries a token: the one that is given, else that of the environment."""
    token = (token if token is not None else os.environ.get("WARIFU_TOKEN", "")).strip()
    if not token:
        return ()
    if not (token.isascii() and token.isprintable()):
        raise ValueError("the token holds characters that no token has")
    return (("authorization", f"Bearer {token}"),)


class Pauses:
    """Pauses between attempts, until a time from the first failure on has passed."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Begins anew: something was heard."""
        self._give_up_at: float | None = None
        self._pause = _FIRST_PAUSE

    def wait_or_raise(self, failure: CallError, until: float | None = None) -> None:
        """Pauses, at most `until` a monotonic time; raises `failure` once the limit is reached."""
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + self._limit
        pause = max(self._pause * random.uniform(0.5, 1.0), failure.retry_delay or 0.0)
        if now + pause > self._give_up_at:
            raise failure
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        time.sleep(pause if until is None else max(0.0, min(pause, until - now)))


def call_again_while_unreachable(call: Callable[..., Answer], request: Any, metadata: Metadata, limit: float) -> Answer:
    """Makes a call that is safe to repeat, again and again for at most `limit` seconds after the first failure."""
    pauses = Pauses(limit)
    for attempt in itertools.count(1):
        try:
            return call(request, timeout=CALL_TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            failure = call_error(error, attempt)
            if not (failure.is_unreachable or failure.is_outcome_unknown):
                raise failure from error
            pauses.wait_or_raise(failure)
    raise AssertionError("the attempts do not end by themselves")
