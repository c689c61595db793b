"""What the clients of a chaos run saw: every call with its times, every write with its key.

Law: one lock; times are this process's monotonic clock, read before a request is sent and after its
answer is here.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import Any

from tests.support.checker import Operation

READS = ("look", "stare", "browse", "order")
WRITES = ("sell", "basket", "restock", "price")
ANSWERED = frozenset({"ok", "hit", "sold-out"})
REFUSALS = frozenset({"writes-unavailable", "rate-limited"})  # nothing came of it
RECENT = 500  # calls
OPEN = REFUSALS | {"outcome-unknown", "unavailable", "in-progress", "no-answer"}


@dataclass(frozen=True)
class Call:
    """One request and how it ended."""

    kind: str
    frontend: str
    called: float
    ended: float
    answer: str  # ok | hit | sold-out | a code that leaves it open | no-answer
    why: str = ""


@dataclass
class Write:
    """A write with its key and one operation for each book; `answer` stays None if given up."""

    key: str
    kind: str
    lines: dict[int, int]  # book -> copies, or -> price
    operations: dict[int, Operation]
    answer: tuple[int, Any] | None = None
    refused: bool = True  # every answer so far said that nothing was done
    given_up: bool = False


@dataclass
class History:
    """All of it."""

    calls: list[Call] = field(default_factory=list)
    operations: dict[int, list[Operation]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    orders: dict[str, Any] = field(default_factory=dict)  # id -> document, as answered
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._began = monotonic()

    def violated(self, what: str) -> None:
        """Note that a promise was broken."""
        with self._lock:
            self.violations.append(f"at {monotonic() - self._began:.2f} s: {what}")

    def call(self, call: Call) -> None:
        """Note a call."""
        with self._lock:
            self.calls.append(call)

    def observed(self, book: int, operation: Operation) -> None:
        """Note what a read showed of a book."""
        with self._lock:
            self.operations.setdefault(book, []).append(operation)

    def begun(self, write: Write) -> None:
        """Note a write before it is sent for the first time."""
        with self._lock:
            self.writes.append(write)
            for book, operation in write.operations.items():
                self.operations.setdefault(book, []).append(operation)

    def decided(self, write: Write, answer: tuple[int, Any]) -> None:
        """Note the answer that decides a write, once: later ones must be the same."""
        with self._lock:
            before, write.answer = write.answer, write.answer or answer
            if before is None:
                self._settle(write, answer)
        if before not in (None, answer):
            self.violated(f"{write.key} was answered {before}, then {answer}")

    def _settle(self, write: Write, answer: tuple[int, Any]) -> None:
        status, document = answer
        if status == 201:
            self.orders[document["order_id"]] = document
        for book, operation in list(write.operations.items()):
            operation.returned = monotonic()
            operation.result = _result(book, operation, answer)
            if operation.result is None:  # says nothing about this book
                self._drop(write, book)

    def give_up(self, write: Write) -> None:
        """Take the shop at its word: nothing came of a write that was refused each time."""
        with self._lock:
            write.given_up = True
            for book in list(write.operations):
                self._drop(write, book)

    def _drop(self, write: Write, book: int) -> None:
        operation = write.operations.pop(book)
        mine = self.operations[book]
        del mine[next(at for at in reversed(range(len(mine))) if mine[at] is operation)]

    # --- for those who watch ---

    def counts(self) -> dict[str, Counter[str]]:
        """Return kind -> answer -> how many."""
        found: dict[str, Counter[str]] = {}
        with self._lock:
            for call in self.calls:
                found.setdefault(call.kind, Counter())[call.answer] += 1
        return found

    def ends(self, kinds: tuple[str, ...]) -> list[float]:
        """Return when calls of these kinds were answered, in order."""
        with self._lock:
            found = [c.ended for c in self.calls if c.kind in kinds and c.answer in ANSWERED]
        return sorted(found)

    def answered_since(self, moment: float, kinds: tuple[str, ...]) -> bool:
        """Tell whether a call that began after a moment has been answered."""
        with self._lock:
            recent = self.calls[-RECENT:]
        return any(
            call.called >= moment and call.kind in kinds and call.answer in ANSWERED
            for call in recent
        )


def unavailable_s(ends: list[float], begin: float, end: float, patience_s: float) -> float:
    """Return for how long, between two moments, nobody had been answered for `patience_s`."""
    inside = [begin, *(moment for moment in ends if begin < moment < end), end]
    return sum(max(0.0, later - earlier - patience_s) for earlier, later in pairwise(inside))


def _result(book: int, operation: Operation, answer: tuple[int, Any]) -> Any:
    status, document = answer
    if status == 409:
        return "sold-out" if document.get("book_id", book) == book else None
    if status == 201:
        return next(ln["price_cents"] for ln in document["items"] if ln["book_id"] == book)
    return (document["quantity"], document["price_cents"])
