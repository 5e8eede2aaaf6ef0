"""The program `warifu-worker` as a child that never outlives this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from warifu.errors import WorkerError

PROGRAM = "warifu-worker"
_PROGRAM_VARIABLE = "WARIFU_WORKER"

# Becomes the program, once the kernel has promised to kill it when the thread that started it is gone. Arguments: this
# process's ID, the program, its arguments. SIGKILL and not SIGTERM: without its handlers a worker can only fail batches,
# while those of a worker that is gone run again elsewhere. SIGTERM stays blocked: systemd sends it to every process of a
# service, and the program would take that and our own signal for two, which end it at once.
_BECOME = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGTERM])
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
if os.getppid() == parent:
    os.execv(command[0], command)
"""
# The signal that drains it. It ends the program only before that listens for signals: then it has begun nothing.
DRAIN = signal.SIGINT
# Its exit status when a second signal ended it at once.
ENDED_AT_ONCE = 130


def find_program(program: str | os.PathLike[str] | None) -> str:
    """The program that is named, else WARIFU_WORKER's, else on the PATH, else beside this Python or this package.

    Raises WorkerError if there is none.
    """
    named = program or os.environ.get(_PROGRAM_VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise WorkerError(f"there is no program {os.fspath(named)}")
        return os.path.abspath(found)
    beside = [Path(sys.executable).parent, Path(__file__).parent, Path(__file__).parent / "bin"]
    for path in (None, *(os.fspath(directory) for directory in beside)):
        found = shutil.which(PROGRAM, path=path)
        if found is not None:
            return os.path.abspath(found)
    raise WorkerError(f"there is no {PROGRAM} on the PATH; install it, or name it in {_PROGRAM_VARIABLE}")


class Program:
    """A running program. It sees no Ctrl-C of the terminal: whoever started it decides what that means."""

    def __init__(self, program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        become = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), program]
        self._process = subprocess.Popen(
            [*become, *arguments], stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )

    @property
    def id(self) -> int:
        """Its process ID."""
        return self._process.pid

    def drain(self) -> None:
        """The first call drains it, the second ends it at once. May be made by a handler of signals."""
        self._process.send_signal(DRAIN)

    def wait(self) -> int:
        """Waits for its end. Returns the exit status; a signal is its negative number."""
        return self._process.wait()

    def kill(self) -> None:
        """Ends it now, if it has not ended."""
        self._process.kill()
        self._process.wait()
