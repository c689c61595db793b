"""The workers of a service's lanes: threads of our own, for a future costs more than many a call.

Laws: who is inside, running or waiting, is counted on the loop alone; a full lane refuses at once;
a call leaves its lane in the same step of the loop in which it is answered.
"""

from __future__ import annotations

import contextlib
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from queue import Empty, SimpleQueue

from common.errors import Problem
from common.service import Lane, Reply
from common.wsgi import Answer

Work = Callable[[], Answer]  # never raises
_Job = tuple[AbstractEventLoop, Work, Reply]


class Workers:
    """The threads of one lane, started as they are needed, and who is inside."""

    def __init__(self, name: str, lane: Lane) -> None:
        self.body_bytes_max = lane.body_bytes_max
        self.inside = 0
        self._name = name
        self._threads_max = lane.workers
        self._inside_max = lane.workers + lane.waiting_max
        self._threads = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()  # None: end

    def put(self, loop: AbstractEventLoop, work: Work, reply: Reply) -> None:
        """Do some work; `reply` gets its answer, on the loop. Raise `rate-limited` if full."""
        if self.inside >= self._inside_max:
            raise Problem("rate-limited", f"too many requests wait in the lane {self._name!r}")
        self.inside += 1
        self._jobs.put((loop, work, reply))
        if self._threads < min(self.inside, self._threads_max):
            # A daemon: a worker that is stuck must not hold the process at its end.
            name = f"{self._name}_{self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
            self._threads += 1

    def close(self) -> int:
        """Take no more, and drop what waits; return how many are still running."""
        with contextlib.suppress(Empty):
            while True:
                self.inside -= self._jobs.get_nowait() is not None
        for _ in range(self._threads):
            self._jobs.put(None)
        self._inside_max = 0
        return self.inside

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, work, reply = job
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(self._leave, reply, work())
            del job, work, reply  # while it waits for the next one, a worker keeps nothing alive

    def _leave(self, reply: Reply, answer: Answer) -> None:
        self.inside -= 1
        reply(answer)
