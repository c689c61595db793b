"""A file that one process at a time may hold, with that process's id in it.

Law: it is held until the process ends, however it ends, and not by what it leaves behind: the
system lets go of it, and a child does not inherit it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _FAR_BYTE = 1 << 30  # Windows makes a locked byte unreadable; the id stands before it

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # `lockf`, not `flock`: a forked child would keep the latter alive.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Held(Exception):
    """Another process holds the file; `pid` is its id, None if it has not written it yet."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is held by process {pid or 'unknown'}")
        self.pid = pid


class LockFile:
    """One file that can be held."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> None:
        """Hold the file, making its folder if need be; raise `Held` if another process does."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "a+", encoding="ascii")  # noqa: SIM115  # open as long as held
        try:
            _lock(file.fileno())
        except OSError:
            file.close()
            raise Held(self._path, pid_in(self._path)) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go of it."""
        self._file.close()


def pid_in(path: Path) -> int | None:
    """Return the process id that stands in a lock file."""
    text = path.read_text("ascii").strip()
    return int(text) if text.isdecimal() else None
