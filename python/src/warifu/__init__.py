"""Client and worker for Warifu, a self-hosted Distributed Map."""

from warifu.batch import Batch, BatchError, ItemError
from warifu.client import UNCHANGED, Client, is_terminal
from warifu.errors import CallError, FieldViolation, InvalidJobError, WarifuError, WorkerError
from warifu.v1.map_run_pb2 import ItemFailure, MapRun, MapRunSpec
from warifu.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "UNCHANGED",
    "Batch",
    "BatchError",
    "CallError",
    "Client",
    "FieldViolation",
    "InvalidJobError",
    "ItemError",
    "ItemFailure",
    "MapRun",
    "MapRunSpec",
    "WarifuError",
    "Worker",
    "WorkerError",
    "is_terminal",
]
