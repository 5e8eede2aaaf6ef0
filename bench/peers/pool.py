"""multiprocessing.Pool(2).imap: no retries, no state, no acknowledgement."""

import multiprocessing
import platform

from batches import add, batches, handle, report


def start():
    return multiprocessing.Pool(2)


def work(path, pool):
    return add(pool.imap(handle, batches(path)))


if __name__ == "__main__":
    report("multiprocessing.Pool(2).imap", platform.python_version(), work, start)
