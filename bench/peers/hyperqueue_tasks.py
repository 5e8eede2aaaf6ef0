"""
HyperQueue: a program for each batch, two workers with a core each, all started by its Python package.

Its tasks in Python start an interpreter each, which costs ten times as much as all the rest; awk does the same here.
"""

import contextlib
import importlib.metadata
import os
import pathlib
import tempfile

# The package starts a progress bar for every job.
os.environ["TQDM_DISABLE"] = "1"

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

from batches import COLUMN, add, batches, report

# Of lines with fields between tabs.
PROGRAM = ["awk", "-F", "\t", f"{{ sum += ${COLUMN + 1} }} END {{ print NR, sum }}"]


@contextlib.contextmanager
def start():
    with tempfile.TemporaryDirectory(prefix="hyperqueue-") as place, LocalCluster(place) as cluster:
        for _ in range(2):
            cluster.start_worker(WorkerConfig(cores=1))
        yield cluster.client(), pathlib.Path(place)


def work(path, system):
    client, place = system
    job = Job(default_workdir=place)
    answers = []
    for batch in batches(path):
        answers.append(place / f"answer-{len(answers)}")
        job.program(PROGRAM, stdin=lines(batch), stdout=str(answers[-1]), stderr=None)
    client.wait_for_jobs([client.submit(job)])
    return add(map(int, answer.read_text().split()) for answer in answers)


def lines(batch):
    """The records as lines; a line break or a tab within a field becomes a space."""
    return "".join("\t".join(" ".join(field.split()) for field in record) + "\n" for record in batch)


if __name__ == "__main__":
    report("HyperQueue, awk for each batch", importlib.metadata.version("hyperqueue"), work, start)
