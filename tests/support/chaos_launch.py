"""Becomes a node: joins its network namespace, ties its life to the run's, then runs the command.

Usage: chaos_launch.py NAMESPACE RUN_PID CLOCK_FILE COMMAND.. (CLOCK_FILE may be empty). Run as a
file, with the standard library only. Law: it stays one process, so the pid is the node's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1
SHIM = Path(__file__).with_name("faketime")
PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime")


def faketime_library() -> Path | None:
    """Return libfaketime for threads, if it is installed."""
    found = [
        path
        for place in PLACES
        for path in Path("/").glob(f"{place}/libfaketimeMT.so.1".removeprefix("/"))
    ]
    return found[0] if found else None


def clock_environ(clock_file: str) -> dict[str, str]:
    """Return what makes a Python show the wall clock shifted as the file says, and nothing else."""
    library = faketime_library()
    if not clock_file or library is None:
        return {}
    return {
        "LD_PRELOAD": str(library), "PYTHONPATH": str(SHIM), "NO_FAKE_STAT": "1",
        "FAKETIME_TIMESTAMP_FILE": clock_file, "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Else a thread that waits for another one (for Python's lock) asks all the time whether it
        # may go on: half of what a node took.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }  # fmt: skip


def main() -> None:
    """Turn into the command."""
    namespace, run_pid, clock_file, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    os.setsid()  # a terminal's Ctrl-C is for the run
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(run_pid):
        sys.exit("the run it belongs to is gone")
    descriptor = os.open(namespace, os.O_RDONLY)
    if libc.setns(descriptor, CLONE_NEWNET):
        sys.exit(f"cannot join {namespace}: errno {ctypes.get_errno()}")
    os.close(descriptor)
    os.execve(command[0], command, os.environ | clock_environ(clock_file))


if __name__ == "__main__":
    main()
