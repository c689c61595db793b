"""The calls whose bytes are known, answered together at the end of a turn of the event loop.

Law: a call waits here only while nothing else of its connection is in flight, and whatever else is
to be done on a connection comes after `end`; so the answers on it keep the order of its requests.
Whatever goes wrong with one of them, the others get their answers.

A client that sleeps is woken by its answer, and that costs a server more than all else it does for
a hit. A client that gets its answers one by one goes to sleep after each; so what others ask in the
same turn is read first. The calls of a turn also share one lock and one look at the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from common.wsgi import Answer

CALLS_MAX = 64  # bounds how long the first of them waits for the others

log = logging.getLogger("bazar")


class Asker(Protocol):
    """A connection; `waits` is its call that waits."""

    waits: Any

    def tell(self, answer: Answer | None) -> None:
        """Take the answer to the call that waits; None: it goes the ordinary way."""


class Turn:
    """Those that wait on one event loop; `answers` has one for each of several calls, or None.

    Whoever puts itself into `askers` has `end` called before the loop waits again.
    """

    def __init__(self, answers: Callable[[Sequence[Any]], Sequence[Answer | None]]) -> None:
        self._answers = answers
        self.askers: list[Asker] = []

    def end(self) -> None:
        """Answer those that wait, now."""
        if self.askers:
            askers = self.askers.copy()
            self.askers.clear()
            try:
                answers = self._answers([asker.waits for asker in askers])
            except Exception:
                log.exception("a turn failed; its calls go the ordinary way")
                answers = [None] * len(askers)
            for asker, answer in zip(askers, answers):  # noqa: B905 - `strict` takes its time
                try:
                    asker.tell(answer)
                except Exception:
                    log.exception("an answer was not delivered")
