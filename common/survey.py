"""Asks many nodes the same thing.

Law: all are asked at the same time and nobody is waited for longer than the time given; who has
not answered by then is down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from common.clock import Clock
from common.errors import Problem
from common.peer import PeerDown
from common.tasks import Tasks

DOWN = "down"

Found = Mapping[str, Any]


class Survey:
    """Asks, and puts together what the nodes answer."""

    def __init__(self, *, clock: Clock, tasks: Tasks, lock: AbstractContextManager[object]) -> None:
        self._clock = clock
        self._tasks = tasks
        self._lock = lock

    def ask(
        self, names: Collection[str], ask: Callable[[str], Found], whole_s: float
    ) -> dict[str, Found]:
        """Return what each of them answers; for one that is down its state, and why."""
        until = self._clock.now() + whole_s
        found: dict[str, Found] = {}
        asked = {name: self._tasks.event() for name in names}

        def run(name: str) -> None:
            answer = _answer_or_down(partial(ask, name))
            with self._lock:
                found[name] = answer
            asked[name].set()

        for name in names:
            self._tasks.spawn(f"ask {name}", partial(run, name))
        for answered in asked.values():
            answered.wait(max(0.0, until - self._clock.now()))
        with self._lock:
            answers = dict(found)
        return {name: answers.get(name, _down("no answer in time")) for name in names}


def _answer_or_down(ask: Callable[[], Found]) -> Found:
    try:
        return ask()
    except (PeerDown, Problem, ValueError, AttributeError) as error:
        return _down(str(error)[:200])


def _down(why: str) -> Found:
    return {"state": DOWN, "why": why}
