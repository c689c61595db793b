"""Loads books: rows in, batches to the leader, bad rows counted and named.

Law: a book is known by its sku, so what is there already stays as it is, and a file can be loaded
again at any time.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Full, Queue
from typing import TypeVar

from catalog.bookfile import LeftOut
from catalog.layouts import Book
from catalog.messenger import Messenger
from common.csvrows import BadRow

BATCH_ROWS_MAX = 500
BATCH_BYTES_MAX = 256 * 1024
BAD_ROWS_NAMED_MAX = 1000
BATCHES_AHEAD = 2
AHEAD_LOOK_S = 0.1
ONE_OF = {"bad rows": "bad row", "rows received": "row received", "copies": "copy"}
T = TypeVar("T")


@dataclass
class Tally:
    """What one run did: `done` names and numbers it, in the order in which it is told."""

    done: Counter[str]
    named: Callable[[str], None]
    bad: int = 0
    left_out: int = 0

    @classmethod
    def empty(cls) -> Tally:
        """Return the tally of a file that could not even be opened."""
        return cls(Counter(), lambda line: None)

    def count_bad(self, row: BadRow) -> None:
        """Count a bad row, and name it unless there were too many."""
        self.bad += 1
        if self.bad <= BAD_ROWS_NAMED_MAX:
            self.named(f"line {row.line}: {row.reason}")

    def figures(self) -> list[tuple[int, str]]:
        """Return what was counted, each number with its word."""
        counts = {**self.done, "bad rows": self.bad}
        if self.left_out:
            counts["left out"] = self.left_out
        return [
            (number, ONE_OF.get(word, word) if number == 1 else word)
            for word, number in counts.items()
        ]

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {word}" for number, word in self.figures())


@dataclass
class Loading:
    """One run over a file of books."""

    run_id: str
    messenger: Messenger
    named: Callable[[str], None]
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(Counter(added=0, changed=0, unchanged=0), self.named)

    def run(self, items: Iterable[Book | BadRow | LeftOut], tick: Callable[[], None]) -> None:
        """Load the books and name the bad rows, `tick()` after each batch.

        Raises `BadFile` or `Undelivered`; the tally then says what was loaded before.
        """
        for number, rows in enumerate(ahead(batches(self._good(items))), start=1):
            key = f"import-{self.run_id}-{number}"
            self.tally.done.update(self.messenger.run(key, "import", {"rows": rows}))
            tick()

    def _good(self, items: Iterable[Book | BadRow | LeftOut]) -> Iterator[Book]:
        for item in items:
            if isinstance(item, BadRow):
                self.tally.count_bad(item)
            elif isinstance(item, LeftOut):
                self.tally.left_out += 1
            else:
                yield item


def batches(books: Iterable[Book]) -> Iterator[list[Book]]:
    """Group books into lists that each make one operation of a bounded size."""
    batch: list[Book] = []
    size_bytes = 0
    for book in books:
        book_bytes = len(json.dumps(book, separators=(",", ":"))) + 1
        if batch and (len(batch) == BATCH_ROWS_MAX or size_bytes + book_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(book)
        size_bytes += book_bytes
    if batch:
        yield batch


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield items while a thread makes the next ones: a fifth of an import is reading the file."""
    made: Queue[T | BaseException | None] = Queue(BATCHES_AHEAD)
    over = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not over.is_set():
            try:
                return made.put(item, timeout=AHEAD_LOOK_S)
            except Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    maker = threading.Thread(target=make, name="reader", daemon=True)
    maker.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        maker.join()  # it reads the file, which the caller closes
