"""The processes of a demo's nodes: started, paused, killed, and seen to end.

Law: a signal goes only to a process that was started here and has not been waited for yet, so
never to a stranger that got its number.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.config import ROOT
from common.demo.links import HOST

STARTING, RUNNING, PAUSED, DEAD = "starting", "running", "paused", "dead"
LOOK_S = 0.05
FINISH_S = 3.0  # for a node to end by itself; what it was told to keep is on its disk anyway

Changed = Callable[["Node"], Awaitable[None]]


class Node:
    """One node; `changed` is told when it listens, and when it has ended."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        environ: Mapping[str, str],
        log: Path,
        *,
        finish_s: float = FINISH_S,
    ) -> None:
        self.name = name
        self.starts = 0
        self._command = command
        self._port = port
        self._environ = environ
        self._log = log
        self._finish_s = finish_s
        self._starting = asyncio.Lock()  # one process at a time
        self._process: asyncio.subprocess.Process | None = None
        self._listens = self._paused = False
        self._life: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """Return one of the four words."""
        if self._process is None:
            return DEAD
        if self._paused:
            return PAUSED
        return RUNNING if self._listens else STARTING

    @property
    def pid(self) -> int | None:
        """Return its process, while it has one."""
        return None if self._process is None else self._process.pid

    async def start(self, group: int, changed: Changed) -> None:
        """Start a node that is dead, in a process group."""
        async with self._starting:
            if self._process is None:
                await self._start(group, changed)

    async def _start(self, group: int, changed: Changed) -> None:
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._command, cwd=ROOT, env=self._environ, process_group=group,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self.starts += 1
        self._listens = self._paused = False
        self._life = asyncio.create_task(self._live(self._process, changed))

    async def _live(self, process: asyncio.subprocess.Process, changed: Changed) -> None:
        looking = asyncio.create_task(self._until_it_listens(changed))
        await process.wait()
        looking.cancel()
        self._process = None
        self._listens = self._paused = False
        await changed(self)

    async def _until_it_listens(self, changed: Changed) -> None:
        while not self._listens:
            await asyncio.sleep(LOOK_S)
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self._port)
                writer.close()
                await changed(self)
                self._listens = True

    def pause(self) -> None:
        """Stop it where it is."""
        if self._signal(signal.SIGSTOP):
            self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        if self._signal(signal.SIGCONT):
            self._paused = False

    async def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        self._signal(signal.SIGKILL)
        if self._life is not None:
            await self._life

    async def end(self) -> None:
        """Ask it to end, and see to it that it does."""
        self.resume()
        self._signal(signal.SIGTERM)
        if self._life is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._life), self._finish_s)
        await self.kill()

    def _signal(self, number: signal.Signals) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
            return True
        return False
