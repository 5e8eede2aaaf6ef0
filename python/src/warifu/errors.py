"""Errors of this package, sorted by who must act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# The `domain` of every ErrorInfo of a coordinator.
ERROR_DOMAIN = "warifu"
# The trailing header in which gRPC carries a google.rpc.Status.
_DETAILS_HEADER = "grpc-status-details-bin"

# Codes that a transport or a proxy gives, too. Without a reason of ours nobody has answered.
_CODES_OF_THE_WAY = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)


class WarifuError(Exception):
    """Any error of this package."""


class InvalidJobError(WarifuError, ValueError):
    """The job cannot be read as a specification: change it. Nothing was sent."""


class WorkerError(WarifuError):
    """The program `warifu-worker` cannot be started, or ended with an error that its log tells."""


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request that is wrong."""

    field: str
    """Its path, such as `spec.item_reader.key`."""
    description: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


@dataclass(eq=False)
class CallError(WarifuError):
    """A call that was not carried out, as the coordinator or the way to it says."""

    code: grpc.StatusCode
    """The gRPC code."""
    message: str
    """What happened and what to do."""
    reason: str | None
    """A name of `ErrorReason`, such as `MAP_RUN_NOT_FOUND`; None if no coordinator answered."""
    metadata: Mapping[str, str]
    """The particulars of the reason."""
    violations: tuple[FieldViolation, ...]
    """The fields that are wrong."""
    retry_delay: float | None
    """Seconds after which trying again may help."""
    attempts: int = 1
    """How often the call was made."""

    def __str__(self) -> str:
        lines = [self.message or f"the call failed: {self.code.name}"]
        lines += [f"  {violation}" for violation in self.violations]
        return "\n".join(lines)

    @property
    def is_unreachable(self) -> bool:
        """True if no coordinator could answer: the network, or one that starts, stops or does not lead."""
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return True
        return self.code in _CODES_OF_THE_WAY and self.reason is None

    @property
    def is_outcome_unknown(self) -> bool:
        """True if the change may have been made or not."""
        return self.reason == "OUTCOME_UNKNOWN"


def call_error(error: grpc.RpcError, attempts: int = 1) -> CallError:
    """Reads what gRPC raised."""
    found = CallError(error.code(), error.details() or "", None, {}, (), None, attempts)
    for detail in _details(error):
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            found.reason, found.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            found.violations = tuple(FieldViolation(v.field, v.description) for v in request.field_violations)
        elif detail.Unpack(retry):
            found.retry_delay = retry.retry_delay.ToTimedelta().total_seconds()
    return found


def _details(error: grpc.RpcError):  # type: ignore[no-untyped-def]
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_HEADER:
            try:
                return status_pb2.Status.FromString(value).details
            except DecodeError:
                # A proxy's header: the code alone must do.
                return ()
    return ()
