from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Worker(_message.Message):
    __slots__ = ("name", "incarnation", "state", "slots", "held_slots", "lease_count", "running_batch_count", "handlers", "version", "connect_time", "last_heard_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Worker.State]
        ACTIVE: _ClassVar[Worker.State]
        DRAINING: _ClassVar[Worker.State]
        SUSPECT: _ClassVar[Worker.State]
    STATE_UNSPECIFIED: Worker.State
    ACTIVE: Worker.State
    DRAINING: Worker.State
    SUSPECT: Worker.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_SLOTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    incarnation: str
    state: Worker.State
    slots: int
    held_slots: int
    lease_count: int
    running_batch_count: int
    handlers: _containers.RepeatedCompositeFieldContainer[WorkerHandler]
    version: str
    connect_time: _timestamp_pb2.Timestamp
    last_heard_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., incarnation: _Optional[str] = ..., state: _Optional[_Union[Worker.State, str]] = ..., slots: _Optional[int] = ..., held_slots: _Optional[int] = ..., lease_count: _Optional[int] = ..., running_batch_count: _Optional[int] = ..., handlers: _Optional[_Iterable[_Union[WorkerHandler, _Mapping]]] = ..., version: _Optional[str] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_heard_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WorkerHandler(_message.Message):
    __slots__ = ("name", "unavailable_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    unavailable_reason: str
    def __init__(self, name: _Optional[str] = ..., unavailable_reason: _Optional[str] = ...) -> None: ...

class Cluster(_message.Message):
    __slots__ = ("leader", "term", "members", "store", "worker_count", "slot_count", "held_slot_count", "active_map_run_count")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    WORKER_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    HELD_SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_MAP_RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    leader: ClusterMember
    term: int
    members: _containers.RepeatedCompositeFieldContainer[ClusterMember]
    store: StateStore
    worker_count: int
    slot_count: int
    held_slot_count: int
    active_map_run_count: int
    def __init__(self, leader: _Optional[_Union[ClusterMember, _Mapping]] = ..., term: _Optional[int] = ..., members: _Optional[_Iterable[_Union[ClusterMember, _Mapping]]] = ..., store: _Optional[_Union[StateStore, _Mapping]] = ..., worker_count: _Optional[int] = ..., slot_count: _Optional[int] = ..., held_slot_count: _Optional[int] = ..., active_map_run_count: _Optional[int] = ...) -> None: ...

class ClusterMember(_message.Message):
    __slots__ = ("endpoint", "version")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    version: str
    def __init__(self, endpoint: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class StateStore(_message.Message):
    __slots__ = ("type", "size_bytes", "problem")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    type: str
    size_bytes: int
    problem: str
    def __init__(self, type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers", "next_page_token")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    next_page_token: str
    def __init__(self, workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetWorkerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("name", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class UncordonWorkerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetClusterRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
