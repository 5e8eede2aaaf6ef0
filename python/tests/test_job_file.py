"""Jobs as dicts and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from warifu import InvalidJobError, MapRunSpec
from warifu.job_file import create_request

READER = {"bucket": "input", "key": "a.csv", "readerConfig": {"inputType": "CSV"}}
JOB: dict[str, Any] = {"itemReader": READER, "itemProcessor": {"handler": "echo"}}


def spec_of(job: Any) -> MapRunSpec:
    return create_request(job).map_run.spec


def test_a_dict_and_a_file_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "itemReader: {bucket: input, key: a.csv, readerConfig: {inputType: CSV}}\n"
        "itemProcessor:\n  handler: echo\n"
        "itemBatcher:\n  batchInput: {day: 2024-01-31, sure: yes, no: [1, 2.5, null]}\n"
    )
    batch_input = {"day": "2024-01-31", "sure": "yes", "no": [1, 2.5, None]}
    assert spec_of(file) == spec_of(str(file)) == spec_of({**JOB, "itemBatcher": {"batchInput": batch_input}})


def test_a_file_may_be_json_and_hold_more_than_a_specification(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"mapRunId": "a", "mapRun": {"spec": {"itemProcessor": {"handler": "echo"}}}}')
    request = create_request(file)
    assert (request.map_run_id, request.map_run.spec.item_processor.handler) == ("a", "echo")
    assert spec_of({"name": "mapRuns/a", "state": "FAILED", "spec": JOB}) == spec_of(JOB)
    assert spec_of(spec_of(JOB)) == spec_of(JOB)


@pytest.mark.parametrize(
    "job",
    [
        {**JOB, "maxBatchSize": 7},
        {**JOB, "maxBatchSize": 7, "itemBatcher": {"batchInput": {}}},
        {**JOB, "itemBatcher": {"maxBatchSize": 7}},
        {**JOB, "item_batcher": {"max_items_per_batch": 7}},
    ],
)
def test_the_size_of_a_batch_has_two_names(job: dict[str, Any]) -> None:
    assert spec_of(job).item_batcher.max_items_per_batch == 7


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({**JOB, "itemProcesor": {}}, "itemProcesor"),
        ({"itemReader": {**READER, "buckt": "x"}}, "buckt"),
        ({**JOB, "maxConcurrency": "many"}, "maxConcurrency"),
        ({**JOB, "maxBatchSize": 7, "itemBatcher": {"maxItemsPerBatch": 8}}, "stands twice"),
        ({**JOB, "input": {"a": [2**53]}}, r"spec.input.a\[0\]: integers beyond"),
        ({"spec": {**JOB, "inputs": {}}}, "inputs"),
    ],
)
def test_what_does_not_fit_is_named(job: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidJobError, match=message):
        create_request(job)


@pytest.mark.parametrize(
    "text", ["- a\n", "a: [\n", "input: {}\ninput: {}\n", "\xff", "", "!!python/object:os.system {}", "#" * 1024 * 1024 + "\n"]
)
def test_a_file_that_is_no_job_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidJobError, match="job.yaml"):
        create_request(file)


def test_a_file_that_is_missing_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_request(tmp_path / "none.yaml")
