"""
How many records a reader counts in a CSV file: `readers.py READER FILE` prints a line of JSON, the last that is printed, with
the reader's version and what it counted or the error that it raised.

Each is asked as its documents say, with as much at once as it does by itself. Where it tells into how many pieces it
cut the file, so does the answer.
"""

import importlib.metadata
import json
import os
import shutil
import signal
import sys

# No answer in so many seconds ends the process.
PATIENCE = 600
# Room for the longest record that is measured, for readers that need to be told.
LONGEST = 16 << 20
# Pieces that a reader is asked for which cuts a file into as many as it is told.
PIECES = 8
COLUMNS = {"user_id": "VARCHAR", "login_count": "BIGINT", "post_count": "BIGINT", "note": "VARCHAR"}


def spark(path, pruning=True, **options):
    from pyspark.sql import SparkSession

    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise ModuleNotFoundError("Spark needs a Java runtime")
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = session.config("spark.driver.host", "127.0.0.1").config("spark.log.level", "OFF").getOrCreate()
    session.conf.set("spark.sql.csv.parser.columnPruning.enabled", pruning)
    data = session.read.csv(path, header=True, **options)
    return data.count(), data.rdd.getNumPartitions()


def duckdb(path, **options):
    import duckdb

    return duckdb.read_csv(path, **options).aggregate("count(*)").fetchall()[0][0], None


def dask(path, **options):
    import dask.dataframe

    data = dask.dataframe.read_csv(path, **options)
    return len(data), data.npartitions


def ray(path, block_size=None, **options):
    import ray
    import ray.data
    from pyarrow import csv

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    reading = csv.ReadOptions(use_threads=False, block_size=block_size)
    data = ray.data.read_csv(path, read_options=reading, parse_options=csv.ParseOptions(**options))
    try:
        # Its count() may look no further than metadata.
        return sum(len(batch["post_count"]) for batch in data.iter_batches()), None
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def datafusion(path, typed=False, **options):
    import datafusion
    import pyarrow
    from datafusion.options import CsvReadOptions

    if typed:
        kinds = {"VARCHAR": pyarrow.string(), "BIGINT": pyarrow.int64()}
        options["schema"] = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(PIECES))
    context.register_csv("file", path, options=CsvReadOptions(**options))
    pieces = context.table("file").execution_plan().partition_count
    return context.sql("SELECT count(*) FROM file").collect()[0][0][0].as_py(), pieces


def polars_scan(path):
    import polars

    return polars.scan_csv(path).select(polars.len()).collect().item(), None


def polars_read(path):
    import polars

    return polars.read_csv(path).height, None


QUOTES = {"quote": '"', "escape": '"'}
DIALECT = {
    "header": True,
    "sep": ",",
    "quotechar": '"',
    "escapechar": '"',
    "columns": COLUMNS,
    "max_line_size": LONGEST,
}
READERS = {
    "polars-scan": ("polars", polars_scan, {}),
    "polars-read": ("polars", polars_read, {}),
    "spark": ("pyspark", spark, {}),
    "spark-failfast": ("pyspark", spark, {**QUOTES, "mode": "FAILFAST"}),
    "spark-failfast-all": ("pyspark", spark, {**QUOTES, "mode": "FAILFAST", "pruning": False}),
    "spark-multiline": ("pyspark", spark, {**QUOTES, "multiLine": True}),
    "duckdb": ("duckdb", duckdb, {}),
    "duckdb-dialect": ("duckdb", duckdb, DIALECT),
    "duckdb-ignore-errors": ("duckdb", duckdb, {**DIALECT, "ignore_errors": True}),
    "duckdb-sequential": ("duckdb", duckdb, {**DIALECT, "parallel": False}),
    "dask": ("dask", dask, {}),
    "dask-small": ("dask", dask, {"blocksize": "8MB"}),
    "dask-whole": ("dask", dask, {"blocksize": None}),
    "ray": ("ray", ray, {}),
    "ray-newlines": ("ray", ray, {"newlines_in_values": True}),
    "ray-block": ("ray", ray, {"newlines_in_values": True, "block_size": LONGEST}),
    "datafusion": ("datafusion", datafusion, {}),
    "datafusion-schema": ("datafusion", datafusion, {"typed": True}),
    "datafusion-newlines": ("datafusion", datafusion, {"typed": True, "newlines_in_values": True}),
}


def answer(reader, path):
    package, count, options = READERS[reader]
    try:
        rows, pieces = count(path, **options)
        result = {"rows": rows, "pieces": pieces}
    except (ImportError, AttributeError, TypeError, NameError):
        # What is not installed, or a mistake of ours: neither is the reader's answer.
        raise
    except Exception as error:
        result = {"error": type(error).__name__, "message": str(error)}
    return {"version": importlib.metadata.version(package), **result}


if __name__ == "__main__":
    signal.alarm(PATIENCE)
    print(json.dumps(answer(*sys.argv[1:])), flush=True)
