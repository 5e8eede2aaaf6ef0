"""Submits map runs, follows them and acts on them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from warifu import _connection as connection
from warifu._connection import Answer, Pauses
from warifu.errors import CallError, call_error
from warifu.job_file import Job, create_request
from warifu.v1 import fleet_service_pb2 as fleet
from warifu.v1 import map_run_service_pb2 as service
from warifu.v1.fleet_service_pb2_grpc import FleetServiceStub
from warifu.v1.map_run_pb2 import ItemFailure, MapRun, MapRunSpec
from warifu.v1.map_run_service_pb2_grpc import MapRunServiceStub

# A call that finds nobody is made again for so long, in seconds: longer than a change of leader takes.
RETRY_TIMEOUT = 10.0
# What follows a run waits for so long, in seconds: a coordinator may be started anew meanwhile.
FOLLOW_TIMEOUT = 60.0
# One long poll, in seconds; the server takes at most 300.
_WAIT_STEP = 60.0

_TERMINAL = (MapRun.SUCCEEDED, MapRun.FAILED, MapRun.ABORTED)


class Unchanged:
    """The type of UNCHANGED."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()
"""Stands for a limit that stays as it is; None lifts one."""


def is_terminal(run: MapRun) -> bool:
    """Whether a run has ended."""
    return run.state in _TERMINAL


