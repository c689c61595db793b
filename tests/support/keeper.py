"""What `common/keep.py` does for real processes: one that ends by itself is started again.

Law: only ends that the protocol wants (the disk failed) and starts it refuses (no room, a file that
cannot be used) are taken for granted; any other error of a job fails the test.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from catalog.disk import Halted
from common.service import Service, StartRefused, Ticker
from order.store import StorageBroken
from tests.support.scheduler import Job, Scheduler

ENDED = (Halted, StorageBroken)
LINGER_S = 0.3  # a process that ends still answers what it has begun
RESTART_S = 1.0


class Crashed(Exception):
    """Raised out of a disk when its process dies while it starts."""


NOT_STARTED = (StartRefused, Crashed)


class Keeper:
    """Watches the processes of one cluster."""

    def __init__(
        self,
        scheduler: Scheduler,
        random: Random,
        *,
        dying: set[object],
        end: Callable[[object], None],
        start: Callable[[str], None],
    ) -> None:
        self._scheduler = scheduler
        self._random = random
        self._dying = dying  # processes whose disk is gone: what they still try does not count
        self._end = end
        self._start = start

    def run(self, name: str, owner: object, service: Service) -> None:
        """Run the loops and tickers of a process."""
        for loop, run in service.loops.items():
            self._scheduler.spawn(f"{name} {loop}", owner, run)
        for ticker in service.tickers:
            self._scheduler.spawn(f"{name} {ticker.name}", owner, self._ticking(ticker))

    def _ticking(self, ticker: Ticker) -> Callable[[], None]:
        def forever() -> None:
            while True:
                try:
                    ticker.run()
                except ENDED as error:  # the real one logs it and goes on: a loop ends the process
                    self._scheduler.note(f"a ticker failed: {error}")
                self._scheduler.sleep(ticker.interval_s)

        return forever

    def failed(self, job: Job) -> None:
        """Take a job's failure for the end of its process, or for a failure of the test."""
        if job.owner in self._dying:
            return
        if not isinstance(job.error, ENDED) or not isinstance(job.owner, tuple):
            raise AssertionError(f"{job.name} failed: {job.error!r}") from job.error
        name = str(job.owner[0])
        self._scheduler.note(f"{name} ends itself: {job.error}")
        later = self._scheduler.now + self._random.uniform(0.0, LINGER_S)
        self._scheduler.at(later, lambda: self._end(job.owner))
        self._again(name, later)

    def start(self, name: str, build: Callable[[], None]) -> None:
        """Start a process; when it cannot start, try again and again."""
        try:
            build()
        except NOT_STARTED as error:
            self._scheduler.note(f"{name} does not start: {error}")
            self._again(name, self._scheduler.now)

    def _again(self, name: str, after: float) -> None:
        self._scheduler.at(after + RESTART_S, lambda: self._start(name))
