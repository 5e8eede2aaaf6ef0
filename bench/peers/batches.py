"""What all peers share: records in batches of 25, and the sum of a column that each batch comes to."""

import contextlib
import csv
import itertools
import json
import sys
import time

BATCH = 25
COLUMN = 2


def records(path):
    """The records of a CSV file, without its header."""
    with open(path, newline="") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader


def batches(path):
    """The same in lists of BATCH."""
    remaining = records(path)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch


def handle(batch):
    """What a handler does: how many records there are, and what their column comes to."""
    return len(batch), sum(int(record[COLUMN]) for record in batch)


def report(name, version, work, start=contextlib.nullcontext):
    """
    Runs `work` over the file of the command line, and prints what came of it as a line of JSON, the last that is printed.
    `start` gives what `work` gets as its second argument and ends with it: that a system starts and stops is not timed.
    """
    with start() as system:
        started = time.monotonic()
        rows, total = work(sys.argv[1], system)
        seconds = time.monotonic() - started
    answer = {"name": name, "version": version, "rows": rows, "sum": total, "seconds": seconds}
    print(json.dumps(answer), flush=True)


def add(results):
    """What the batches come to together."""
    rows = total = 0
    for more_rows, more in results:
        rows += more_rows
        total += more
    return rows, total
