from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(_message.Message):
    __slots__ = ()
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ErrorReason.Reason]
        INVALID_REQUEST: _ClassVar[ErrorReason.Reason]
        INVALID_PAGE_TOKEN: _ClassVar[ErrorReason.Reason]
        NOT_SUPPORTED: _ClassVar[ErrorReason.Reason]
        MAP_RUN_NOT_FOUND: _ClassVar[ErrorReason.Reason]
        WORKER_NOT_FOUND: _ClassVar[ErrorReason.Reason]
        MAP_RUN_EXISTS: _ClassVar[ErrorReason.Reason]
        WRONG_STATE: _ClassVar[ErrorReason.Reason]
        NOTHING_TO_REDRIVE: _ClassVar[ErrorReason.Reason]
        HANDLER_NOT_AVAILABLE: _ClassVar[ErrorReason.Reason]
        SOURCE_NOT_FOUND: _ClassVar[ErrorReason.Reason]
        SOURCE_ACCESS_DENIED: _ClassVar[ErrorReason.Reason]
        SOURCE_CHANGED: _ClassVar[ErrorReason.Reason]
        SOURCE_NOT_READABLE: _ClassVar[ErrorReason.Reason]
        DESTINATION_NOT_WRITABLE: _ClassVar[ErrorReason.Reason]
        NOT_LEADER: _ClassVar[ErrorReason.Reason]
        NOT_READY: _ClassVar[ErrorReason.Reason]
        STORE_UNAVAILABLE: _ClassVar[ErrorReason.Reason]
        OBJECT_STORE_UNAVAILABLE: _ClassVar[ErrorReason.Reason]
        OVERLOADED: _ClassVar[ErrorReason.Reason]
        MESSAGE_TOO_LARGE: _ClassVar[ErrorReason.Reason]
        OUTCOME_UNKNOWN: _ClassVar[ErrorReason.Reason]
        UNAUTHENTICATED: _ClassVar[ErrorReason.Reason]
        ROLE_NOT_ALLOWED: _ClassVar[ErrorReason.Reason]
        UNSUPPORTED_VERSION: _ClassVar[ErrorReason.Reason]
        WORKER_ID_IN_USE: _ClassVar[ErrorReason.Reason]
        INVALID_MESSAGE: _ClassVar[ErrorReason.Reason]
        WORKER_OF_ANOTHER: _ClassVar[ErrorReason.Reason]
        INTERNAL: _ClassVar[ErrorReason.Reason]
    REASON_UNSPECIFIED: ErrorReason.Reason
    INVALID_REQUEST: ErrorReason.Reason
    INVALID_PAGE_TOKEN: ErrorReason.Reason
    NOT_SUPPORTED: ErrorReason.Reason
    MAP_RUN_NOT_FOUND: ErrorReason.Reason
    WORKER_NOT_FOUND: ErrorReason.Reason
    MAP_RUN_EXISTS: ErrorReason.Reason
    WRONG_STATE: ErrorReason.Reason
    NOTHING_TO_REDRIVE: ErrorReason.Reason
    HANDLER_NOT_AVAILABLE: ErrorReason.Reason
    SOURCE_NOT_FOUND: ErrorReason.Reason
    SOURCE_ACCESS_DENIED: ErrorReason.Reason
    SOURCE_CHANGED: ErrorReason.Reason
    SOURCE_NOT_READABLE: ErrorReason.Reason
    DESTINATION_NOT_WRITABLE: ErrorReason.Reason
    NOT_LEADER: ErrorReason.Reason
    NOT_READY: ErrorReason.Reason
    STORE_UNAVAILABLE: ErrorReason.Reason
    OBJECT_STORE_UNAVAILABLE: ErrorReason.Reason
    OVERLOADED: ErrorReason.Reason
    MESSAGE_TOO_LARGE: ErrorReason.Reason
    OUTCOME_UNKNOWN: ErrorReason.Reason
    UNAUTHENTICATED: ErrorReason.Reason
    ROLE_NOT_ALLOWED: ErrorReason.Reason
    UNSUPPORTED_VERSION: ErrorReason.Reason
    WORKER_ID_IN_USE: ErrorReason.Reason
    INVALID_MESSAGE: ErrorReason.Reason
    WORKER_OF_ANOTHER: ErrorReason.Reason
    INTERNAL: ErrorReason.Reason
    def __init__(self) -> None: ...
