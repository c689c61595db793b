"""A seeded scheduler of greenlets: it owns every wait, so a run is a pure function of its seed.

Law: exactly one greenlet runs at a time, and it gives up control only in `wait`, `pause` or `call`.
Time moves only when nobody can run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import greenlet

from common.tasks import Event

DAY_ONE = datetime(2026, 1, 1, tzinfo=UTC)


class Stalled(AssertionError):
    """Nobody can run and no time is left to wait for."""


class Job:
    """One greenlet with its owner (a node's incarnation, or a client)."""

    def __init__(
        self, name: str, owner: object, run: Callable[[], None], hub: greenlet.greenlet
    ) -> None:
        self.name = name
        self.owner = owner
        self.error: BaseException | None = None
        self.done = False
        self.greenlet = greenlet.greenlet(lambda: self._run(run), parent=hub)

    def _run(self, run: Callable[[], None]) -> None:
        try:
            run()
        except greenlet.GreenletExit:
            pass
        except BaseException as error:
            self.error = error
        self.done = True


class SimEvent:
    """`common.tasks.Event` for greenlets."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._up = False
        self._waiting: list[Job] = []

    def set(self) -> None:
        self._up = True
        for job in self._waiting:
            self._scheduler.ready(job)
        self._waiting.clear()

    def clear(self) -> None:
        self._up = False

    def wait(self, timeout_s: float | None = None) -> bool:
        if not self._up:
            job = self._scheduler.running
            self._waiting.append(job)
            self._scheduler.sleep(timeout_s)
            if job in self._waiting:
                self._waiting.remove(job)
        return self._up


class Scheduler:
    """Runs jobs one at a time in an order drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.running: Job = None  # type: ignore[assignment]
        self.failed: Callable[[Job], None] = _raise
        self.script: list[str] = []  # what happened, for people
        self.stopped: dict[object, float] = {}  # owner -> until when none of its jobs runs
        self._hub = greenlet.getcurrent()
        self._ready: list[Job] = []
        self._all: dict[object, list[Job]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._interrupts: list[Callable[[], None]] = []
        self._count = 0

    def note(self, line: str) -> None:
        """Add a line to the script of this run."""
        self.script.append(f"{self.now * 1000:10.1f} ms  {line}")

    def spawn(self, name: str, owner: object, run: Callable[[], None]) -> Job:
        """Start a job; it runs when it is drawn."""
        job = Job(name, owner, run, self._hub)
        self._ready.append(job)
        self._all.setdefault(owner, []).append(job)
        return job

    def ready(self, job: Job) -> None:
        """Let a sleeping job run again."""
        if job not in self._ready and not job.done:
            self._ready.append(job)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, act))

    def outside(self, act: Callable[[], None]) -> None:
        """Do something outside every job, at once; a job that asks goes on afterwards."""
        if greenlet.getcurrent() is self._hub:
            act()
            return
        self._interrupts.append(act)
        self.ready(self.running)
        self._hub.switch()

    def sleep(self, seconds: float | None) -> None:
        """Give up control until woken or until the time is over."""
        job = self.running
        woken = False

        def wake() -> None:
            if not woken:
                self.ready(job)

        if seconds is not None:
            self.at(self.now + max(0.0, seconds), wake)
        self._hub.switch()
        woken = True

    def kill(self, owner: object) -> None:
        """Drop every job of an owner where it stands, as kill -9 does; call it from `outside`."""
        for job in self._all.pop(owner, ()):
            job.done = True
            job.greenlet.throw()
            job.error = None  # what a dying job tried does not count

    def run(self, until: Callable[[], bool], limit_s: float) -> None:
        """Run until a condition holds; raise `Stalled` when that takes more than `limit_s` of
        simulated time.
        """
        end = self.now + limit_s
        while not until():
            if self._ready:
                self._step()
            elif self._timers and self._timers[0][0] <= end:
                when, _, act = heapq.heappop(self._timers)
                self.now = max(self.now, when)
                act()
            else:
                raise Stalled(f"not reached within {limit_s} s of simulated time")

    def _step(self) -> None:
        job = self._ready.pop(self.random.randrange(len(self._ready)))
        if job.done:
            return
        if (until := self.stopped.get(job.owner, 0.0)) > self.now:
            self.at(until, lambda: self.ready(job))
            return
        self.running = job
        job.greenlet.switch()
        while self._interrupts:
            self._interrupts.pop()()
        if job.done and job in self._all.get(job.owner, ()):
            self._all[job.owner].remove(job)
        if job.error is not None:
            self.failed(job)


def _raise(job: Job) -> None:
    assert job.error is not None
    raise AssertionError(f"{job.name} failed: {job.error!r}") from job.error


class SimTasks:
    """`common.tasks.Tasks` for one owner."""

    def __init__(self, scheduler: Scheduler, owner: object) -> None:
        self._scheduler = scheduler
        self._owner = owner

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        self._scheduler.spawn(name, self._owner, run)

    def event(self) -> Event:
        return SimEvent(self._scheduler)

    def pause(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)


class SimClock:
    """`common.clock.Clock` of one machine: its own rate, its own start, its own idea of the
    date.
    """

    def __init__(self, scheduler: Scheduler, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self._scheduler = scheduler
        self.rate = rate
        self.offset_s = offset_s
        self.wall_offset_s = 0.0

    def now(self) -> float:
        return self._scheduler.now * self.rate + self.offset_s

    def wall(self) -> datetime:
        return DAY_ONE + timedelta(seconds=self._scheduler.now + self.wall_offset_s)
