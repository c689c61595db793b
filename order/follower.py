"""Follows the sales ledger: the only one who moves the cursor.

Law: to catch up is to reach the end shown by a ledger read that began after the request arrived; a
round already under way proves nothing to a later arrival. A ledger of another history is refused.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from common.clock import Clock
from common.errors import Problem
from common.tasks import Event, Tasks
from order.ledger import Ledger
from order.metrics import Metrics
from order.model import Malformed, Page, Refused
from order.store import NotStored, StorageBroken, Store

log = logging.getLogger("bazar.order")

TICK_S = 0.5  # readers catch up by themselves: this only leaves them less to do
TICK_READ_S = 1.0


@dataclass(frozen=True)
class _Round:
    """One run to an end read after it began; `number` counts rounds in the order they began."""

    number: int
    done: Event


class Follower:
    """Brings the ledger into the store, by itself and when a reader asks for it."""

    def __init__(
        self, ledger: Ledger, store: Store, *, clock: Clock, tasks: Tasks, metrics: Metrics
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._metrics = metrics
        self._lock = threading.Lock()
        self._begun = 0
        self._reached = 0  # the latest round that reached its end
        self._running: _Round | None = None
        self._seen: Page | None = None
        self._refusing: str | None = None
        self._trouble = ""
        self._stopped = False
        self._stopping = tasks.event()
        metrics.lag.set_function(lambda: self.lag or 0)

    @property
    def refusing(self) -> str | None:
        """Return why nothing may be answered from this log, or None."""
        return self._store.broken or self._refusing

    @property
    def seen(self) -> Page | None:
        """Return the page that was read last."""
        return self._seen

    @property
    def lag(self) -> int | None:
        """Return how many rows of the ledger, as last seen, are missing here."""
        return None if self._seen is None else max(self._seen.end - self._store.place.number, 0)

    def run(self) -> None:
        """Follow until `stop`; raise `StorageBroken` when the process must end and start again."""
        while not self._stopped:
            self.tick()
            self._stopping.wait(TICK_S)

    def stop(self) -> None:
        """End `run` after the page it is at."""
        self._stopped = True
        self._stopping.set()

    def tick(self) -> None:
        """Follow until nothing is missing."""
        if self._store.broken is not None:
            raise StorageBroken(self._store.broken)
        try:
            while not self._stopped:
                end = self._step(self._clock.now() + TICK_READ_S)
                if self._store.place.number >= end:
                    return
        except Refused:
            pass  # `_refuse` has said it
        except (Problem, NotStored, Malformed) as error:
            self._note(type(error).__name__, error)

    def catch_up(self, until: float) -> None:
        """Return once every sale completed before this call is in the store.

        Raises `unavailable` when that cannot be had before `until`. Callers that come while a round
        is running share the next one.
        """
        with self._lock:
            needed = self._begun + 1
        while self._clock.now() < until:
            with self._lock:
                if self._reached >= needed:
                    return
                other = self._running
                mine = None if other else self._begin()
            if mine is not None:
                return self._run(mine, until)
            if other is not None:
                other.done.wait(max(until - self._clock.now(), 0))
        raise Problem("unavailable", "the sales ledger could not be read in time")

    def _begin(self) -> _Round:
        self._begun += 1
        self._running = _Round(self._begun, self._tasks.event())
        return self._running

    def _run(self, mine: _Round, until: float) -> None:
        reached = False
        try:
            self._reach_end(until)
            reached = True
        finally:
            with self._lock:
                self._running = None
                self._reached = mine.number if reached else self._reached
            mine.done.set()

    def _reach_end(self, until: float) -> None:
        try:
            end = self._step(until)
            while self._store.place.number < end:
                self._step(until)
        except Refused as error:
            raise Problem("unavailable", f"this order log is out of service: {error}") from error
        except (NotStored, StorageBroken, Malformed) as error:
            raise Problem("unavailable", f"the sales ledger cannot be followed: {error}") from error

    def _step(self, until: float) -> int:
        """Read and store one page; return where the ledger ended."""
        try:
            self._seen = page = self._ledger.read(self._store.place.number, until)
            moved = self._store.follow(page)
        except Refused as error:
            self._refuse(str(error))
            raise
        self._accept()
        self._metrics.followed.inc(moved)
        return page.end

    def _refuse(self, why: str) -> None:
        if self._refusing != why:
            log.critical("REFUSING the sales ledger: %s", why)
        self._refusing = why

    def _accept(self) -> None:
        """Note that a page fitted: that proves (see `ask_after`) that both are of one history."""
        if self._refusing is not None:
            log.warning("following the sales ledger again: it fits this log")
        self._refusing = None
        self._note("", "")

    def _note(self, trouble: str, why: object) -> None:
        """Log a kind of trouble when it begins and when it ends, not at every tick."""
        if self._trouble == trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("not following the sales ledger: %s", why)
        else:
            log.info("following the sales ledger again")
