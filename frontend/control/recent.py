"""What was asked a moment ago is not asked again: rooms that look at the same time share an answer.

Law: nobody gets an answer older than `for_s`. The lock is never held while one is made: who comes
while that is under way makes one more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from common.clock import Clock

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Remembers what `make` returned; `lock` is taken for a few steps at a time."""

    def __init__(
        self,
        make: Callable[[], Value],
        *,
        for_s: float,
        clock: Clock,
        lock: AbstractContextManager[object],
    ) -> None:
        self._make = make
        self._for_s = for_s
        self._clock = clock
        self._lock = lock
        self._known: tuple[float, Value] | None = None

    def get(self) -> Value:
        """Return what was made lately, or now."""
        with self._lock:
            known = self._known
        if known is not None and self._clock.now() - known[0] < self._for_s:
            return known[1]
        made = self._clock.now(), self._make()  # its age counts from when it was begun
        with self._lock:
            self._known = made
        return made[1]
