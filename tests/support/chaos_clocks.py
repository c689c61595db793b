"""Wall clocks of their own for the nodes of a chaos run, by libfaketime.

Law: only CLOCK_REALTIME is shifted. Durations (CLOCK_BOOTTIME, CLOCK_MONOTONIC), on which leases
and deadlines rest, are the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PIDS = "pids"
SHARED = Path("/dev/shm")


class Clocks:
    """One file for each node in a folder; libfaketime looks into it every second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str) -> Path:
        """Return the file that says how far a node's clock is ahead; it is there afterwards."""
        path = self._folder / f"{name}.clock"
        if not path.exists():
            path.write_text("+0\n", "utf-8")
        return path

    def shift(self, name: str, seconds: int) -> None:
        """Have a node's wall clock jump, within a second, to so much ahead of the machine's."""
        fresh = self._folder / f"{name}.clock.new"
        fresh.write_text(f"{seconds:+d}\n", "utf-8")
        fresh.replace(self.file(name))

    def started(self, pid: int) -> None:
        """Remember a process, for whoever cleans up after a run that was killed."""
        with (self._folder / PIDS).open("a") as pids:
            pids.write(f"{pid}\n")


def forget_clock_of(pid: int) -> None:
    """Remove what libfaketime leaves behind for a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        (SHARED / name).unlink(missing_ok=True)


def sweep_clocks(folders: Iterable[Path]) -> None:
    """Remove the same for all processes of runs that were killed."""
    for folder in folders:
        pids = folder / PIDS
        for pid in pids.read_text("utf-8").split() if pids.exists() else ():
            forget_clock_of(int(pid))
