"""Dask distributed: a task for each batch, two worker processes."""

import contextlib

import distributed

from batches import add, batches, handle, report


@contextlib.contextmanager
def start():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            client.wait_for_workers(2)
            yield client


def work(path, client):
    futures = client.map(handle, list(batches(path)), pure=False)
    return add(future.result() for future in distributed.as_completed(futures))


if __name__ == "__main__":
    report("Dask client.map", distributed.__version__, work, start)
