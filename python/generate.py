"""Writes src/warifu/v1 anew from the proto files: `python python/generate.py`, with the grpcio-tools of .ci/requirements.txt.

The worker's own service is left out: leases are spoken by `warifu-worker` alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent / "proto"
SERVICES = ("fleet_service", "map_run_service")
MESSAGES = (*SERVICES, "error_reason", "map_run")


def generate(into: Path) -> None:
    """Writes warifu/v1 below `into`."""
    run(into, ["--python_out", "--pyi_out"], MESSAGES)
    run(into, ["--grpc_python_out"], SERVICES)


def run(into: Path, outputs: list[str], names: tuple[str, ...]) -> None:
    """Runs the compiler over files by name."""
    flags = [f"-I{PROTO}", *(f"{output}={into}" for output in outputs)]
    # The compiler brings the proto files of google.protobuf along.
    flags.append(f"-I{Path(protoc.__file__).parent / '_proto'}")
    if protoc.main(["protoc", *flags, *(f"warifu/v1/{name}.proto" for name in names)]) != 0:
        sys.exit("the proto files cannot be compiled")


if __name__ == "__main__":
    generate(HERE / "src")
