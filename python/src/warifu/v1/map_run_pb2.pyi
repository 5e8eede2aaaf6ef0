from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MapRun(_message.Message):
    __slots__ = ("name", "uid", "spec", "state", "create_time", "start_time", "stop_time", "item_counts", "batch_counts", "total_known", "progress", "error", "error_groups", "warnings", "compensation", "redrive_count", "result_location", "outputs", "outputs_truncated", "source_size_bytes", "preview_events", "failure_counts", "batch_size", "adapted_limit")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[MapRun.State]
        QUEUED: _ClassVar[MapRun.State]
        RUNNING: _ClassVar[MapRun.State]
        STOPPING: _ClassVar[MapRun.State]
        SUCCEEDED: _ClassVar[MapRun.State]
        FAILED: _ClassVar[MapRun.State]
        ABORTED: _ClassVar[MapRun.State]
    STATE_UNSPECIFIED: MapRun.State
    QUEUED: MapRun.State
    RUNNING: MapRun.State
    STOPPING: MapRun.State
    SUCCEEDED: MapRun.State
    FAILED: MapRun.State
    ABORTED: MapRun.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STOP_TIME_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_KNOWN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_GROUPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    REDRIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESULT_LOCATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVENTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    ADAPTED_LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    spec: MapRunSpec
    state: MapRun.State
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    stop_time: _timestamp_pb2.Timestamp
    item_counts: Counts
    batch_counts: Counts
    total_known: bool
    progress: Progress
    error: RunError
    error_groups: _containers.RepeatedCompositeFieldContainer[ErrorGroup]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    compensation: CompensationStatus
    redrive_count: int
    result_location: ResultLocation
    outputs: _containers.RepeatedScalarFieldContainer[str]
    outputs_truncated: bool
    source_size_bytes: int
    preview_events: _containers.RepeatedScalarFieldContainer[str]
    failure_counts: FailureCounts
    batch_size: BatchSize
    adapted_limit: AdaptedLimit
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., spec: _Optional[_Union[MapRunSpec, _Mapping]] = ..., state: _Optional[_Union[MapRun.State, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stop_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., item_counts: _Optional[_Union[Counts, _Mapping]] = ..., batch_counts: _Optional[_Union[Counts, _Mapping]] = ..., total_known: bool = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[RunError, _Mapping]] = ..., error_groups: _Optional[_Iterable[_Union[ErrorGroup, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., compensation: _Optional[_Union[CompensationStatus, _Mapping]] = ..., redrive_count: _Optional[int] = ..., result_location: _Optional[_Union[ResultLocation, _Mapping]] = ..., outputs: _Optional[_Iterable[str]] = ..., outputs_truncated: bool = ..., source_size_bytes: _Optional[int] = ..., preview_events: _Optional[_Iterable[str]] = ..., failure_counts: _Optional[_Union[FailureCounts, _Mapping]] = ..., batch_size: _Optional[_Union[BatchSize, _Mapping]] = ..., adapted_limit: _Optional[_Union[AdaptedLimit, _Mapping]] = ...) -> None: ...

class MapRunSpec(_message.Message):
    __slots__ = ("item_reader", "items", "item_selector", "item_batcher", "item_processor", "max_concurrency", "adaptive_concurrency", "tolerated_failure_percentage", "tolerated_failure_count", "max_items_per_second", "timeout_seconds", "result_writer", "compensation", "input", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ITEM_READER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ITEM_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ITEM_BATCHER_FIELD_NUMBER: _ClassVar[int]
    ITEM_PROCESSOR_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    ADAPTIVE_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    TOLERATED_FAILURE_PERCENTAGE_FIELD_NUMBER: _ClassVar[int]
    TOLERATED_FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESULT_WRITER_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    item_reader: ItemReader
    items: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    item_selector: _struct_pb2.Struct
    item_batcher: ItemBatcher
    item_processor: ItemProcessor
    max_concurrency: int
    adaptive_concurrency: AdaptiveConcurrency
    tolerated_failure_percentage: float
    tolerated_failure_count: int
    max_items_per_second: float
    timeout_seconds: int
    result_writer: ResultWriter
    compensation: Compensation
    input: _struct_pb2.Struct
    labels: _containers.ScalarMap[str, str]
    def __init__(self, item_reader: _Optional[_Union[ItemReader, _Mapping]] = ..., items: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., item_selector: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., item_batcher: _Optional[_Union[ItemBatcher, _Mapping]] = ..., item_processor: _Optional[_Union[ItemProcessor, _Mapping]] = ..., max_concurrency: _Optional[int] = ..., adaptive_concurrency: _Optional[_Union[AdaptiveConcurrency, _Mapping]] = ..., tolerated_failure_percentage: _Optional[float] = ..., tolerated_failure_count: _Optional[int] = ..., max_items_per_second: _Optional[float] = ..., timeout_seconds: _Optional[int] = ..., result_writer: _Optional[_Union[ResultWriter, _Mapping]] = ..., compensation: _Optional[_Union[Compensation, _Mapping]] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ItemReader(_message.Message):
    __slots__ = ("bucket", "key", "prefix", "version_id", "expected_bucket_owner", "resource", "reader_config", "range", "handler", "bucket_path", "key_path", "prefix_path")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_BUCKET_OWNER_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    READER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    BUCKET_PATH_FIELD_NUMBER: _ClassVar[int]
    KEY_PATH_FIELD_NUMBER: _ClassVar[int]
    PREFIX_PATH_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    prefix: str
    version_id: str
    expected_bucket_owner: str
    resource: str
    reader_config: ReaderConfig
    range: str
    handler: str
    bucket_path: str
    key_path: str
    prefix_path: str
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., prefix: _Optional[str] = ..., version_id: _Optional[str] = ..., expected_bucket_owner: _Optional[str] = ..., resource: _Optional[str] = ..., reader_config: _Optional[_Union[ReaderConfig, _Mapping]] = ..., range: _Optional[str] = ..., handler: _Optional[str] = ..., bucket_path: _Optional[str] = ..., key_path: _Optional[str] = ..., prefix_path: _Optional[str] = ...) -> None: ...

class ReaderConfig(_message.Message):
    __slots__ = ("input_type", "csv_header_location", "csv_headers", "csv_delimiter", "csv_encoding", "max_items", "lenient_quotes", "transformation", "manifest_type", "items_pointer")
    INPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    CSV_HEADER_LOCATION_FIELD_NUMBER: _ClassVar[int]
    CSV_HEADERS_FIELD_NUMBER: _ClassVar[int]
    CSV_DELIMITER_FIELD_NUMBER: _ClassVar[int]
    CSV_ENCODING_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    LENIENT_QUOTES_FIELD_NUMBER: _ClassVar[int]
    TRANSFORMATION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_TYPE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_POINTER_FIELD_NUMBER: _ClassVar[int]
    input_type: InputType.Type
    csv_header_location: CsvHeaderLocation.Type
    csv_headers: _containers.RepeatedScalarFieldContainer[str]
    csv_delimiter: CsvDelimiter.Type
    csv_encoding: CsvEncoding.Type
    max_items: int
    lenient_quotes: bool
    transformation: ReaderTransformation.Type
    manifest_type: ManifestType.Type
    items_pointer: str
    def __init__(self, input_type: _Optional[_Union[InputType.Type, str]] = ..., csv_header_location: _Optional[_Union[CsvHeaderLocation.Type, str]] = ..., csv_headers: _Optional[_Iterable[str]] = ..., csv_delimiter: _Optional[_Union[CsvDelimiter.Type, str]] = ..., csv_encoding: _Optional[_Union[CsvEncoding.Type, str]] = ..., max_items: _Optional[int] = ..., lenient_quotes: bool = ..., transformation: _Optional[_Union[ReaderTransformation.Type, str]] = ..., manifest_type: _Optional[_Union[ManifestType.Type, str]] = ..., items_pointer: _Optional[str] = ...) -> None: ...

class InputType(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[InputType.Type]
        CSV: _ClassVar[InputType.Type]
        JSONL: _ClassVar[InputType.Type]
        JSON: _ClassVar[InputType.Type]
        MANIFEST: _ClassVar[InputType.Type]
        PARQUET: _ClassVar[InputType.Type]
    TYPE_UNSPECIFIED: InputType.Type
    CSV: InputType.Type
    JSONL: InputType.Type
    JSON: InputType.Type
    MANIFEST: InputType.Type
    PARQUET: InputType.Type
    def __init__(self) -> None: ...

class CsvHeaderLocation(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[CsvHeaderLocation.Type]
        FIRST_ROW: _ClassVar[CsvHeaderLocation.Type]
        GIVEN: _ClassVar[CsvHeaderLocation.Type]
    TYPE_UNSPECIFIED: CsvHeaderLocation.Type
    FIRST_ROW: CsvHeaderLocation.Type
    GIVEN: CsvHeaderLocation.Type
    def __init__(self) -> None: ...

class CsvDelimiter(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[CsvDelimiter.Type]
        COMMA: _ClassVar[CsvDelimiter.Type]
        PIPE: _ClassVar[CsvDelimiter.Type]
        SEMICOLON: _ClassVar[CsvDelimiter.Type]
        SPACE: _ClassVar[CsvDelimiter.Type]
        TAB: _ClassVar[CsvDelimiter.Type]
    TYPE_UNSPECIFIED: CsvDelimiter.Type
    COMMA: CsvDelimiter.Type
    PIPE: CsvDelimiter.Type
    SEMICOLON: CsvDelimiter.Type
    SPACE: CsvDelimiter.Type
    TAB: CsvDelimiter.Type
    def __init__(self) -> None: ...

class CsvEncoding(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[CsvEncoding.Type]
        UTF_8: _ClassVar[CsvEncoding.Type]
        SHIFT_JIS: _ClassVar[CsvEncoding.Type]
    TYPE_UNSPECIFIED: CsvEncoding.Type
    UTF_8: CsvEncoding.Type
    SHIFT_JIS: CsvEncoding.Type
    def __init__(self) -> None: ...

class ReaderTransformation(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ReaderTransformation.Type]
        NONE: _ClassVar[ReaderTransformation.Type]
        LOAD_AND_FLATTEN: _ClassVar[ReaderTransformation.Type]
    TYPE_UNSPECIFIED: ReaderTransformation.Type
    NONE: ReaderTransformation.Type
    LOAD_AND_FLATTEN: ReaderTransformation.Type
    def __init__(self) -> None: ...

class ManifestType(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ManifestType.Type]
        S3_INVENTORY: _ClassVar[ManifestType.Type]
        ATHENA_DATA: _ClassVar[ManifestType.Type]
    TYPE_UNSPECIFIED: ManifestType.Type
    S3_INVENTORY: ManifestType.Type
    ATHENA_DATA: ManifestType.Type
    def __init__(self) -> None: ...

class ItemBatcher(_message.Message):
    __slots__ = ("max_items_per_batch", "max_input_bytes_per_batch", "batch_input", "auto_size")
    MAX_ITEMS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_INPUT_BYTES_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_INPUT_FIELD_NUMBER: _ClassVar[int]
    AUTO_SIZE_FIELD_NUMBER: _ClassVar[int]
    max_items_per_batch: int
    max_input_bytes_per_batch: int
    batch_input: _struct_pb2.Struct
    auto_size: AutoSize
    def __init__(self, max_items_per_batch: _Optional[int] = ..., max_input_bytes_per_batch: _Optional[int] = ..., batch_input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., auto_size: _Optional[_Union[AutoSize, _Mapping]] = ...) -> None: ...

class AutoSize(_message.Message):
    __slots__ = ("min_items", "max_items")
    MIN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    min_items: int
    max_items: int
    def __init__(self, min_items: _Optional[int] = ..., max_items: _Optional[int] = ...) -> None: ...

class BatchSize(_message.Message):
    __slots__ = ("items", "reason")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    items: int
    reason: str
    def __init__(self, items: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ItemProcessor(_message.Message):
    __slots__ = ("handler", "timeout_seconds", "retry", "payload", "output_path")
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PATH_FIELD_NUMBER: _ClassVar[int]
    handler: str
    timeout_seconds: int
    retry: _containers.RepeatedCompositeFieldContainer[Retrier]
    payload: _struct_pb2.Struct
    output_path: str
    def __init__(self, handler: _Optional[str] = ..., timeout_seconds: _Optional[int] = ..., retry: _Optional[_Iterable[_Union[Retrier, _Mapping]]] = ..., payload: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., output_path: _Optional[str] = ...) -> None: ...

class Retrier(_message.Message):
    __slots__ = ("error_equals", "interval_seconds", "max_attempts", "backoff_rate", "max_delay_seconds", "jitter_strategy")
    ERROR_EQUALS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    JITTER_STRATEGY_FIELD_NUMBER: _ClassVar[int]
    error_equals: _containers.RepeatedScalarFieldContainer[str]
    interval_seconds: int
    max_attempts: int
    backoff_rate: float
    max_delay_seconds: int
    jitter_strategy: JitterStrategy.Type
    def __init__(self, error_equals: _Optional[_Iterable[str]] = ..., interval_seconds: _Optional[int] = ..., max_attempts: _Optional[int] = ..., backoff_rate: _Optional[float] = ..., max_delay_seconds: _Optional[int] = ..., jitter_strategy: _Optional[_Union[JitterStrategy.Type, str]] = ...) -> None: ...

class JitterStrategy(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[JitterStrategy.Type]
        NONE: _ClassVar[JitterStrategy.Type]
        FULL: _ClassVar[JitterStrategy.Type]
    TYPE_UNSPECIFIED: JitterStrategy.Type
    NONE: JitterStrategy.Type
    FULL: JitterStrategy.Type
    def __init__(self) -> None: ...

class AdaptiveConcurrency(_message.Message):
    __slots__ = ("target_duration",)
    TARGET_DURATION_FIELD_NUMBER: _ClassVar[int]
    target_duration: _duration_pb2.Duration
    def __init__(self, target_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AdaptedLimit(_message.Message):
    __slots__ = ("limit", "reason", "message")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[AdaptedLimit.Reason]
        STARTING: _ClassVar[AdaptedLimit.Reason]
        RISING: _ClassVar[AdaptedLimit.Reason]
        LATENCY: _ClassVar[AdaptedLimit.Reason]
        FAILURES: _ClassVar[AdaptedLimit.Reason]
        UNREACHED: _ClassVar[AdaptedLimit.Reason]
        TARGET_DURATION: _ClassVar[AdaptedLimit.Reason]
        MAX_CONCURRENCY: _ClassVar[AdaptedLimit.Reason]
    REASON_UNSPECIFIED: AdaptedLimit.Reason
    STARTING: AdaptedLimit.Reason
    RISING: AdaptedLimit.Reason
    LATENCY: AdaptedLimit.Reason
    FAILURES: AdaptedLimit.Reason
    UNREACHED: AdaptedLimit.Reason
    TARGET_DURATION: AdaptedLimit.Reason
    MAX_CONCURRENCY: AdaptedLimit.Reason
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    limit: int
    reason: AdaptedLimit.Reason
    message: str
    def __init__(self, limit: _Optional[int] = ..., reason: _Optional[_Union[AdaptedLimit.Reason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ResultWriter(_message.Message):
    __slots__ = ("bucket", "prefix", "writer_config")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    WRITER_CONFIG_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    prefix: str
    writer_config: WriterConfig
    def __init__(self, bucket: _Optional[str] = ..., prefix: _Optional[str] = ..., writer_config: _Optional[_Union[WriterConfig, _Mapping]] = ...) -> None: ...

class WriterConfig(_message.Message):
    __slots__ = ("transformation", "output_type", "compression")
    TRANSFORMATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    transformation: WriterTransformation.Type
    output_type: OutputType.Type
    compression: Compression.Type
    def __init__(self, transformation: _Optional[_Union[WriterTransformation.Type, str]] = ..., output_type: _Optional[_Union[OutputType.Type, str]] = ..., compression: _Optional[_Union[Compression.Type, str]] = ...) -> None: ...

class WriterTransformation(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[WriterTransformation.Type]
        ITEMS: _ClassVar[WriterTransformation.Type]
        NONE: _ClassVar[WriterTransformation.Type]
        COMPACT: _ClassVar[WriterTransformation.Type]
        FLATTEN: _ClassVar[WriterTransformation.Type]
    TYPE_UNSPECIFIED: WriterTransformation.Type
    ITEMS: WriterTransformation.Type
    NONE: WriterTransformation.Type
    COMPACT: WriterTransformation.Type
    FLATTEN: WriterTransformation.Type
    def __init__(self) -> None: ...

class OutputType(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[OutputType.Type]
        JSONL: _ClassVar[OutputType.Type]
        JSON: _ClassVar[OutputType.Type]
    TYPE_UNSPECIFIED: OutputType.Type
    JSONL: OutputType.Type
    JSON: OutputType.Type
    def __init__(self) -> None: ...

class Compression(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[Compression.Type]
        NONE: _ClassVar[Compression.Type]
        GZIP: _ClassVar[Compression.Type]
        ZSTD: _ClassVar[Compression.Type]
    TYPE_UNSPECIFIED: Compression.Type
    NONE: Compression.Type
    GZIP: Compression.Type
    ZSTD: Compression.Type
    def __init__(self) -> None: ...

class Compensation(_message.Message):
    __slots__ = ("handler", "on")
    class Trigger(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TRIGGER_UNSPECIFIED: _ClassVar[Compensation.Trigger]
        TOLERANCE_EXCEEDED: _ClassVar[Compensation.Trigger]
        ERROR: _ClassVar[Compensation.Trigger]
        STOPPED: _ClassVar[Compensation.Trigger]
    TRIGGER_UNSPECIFIED: Compensation.Trigger
    TOLERANCE_EXCEEDED: Compensation.Trigger
    ERROR: Compensation.Trigger
    STOPPED: Compensation.Trigger
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    handler: str
    on: _containers.RepeatedScalarFieldContainer[Compensation.Trigger]
    def __init__(self, handler: _Optional[str] = ..., on: _Optional[_Iterable[_Union[Compensation.Trigger, str]]] = ...) -> None: ...

class Counts(_message.Message):
    __slots__ = ("total", "pending", "running", "succeeded", "failed", "timed_out", "aborted", "pending_redrive", "results_written")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    PENDING_REDRIVE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    timed_out: int
    aborted: int
    pending_redrive: int
    results_written: int
    def __init__(self, total: _Optional[int] = ..., pending: _Optional[int] = ..., running: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., timed_out: _Optional[int] = ..., aborted: _Optional[int] = ..., pending_redrive: _Optional[int] = ..., results_written: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("fraction", "items_per_second", "eta", "limited_by")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    LIMITED_BY_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    items_per_second: float
    eta: _duration_pb2.Duration
    limited_by: LimitedBy.Type
    def __init__(self, fraction: _Optional[float] = ..., items_per_second: _Optional[float] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limited_by: _Optional[_Union[LimitedBy.Type, str]] = ...) -> None: ...

class LimitedBy(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[LimitedBy.Type]
        CONCURRENCY: _ClassVar[LimitedBy.Type]
        WORKERS: _ClassVar[LimitedBy.Type]
        HANDLER: _ClassVar[LimitedBy.Type]
        RATE: _ClassVar[LimitedBy.Type]
        SOURCE: _ClassVar[LimitedBy.Type]
        RETRY_BACKOFF: _ClassVar[LimitedBy.Type]
        STORE: _ClassVar[LimitedBy.Type]
    TYPE_UNSPECIFIED: LimitedBy.Type
    CONCURRENCY: LimitedBy.Type
    WORKERS: LimitedBy.Type
    HANDLER: LimitedBy.Type
    RATE: LimitedBy.Type
    SOURCE: LimitedBy.Type
    RETRY_BACKOFF: LimitedBy.Type
    STORE: LimitedBy.Type
    def __init__(self) -> None: ...

class RunError(_message.Message):
    __slots__ = ("error", "cause")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    error: str
    cause: str
    def __init__(self, error: _Optional[str] = ..., cause: _Optional[str] = ...) -> None: ...

class FailureCounts(_message.Message):
    __slots__ = ("business", "system")
    BUSINESS_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    business: int
    system: int
    def __init__(self, business: _Optional[int] = ..., system: _Optional[int] = ...) -> None: ...

class ErrorGroup(_message.Message):
    __slots__ = ("error", "kind", "count", "first_time", "last_time", "samples")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    error: str
    kind: FailureKind.Type
    count: int
    first_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    samples: _containers.RepeatedCompositeFieldContainer[ErrorSample]
    def __init__(self, error: _Optional[str] = ..., kind: _Optional[_Union[FailureKind.Type, str]] = ..., count: _Optional[int] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., samples: _Optional[_Iterable[_Union[ErrorSample, _Mapping]]] = ...) -> None: ...

class ErrorSample(_message.Message):
    __slots__ = ("index", "byte_offset", "byte_length", "line", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BYTE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BYTE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    byte_offset: int
    byte_length: int
    line: int
    message: str
    def __init__(self, index: _Optional[int] = ..., byte_offset: _Optional[int] = ..., byte_length: _Optional[int] = ..., line: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class FailureKind(_message.Message):
    __slots__ = ()
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[FailureKind.Type]
        BUSINESS: _ClassVar[FailureKind.Type]
        SYSTEM: _ClassVar[FailureKind.Type]
    TYPE_UNSPECIFIED: FailureKind.Type
    BUSINESS: FailureKind.Type
    SYSTEM: FailureKind.Type
    def __init__(self) -> None: ...

class Warning(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class CompensationStatus(_message.Message):
    __slots__ = ("state", "attempts", "error", "trigger", "worker", "start_time", "stop_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[CompensationStatus.State]
        RUNNING: _ClassVar[CompensationStatus.State]
        SUCCEEDED: _ClassVar[CompensationStatus.State]
        FAILED: _ClassVar[CompensationStatus.State]
        NOT_RUN: _ClassVar[CompensationStatus.State]
        PENDING: _ClassVar[CompensationStatus.State]
    STATE_UNSPECIFIED: CompensationStatus.State
    RUNNING: CompensationStatus.State
    SUCCEEDED: CompensationStatus.State
    FAILED: CompensationStatus.State
    NOT_RUN: CompensationStatus.State
    PENDING: CompensationStatus.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    STOP_TIME_FIELD_NUMBER: _ClassVar[int]
    state: CompensationStatus.State
    attempts: int
    error: RunError
    trigger: Compensation.Trigger
    worker: str
    start_time: _timestamp_pb2.Timestamp
    stop_time: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[_Union[CompensationStatus.State, str]] = ..., attempts: _Optional[int] = ..., error: _Optional[_Union[RunError, _Mapping]] = ..., trigger: _Optional[_Union[Compensation.Trigger, str]] = ..., worker: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stop_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResultLocation(_message.Message):
    __slots__ = ("bucket", "manifest_key")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_KEY_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    manifest_key: str
    def __init__(self, bucket: _Optional[str] = ..., manifest_key: _Optional[str] = ...) -> None: ...

class ItemFailure(_message.Message):
    __slots__ = ("index", "batch_number", "source", "kind", "error", "cause", "attempts", "worker", "fail_time", "timed_out", "item", "record")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BATCH_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FAIL_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    index: int
    batch_number: int
    source: ItemSource
    kind: FailureKind.Type
    error: str
    cause: str
    attempts: int
    worker: str
    fail_time: _timestamp_pb2.Timestamp
    timed_out: bool
    item: str
    record: bytes
    def __init__(self, index: _Optional[int] = ..., batch_number: _Optional[int] = ..., source: _Optional[_Union[ItemSource, _Mapping]] = ..., kind: _Optional[_Union[FailureKind.Type, str]] = ..., error: _Optional[str] = ..., cause: _Optional[str] = ..., attempts: _Optional[int] = ..., worker: _Optional[str] = ..., fail_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timed_out: bool = ..., item: _Optional[str] = ..., record: _Optional[bytes] = ...) -> None: ...

class ItemSource(_message.Message):
    __slots__ = ("bucket", "key", "version_id", "byte_offset", "byte_length", "line")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    BYTE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    BYTE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    version_id: str
    byte_offset: int
    byte_length: int
    line: int
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., version_id: _Optional[str] = ..., byte_offset: _Optional[int] = ..., byte_length: _Optional[int] = ..., line: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("name", "number", "state", "first_index", "item_count", "attempts", "round", "loss_count", "worker", "next_attempt_time", "failed_item_count", "error", "cause", "fail_time", "lease_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Batch.State]
        PENDING: _ClassVar[Batch.State]
        RUNNING: _ClassVar[Batch.State]
        SUCCEEDED: _ClassVar[Batch.State]
        FAILED: _ClassVar[Batch.State]
        TIMED_OUT: _ClassVar[Batch.State]
        ABORTED: _ClassVar[Batch.State]
        PENDING_REDRIVE: _ClassVar[Batch.State]
    STATE_UNSPECIFIED: Batch.State
    PENDING: Batch.State
    RUNNING: Batch.State
    SUCCEEDED: Batch.State
    FAILED: Batch.State
    TIMED_OUT: Batch.State
    ABORTED: Batch.State
    PENDING_REDRIVE: Batch.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    LOSS_COUNT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILED_ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAIL_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    state: Batch.State
    first_index: int
    item_count: int
    attempts: int
    round: int
    loss_count: int
    worker: str
    next_attempt_time: _timestamp_pb2.Timestamp
    failed_item_count: int
    error: str
    cause: str
    fail_time: _timestamp_pb2.Timestamp
    lease_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[Batch.State, str]] = ..., first_index: _Optional[int] = ..., item_count: _Optional[int] = ..., attempts: _Optional[int] = ..., round: _Optional[int] = ..., loss_count: _Optional[int] = ..., worker: _Optional[str] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_item_count: _Optional[int] = ..., error: _Optional[str] = ..., cause: _Optional[str] = ..., fail_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
