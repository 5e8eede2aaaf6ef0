"""Celery with Redis: a task for each batch, two worker processes; REDIS_URL names the server."""

import contextlib
import os
import subprocess
import sys

import celery

from batches import add, batches, handle, report

URL = os.environ["REDIS_URL"]
# Workers of another measurement on the same server must not take our tasks. Our worker, a child, gets the name from here.
QUEUE = os.environ.setdefault("CELERY_GROUP_QUEUE", f"celery-group-{os.getpid()}")
# Calls that a starting worker may leave unanswered, and the seconds that each waits.
PINGS, PING_SECONDS = 60, 1.0

app = celery.Celery("celery_group", broker=URL, backend=URL)
app.conf.task_default_queue = QUEUE
task = app.task(handle, name="handle")


@contextlib.contextmanager
def start():
    command = [sys.executable, "-m", "celery", "-A", "celery_group", "worker", "-c", "2", "-l", "ERROR"]
    command += ["-n", f"{QUEUE}@localhost"]
    # What it says must not come between us and whoever reads our answer.
    place = os.path.dirname(os.path.abspath(__file__))
    worker = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL)
    try:
        named = [f"{QUEUE}@localhost"]
        if not any(app.control.ping(named, timeout=PING_SECONDS) for _ in range(PINGS)):
            raise TimeoutError("the worker does not answer")
        yield
    finally:
        worker.terminate()
        worker.wait()


def work(path, _):
    return add(celery.group(task.s(batch) for batch in batches(path))().get())


if __name__ == "__main__":
    report("Celery group", celery.__version__, work, start)
