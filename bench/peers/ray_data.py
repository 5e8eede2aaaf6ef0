"""Ray Data: read_csv and map_batches."""

import contextlib

import ray
import ray.data
from pyarrow import csv

from batches import BATCH, report


def count(batch):
    return {"rows": [len(batch["post_count"])], "sum": [int(batch["post_count"].sum())]}


@contextlib.contextmanager
def start():
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        # The first tasks wait for the processes that run them.
        nothing = ray.remote(lambda: None)
        ray.get([nothing.remote() for _ in range(2)])
        yield
    finally:
        ray.shutdown()


def work(path, _):
    options = csv.ParseOptions(newlines_in_values=True)
    data = ray.data.read_csv(path, parse_options=options).map_batches(count, batch_size=BATCH)
    rows = total = 0
    for row in data.iter_rows():
        rows += row["rows"]
        total += row["sum"]
    return rows, total


if __name__ == "__main__":
    report("Ray Data map_batches", ray.__version__, work, start)
