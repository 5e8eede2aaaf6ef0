"""What a handler gets, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from warifu.errors import WarifuError


class BatchError(WarifuError):
    """Raised by a handler: its whole batch fails as SYSTEM, under a name that the job's retry policy may list."""

    def __init__(self, error_type: str, message: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type


@dataclass(frozen=True)
class ItemError:
    """One item that failed, as BUSINESS: the others of its batch did not."""

    index: int
    """The item's index over the whole data set."""
    type: str
    """A failure name, at most 256 bytes."""
    message: str
    """What happened, at most 1 KiB."""
    retryable: bool = False
    """Whether the job's retry policy applies, although the item is at fault."""


@dataclass(frozen=True)
class Batch:
    """Consecutive items in one attempt; a later attempt has only those that are undecided."""

    items: list[Any]
    """The items; of a CSV a dict of strings each."""
    indexes: list[int]
    """Each item's index over the whole data set."""
    batch_input: dict[str, Any]
    """The job's `batchInput`; empty if it has none."""
    map_run_id: str
    batch_number: int
    """The batch's number over the whole data set."""
    attempt: int
    """From 1."""
    round: int
    """From 0; grows when an attempt that was answered leaves items to send again."""
    idempotency_key: str
    """The batch's own: the same as long as it is not known what took effect."""
    item_idempotency_keys: list[str]
    """Each item's own."""
    deadline: datetime | None = None
    """When nobody waits any more; None if the worker does not say."""
    traceparent: str | None = None
    """The place in a trace that the handler continues, as W3C Trace Context writes it; None if the run is part of none."""
    item_errors: list[ItemError] = field(default_factory=list)
    """Items that failed so far."""
    _is_cancelled: Callable[[], bool] = field(default=lambda: False, repr=False)

    def fail(self, item: Any, type: str, message: str = "", retryable: bool = False) -> ItemError:
        """Says that an item failed: one of `items` itself, or its index as in `indexes`.

        Raises ValueError for what is neither. The item's output, if any, does not count. Threads may call it.
        """
        error = ItemError(self._index_of(item), type, message, retryable)
        self.item_errors.append(error)
        return error

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: a timeout passed, or the run is stopping."""
        return self._is_cancelled()

    def _index_of(self, item: Any) -> int:
        for index, candidate in zip(self.indexes, self.items, strict=True):
            if candidate is item:
                return index
        if isinstance(item, int) and not isinstance(item, bool) and item in self.indexes:
            return item
        equal = [index for index, candidate in zip(self.indexes, self.items, strict=True) if candidate == item]
        if len(equal) != 1:
            raise ValueError("name one of the batch's items, or its index as in batch.indexes")
        return equal[0]


def read_event(event: bytes, deadline_ms: str | None, is_cancelled: Callable[[], bool]) -> Batch:
    """Reads an event of the worker; `deadline_ms` is in milliseconds since 1970."""
    fields = json.loads(event)
    batch = fields["batch"]
    return Batch(
        items=fields["items"],
        indexes=batch["indexes"],
        batch_input=fields["batchInput"],
        map_run_id=batch["mapRunId"],
        batch_number=batch["batchNumber"],
        attempt=batch["attempt"],
        round=batch["round"],
        idempotency_key=batch["idempotencyKey"],
        item_idempotency_keys=batch["itemIdempotencyKeys"],
        deadline=datetime.fromtimestamp(int(deadline_ms) / 1000, timezone.utc) if deadline_ms else None,
        traceparent=batch.get("traceparent"),
        _is_cancelled=is_cancelled,
    )


def write_answer(batch: Batch, output: Any) -> bytes:
    """The answer to the worker: what the handler returned, and the items that it says failed.

    Raises TypeError or ValueError for outputs that JSON has no form for.
    """
    if output is not None and not isinstance(output, (list, tuple)):
        found = type(output).__name__
        raise TypeError(f"a handler returns a list with one output for each item, or None, and not {found}")
    answer: dict[str, Any] = {}
    if output is not None:
        if len(output) != len(batch.items):
            wanted = len(batch.items)
            raise ValueError(f"a handler returns one output for each item: {wanted}, and not {len(output)}")
        answer["results"] = output
    if batch.item_errors:
        answer["batchItemFailures"] = [_item_failure(error) for error in _first_of_each(batch.item_errors)]
    return _json(answer) if answer else b"null"


def write_error(error: BaseException) -> bytes:
    """What the worker is told of a batch whose handler raised."""
    error_type = error.error_type if isinstance(error, BatchError) else type(error).__name__
    return json.dumps({"errorType": error_type, "errorMessage": str(error)}).encode()


def _first_of_each(errors: list[ItemError]) -> list[ItemError]:
    """One failure for each item: the first that was said."""
    return list({error.index: error for error in reversed(errors)}.values())[::-1]


def _item_failure(error: ItemError) -> dict[str, Any]:
    return {
        "itemIdentifier": error.index,
        "errorType": error.type,
        "errorMessage": error.message,
        "retryable": error.retryable,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
