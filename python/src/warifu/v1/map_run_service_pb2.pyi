from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from warifu.v1 import map_run_pb2 as _map_run_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateMapRunRequest(_message.Message):
    __slots__ = ("map_run_id", "map_run", "validate_only", "require_handler", "request_id")
    MAP_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MAP_RUN_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_HANDLER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    map_run_id: str
    map_run: _map_run_pb2.MapRun
    validate_only: bool
    require_handler: bool
    request_id: str
    def __init__(self, map_run_id: _Optional[str] = ..., map_run: _Optional[_Union[_map_run_pb2.MapRun, _Mapping]] = ..., validate_only: bool = ..., require_handler: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class GetMapRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListMapRunsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_map_run_pb2.MapRun.State]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_map_run_pb2.MapRun.State, str]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListMapRunsResponse(_message.Message):
    __slots__ = ("map_runs", "next_page_token")
    MAP_RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    map_runs: _containers.RepeatedCompositeFieldContainer[_map_run_pb2.MapRun]
    next_page_token: str
    def __init__(self, map_runs: _Optional[_Iterable[_Union[_map_run_pb2.MapRun, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchMapRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchMapRunResponse(_message.Message):
    __slots__ = ("map_run",)
    MAP_RUN_FIELD_NUMBER: _ClassVar[int]
    map_run: _map_run_pb2.MapRun
    def __init__(self, map_run: _Optional[_Union[_map_run_pb2.MapRun, _Mapping]] = ...) -> None: ...

class WaitMapRunRequest(_message.Message):
    __slots__ = ("name", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StopMapRunRequest(_message.Message):
    __slots__ = ("name", "cause")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    cause: str
    def __init__(self, name: _Optional[str] = ..., cause: _Optional[str] = ...) -> None: ...

class UpdateMapRunRequest(_message.Message):
    __slots__ = ("map_run", "update_mask")
    MAP_RUN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    map_run: _map_run_pb2.MapRun
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, map_run: _Optional[_Union[_map_run_pb2.MapRun, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class RedriveMapRunRequest(_message.Message):
    __slots__ = ("name", "validate_only", "spec", "update_mask", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    spec: _map_run_pb2.MapRunSpec
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, name: _Optional[str] = ..., validate_only: bool = ..., spec: _Optional[_Union[_map_run_pb2.MapRunSpec, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteMapRunRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ItemFailureView(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ItemFailureView.Type]
        BASIC: _ClassVar[ItemFailureView.Type]
        FULL: _ClassVar[ItemFailureView.Type]
    TYPE_UNSPECIFIED: ItemFailureView.Type
    BASIC: ItemFailureView.Type
    FULL: ItemFailureView.Type
    def __init__(self) -> None: ...

class ListItemFailuresRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "view", "error")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    view: ItemFailureView.Type
    error: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[ItemFailureView.Type, str]] = ..., error: _Optional[str] = ...) -> None: ...

class ListItemFailuresResponse(_message.Message):
    __slots__ = ("item_failures", "next_page_token", "truncated", "header")
    ITEM_FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    item_failures: _containers.RepeatedCompositeFieldContainer[_map_run_pb2.ItemFailure]
    next_page_token: str
    truncated: bool
    header: bytes
    def __init__(self, item_failures: _Optional[_Iterable[_Union[_map_run_pb2.ItemFailure, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., truncated: bool = ..., header: _Optional[bytes] = ...) -> None: ...

class ListBatchesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "states")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_map_run_pb2.Batch.State]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_map_run_pb2.Batch.State, str]]] = ...) -> None: ...

class ListBatchesResponse(_message.Message):
    __slots__ = ("batches", "next_page_token")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[_map_run_pb2.Batch]
    next_page_token: str
    def __init__(self, batches: _Optional[_Iterable[_Union[_map_run_pb2.Batch, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
