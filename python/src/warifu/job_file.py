"""Jobs as people write them: the JSON form of a `MapRunSpec`, as a dict or in a file of YAML 1.2 or JSON.

What a specification means is checked by the coordinator; here only names and types are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError

from warifu.errors import InvalidJobError
from warifu.v1.map_run_pb2 import MapRun, MapRunSpec
from warifu.v1.map_run_service_pb2 import CreateMapRunRequest

Job = Mapping[str, Any] | MapRunSpec | str | os.PathLike[str]
"""A specification as a dict or message, or the path of a job file."""

# Longest job file: a specification takes 256 KiB at most, and comments must fit too.
MAX_FILE_BYTES = 1024 * 1024
# The largest integer that a double holds without loss, as its neighbours are held too.
MAX_SAFE_INTEGER = 2**53 - 1

# Fields without a schema: their numbers are doubles.
_FREE_FORM = {"input", "batchInput", "batch_input", "items", "itemSelector", "item_selector", "payload"}
# Both mean `itemBatcher.maxItemsPerBatch`.
_ALIASES = ("maxBatchSize", "max_batch_size")
_BATCHERS = ("itemBatcher", "item_batcher")


class _Constructor(SafeConstructor):
    """YAML 1.2's own types only: what looks like a date is a string, as in JSON."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def create_request(job: Job) -> CreateMapRunRequest:
    """Reads a job: a `MapRunSpec`, a `MapRun` (its `spec` counts), or a `CreateMapRunRequest`.

    Raises InvalidJobError for whatever does not fit, unknown keys among it; OSError if the file cannot be read.
    """
    if isinstance(job, MapRunSpec):
        return CreateMapRunRequest(map_run=MapRun(spec=job))
    if isinstance(job, Mapping):
        return _parse(dict(job), "the job")
    return _parse(_read(Path(job)), f"the job file {os.fspath(job)}")


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise InvalidJobError(f"the job file {path} takes more than {MAX_FILE_BYTES} bytes")
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        raise InvalidJobError(f"the job file {path} is no YAML: {error}") from error


def _parse(root: Any, what: str) -> CreateMapRunRequest:
    if not isinstance(root, dict):
        raise InvalidJobError(f"{what} is no object with the fields of a specification")
    try:
        if "mapRun" in root or "map_run" in root:
            request = json_format.ParseDict(_mended(root, "mapRun", "map_run"), CreateMapRunRequest())
            request.map_run.CopyFrom(MapRun(spec=request.map_run.spec))
            return request
        if "spec" in root:
            spec = json_format.ParseDict(_mended(root), MapRun()).spec
        else:
            spec = json_format.ParseDict(_spec(root), MapRunSpec())
    except json_format.ParseError as error:
        raise InvalidJobError(f"{what} cannot be used: {error}") from error
    return CreateMapRunRequest(map_run=MapRun(spec=spec))


def _mended(root: dict[str, Any], *parents: str) -> dict[str, Any]:
    """A copy with the specification within made fit for the codec."""
    copy = dict(root)
    for name in parents:
        if isinstance(copy.get(name), dict):
            copy[name] = _mended(copy[name])
    if not parents and isinstance(copy.get("spec"), dict):
        copy["spec"] = _spec(copy["spec"])
    return copy


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    _refuse_unsafe_integers(spec, "spec", free_form=False)
    spec = dict(spec)
    sizes = [spec.pop(alias) for alias in _ALIASES if alias in spec]
    name = next((name for name in _BATCHERS if name in spec), _BATCHERS[0])
    batcher = dict(spec.get(name) or {})
    sizes += [batcher.pop(alias) for alias in _ALIASES if alias in batcher]
    if not sizes:
        return spec
    if len(sizes) > 1 or "maxItemsPerBatch" in batcher or "max_items_per_batch" in batcher:
        raise InvalidJobError("the job cannot be used: itemBatcher.maxItemsPerBatch stands twice")
    return {**spec, name: {**batcher, "maxItemsPerBatch": sizes[0]}}


def _refuse_unsafe_integers(value: Any, path: str, free_form: bool) -> None:
    if isinstance(value, Mapping):
        for key, child in value.items():
            _refuse_unsafe_integers(child, f"{path}.{key}", free_form or key in _FREE_FORM)
    elif isinstance(value, list):
        for place, child in enumerate(value):
            _refuse_unsafe_integers(child, f"{path}[{place}]", free_form)
    elif free_form and isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise InvalidJobError(f"{path}: integers beyond ±{MAX_SAFE_INTEGER} must be strings: a double cannot hold them")
