"""What the shoppers of a demo found, second by second. Pure: times come from outside.

A read is timed by its one answer; a purchase from its first try until it is decided, for that is
how long somebody waited.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from typing import Any

SECONDS_KEPT = 120
RECENT = 5  # seconds that the figures of now are made of
READ, PURCHASE = "read", "purchase"
PARTS = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass
class Second:
    """One second: how long what ended in it took (seconds), and how many answers were no good."""

    at: int
    reads: list[float] = field(default_factory=list)
    purchases: list[float] = field(default_factory=list)
    failed: int = 0


class Figures:
    """The last two minutes; `codes` counts since the beginning how each try was answered."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)
        self.codes: Counter[str] = Counter()

    def took(self, kind: str, seconds: float, now: float) -> None:
        """Note something that came to its end."""
        second = self._second(now)
        (second.reads if kind == READ else second.purchases).append(seconds)

    def answered(self, code: str, now: float, *, good: bool) -> None:
        """Note how one try was answered."""
        self.codes[code] += 1
        self._second(now).failed += not good

    def advance(self, now: float) -> None:
        """Let seconds in which nothing happened be there, too."""
        self._second(now)

    def _second(self, now: float) -> Second:
        at = int(now)
        if not self._seconds:
            self._seconds.append(Second(at))
        while self._seconds[-1].at < at:
            self._seconds.append(Second(max(self._seconds[-1].at + 1, at - SECONDS_KEPT)))
        return self._seconds[-1]

    def series(self, now: float) -> list[dict[str, Any]]:
        """Return each full second: how many ended and failed, percentiles in milliseconds."""
        return [
            {
                "at": second.at, "reads": len(second.reads), "purchases": len(second.purchases),
                "failed": second.failed, "read_ms": percentiles(second.reads),
                "purchase_ms": percentiles(second.purchases),
            }
            for second in self._seconds if second.at < int(now)
        ]  # fmt: skip

    def recent(self, now: float) -> dict[str, Any]:
        """Return the same over the last seconds, rates being per second."""
        full = [second for second in self._seconds if int(now) - RECENT <= second.at < int(now)]
        reads, purchases = (
            list(chain.from_iterable(getattr(second, kind) for second in full))
            for kind in ("reads", "purchases")
        )
        count = len(full) or 1
        return {
            "reads_per_s": round(len(reads) / count, 1),
            "purchases_per_s": round(len(purchases) / count, 1),
            "failed_per_s": round(sum(second.failed for second in full) / count, 1),
            "read_ms": percentiles(reads), "purchase_ms": percentiles(purchases),
        }  # fmt: skip


def percentiles(seconds: Iterable[float]) -> dict[str, float] | None:
    """Return p50, p95 and p99 in milliseconds, by nearest rank; None of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    return {name: round(1000 * _rank(ordered, part), 1) for name, part in PARTS.items()}


def _rank(ordered: Sequence[float], part: float) -> float:
    return ordered[max(0, ceil(part * len(ordered)) - 1)]
