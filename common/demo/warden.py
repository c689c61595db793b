"""Ends the nodes of a demo when its controller is gone, however that ended; POSIX only.

Law: the nodes are in this process's group, and nobody else is. The controller holds the other end
of the pipe that is read here; only its end, or its being told, closes that pipe.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys


def main() -> int:
    """Wait until the pipe closes; then kill the group, this process included."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)  # SIGKILL: a node may be paused
    return 0


class Warden:
    """The controller's side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def group(self) -> int:
        """Return the process group that every node has to be in."""
        return self._process.pid

    async def end(self) -> None:
        """End whatever is left in the group."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def start_warden() -> Warden:
    """Start one, in a group of its own: Ctrl-C in the terminal reaches the controller alone."""
    return Warden(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "common.demo.warden", stdin=subprocess.PIPE, process_group=0
        )
    )


if __name__ == "__main__":
    sys.exit(main())