class Client:
    """A coordinator. Threads may share it; a process that forks makes its own afterwards.

    Answers are the messages of `warifu.v1`. Every method raises `CallError` for what was not carried out. Calls that
    find nobody are made again for `retry_timeout` seconds: all of them are safe to repeat as they are sent here.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        ca_cert: str | os.PathLike[str] | None = None,
        retry_timeout: float = RETRY_TIMEOUT,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        """Connects with the first call.

        `endpoint` is WARIFU_ENDPOINT, else http://127.0.0.1:7400, and `token` WARIFU_TOKEN, if they are not given.
        `ca_cert` is a file with the certificates that an https:// endpoint is checked against, in place of the system's.
        `cert` and `key` are files with this client's certificate and its key, where the coordinator wants one.
        """
        self.endpoint = connection.endpoint_or_default(endpoint)
        self._retry_timeout = retry_timeout
        self._metadata = connection.authorization(token)
        self._channel = connection.open_channel(self.endpoint, ca_cert, cert, key)
        self._map_runs = MapRunServiceStub(self._channel)
        self._fleet = FleetServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection, and whatever iterates over it."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self, job: Job, map_run_id: str | None = None, *, dry_run: bool = False, require_handler: bool = False
    ) -> MapRun:
        """Creates a run from a specification as a dict, or from the path of a job file.

        The same `map_run_id` with the same specification returns the run that exists; without one the coordinator draws
        an ID. `dry_run` checks everything, shows the first events in `preview_events`, and creates nothing.
        `require_handler` refuses a handler that no live worker offers. Raises InvalidJobError before anything is sent.
        """
        request = create_request(job)
        request.map_run_id = map_run_id or request.map_run_id
        request.validate_only |= dry_run
        request.require_handler |= require_handler
        if not request.map_run_id and not request.request_id:
            request.request_id = uuid.uuid4().hex
        return self._call(self._map_runs.CreateMapRun, request)

    def get(self, name: str) -> MapRun:
        """A run as it is now. A run is `ID` or `mapRuns/ID`, here and below."""
        return self._call(self._map_runs.GetMapRun, service.GetMapRunRequest(name=name))

    def list(
        self, states: Iterable[MapRun.State | str] = (), labels: Mapping[str, str] | None = None
    ) -> Iterator[MapRun]:
        """Runs, newest first, without `outputs`: those in one of the states, with all of the labels."""
        request = service.ListMapRunsRequest(states=states, labels=labels)
        while True:
            page: service.ListMapRunsResponse = self._call(self._map_runs.ListMapRuns, request)
            yield from page.map_runs
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, name: str) -> Iterator[MapRun]:
        """Snapshots of a run: the first at once, then when something changed; the last one is terminal.

        A lost connection is made again; a coordinator that stays away for 60 s is a CallError.
        """
        pauses, latest = Pauses(FOLLOW_TIMEOUT), None
        while True:
            stream = self._map_runs.WatchMapRun(service.WatchMapRunRequest(name=name), metadata=self._metadata)
            try:
                for answer in stream:
                    pauses.reset()
                    if answer.map_run != latest:
                        latest = answer.map_run
                        yield latest
                    if is_terminal(answer.map_run):
                        return
                failure = _ended_early()
            except grpc.RpcError as error:
                failure = call_error(error)
                if not failure.is_unreachable:
                    raise failure from error
            finally:
                stream.cancel()
            pauses.wait_or_raise(failure)

    def wait(self, name: str, timeout: float | None = None) -> MapRun:
        """Waits until a run has ended, and returns it. Raises TimeoutError after `timeout` seconds; the run goes on.

        A coordinator that stays away for 60 s is a CallError.
        """
        pauses = Pauses(FOLLOW_TIMEOUT)
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if give_up_at is None else max(0.0, give_up_at - time.monotonic())
            step = _WAIT_STEP if left is None else min(_WAIT_STEP, left)
            try:
                run = self._wait_once(name, step)
                pauses.reset()
                if is_terminal(run):
                    return run
            except grpc.RpcError as error:
                failure = call_error(error)
                if not failure.is_unreachable:
                    raise failure from error
                pauses.wait_or_raise(failure, until=give_up_at)
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise TimeoutError(f"{name} has not ended after {timeout:g} s; it goes on")

    def stop(self, name: str, cause: str = "") -> MapRun:
        """Ends a run as ABORTED: nothing new starts, batches in progress are cancelled."""
        try:
            return self._call(self._map_runs.StopMapRun, service.StopMapRunRequest(name=name, cause=cause))
        except CallError as error:
            # An earlier attempt stopped it, and its answer was lost.
            if error.attempts > 1 and error.reason == "WRONG_STATE" and error.metadata.get("state") == "ABORTED":
                return self.get(name)
            raise

    def update(
        self,
        name: str,
        *,
        max_concurrency: int | Unchanged | None = UNCHANGED,
        tolerated_failure_count: int | Unchanged | None = UNCHANGED,
        tolerated_failure_percentage: float | Unchanged | None = UNCHANGED,
        max_items_per_second: float | Unchanged | None = UNCHANGED,
    ) -> MapRun:
        """Changes limits of a run that has not ended; None lifts one."""
        spec, mask = _limits(
            max_concurrency=max_concurrency,
            tolerated_failure_count=tolerated_failure_count,
            tolerated_failure_percentage=tolerated_failure_percentage,
            max_items_per_second=max_items_per_second,
        )
        request = service.UpdateMapRunRequest(map_run=MapRun(name=name, spec=spec), update_mask=mask)
        return self._call(self._map_runs.UpdateMapRun, request)

    def redrive(
        self,
        name: str,
        *,
        dry_run: bool = False,
        max_concurrency: int | Unchanged | None = UNCHANGED,
        tolerated_failure_count: int | Unchanged | None = UNCHANGED,
        tolerated_failure_percentage: float | Unchanged | None = UNCHANGED,
        max_items_per_second: float | Unchanged | None = UNCHANGED,
    ) -> MapRun:
        """Runs the items of an ended run that did not succeed again, under new limits if any are given.

        `dry_run` changes nothing; the answer says in `item_counts` what would run: `pending` and `pending_redrive`.
        """
        spec, mask = _limits(
            max_concurrency=max_concurrency,
            tolerated_failure_count=tolerated_failure_count,
            tolerated_failure_percentage=tolerated_failure_percentage,
            max_items_per_second=max_items_per_second,
        )
        request = service.RedriveMapRunRequest(
            name=name, validate_only=dry_run, spec=spec, request_id=uuid.uuid4().hex
        )
        if mask.paths:
            request.update_mask.CopyFrom(mask)
        return self._call(self._map_runs.RedriveMapRun, request)

    def failures(self, name: str, error: str = "", full: bool = False) -> Iterator[ItemFailure]:
        """Items that failed for good, in no promised order: the first 10,000 of a run; all are in its FAILED files.

        `error` asks for one failure name only, `full` also for each item and the bytes of its record.
        """
        view = service.ItemFailureView.FULL if full else service.ItemFailureView.BASIC
        request = service.ListItemFailuresRequest(parent=name, view=view, error=error)
        while True:
            page: service.ListItemFailuresResponse = self._call(self._map_runs.ListItemFailures, request)
            yield from page.item_failures
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete(self, name: str) -> None:
        """Deletes an ended run's record. Its results stay; its ID is not free again."""
        try:
            self._call(self._map_runs.DeleteMapRun, service.DeleteMapRunRequest(name=name))
        except CallError as error:
            # An earlier attempt deleted it, and its answer was lost.
            if not (error.attempts > 1 and error.reason == "MAP_RUN_NOT_FOUND"):
                raise

    def workers(self) -> Iterator[fleet.Worker]:
        """The workers with a session, by ID."""
        request = fleet.ListWorkersRequest()
        while True:
            page: fleet.ListWorkersResponse = self._call(self._fleet.ListWorkers, request)
            yield from page.workers
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _wait_once(self, name: str, step: float) -> MapRun:
        within = Duration()
        within.FromNanoseconds(int(step * 1e9))
        request = service.WaitMapRunRequest(name=name, timeout=within)
        run: MapRun = self._map_runs.WaitMapRun(
            request, timeout=step + connection.CALL_TIMEOUT, metadata=self._metadata
        )
        return run

    def _call(self, method: Callable[..., Answer], request: Message) -> Answer:
        return connection.call_again_while_unreachable(method, request, self._metadata, self._retry_timeout)


def _limits(**limits: float | Unchanged | None) -> tuple[MapRunSpec, FieldMask]:
    """New limits, and which they are: those that are None are named and absent."""
    named = {name: limit for name, limit in limits.items() if not isinstance(limit, Unchanged)}
    spec = MapRunSpec()
    for name, limit in named.items():
        if limit is not None:
            setattr(spec, name, limit)
    return spec, FieldMask(paths=[f"spec.{name}" for name in named])


def _ended_early() -> CallError:
    message = "the coordinator ended the watch before the run had ended"
    return CallError(grpc.StatusCode.UNAVAILABLE, message, None, {}, (), None)
