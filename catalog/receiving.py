"""Receives a delivery: each row of the file is a restock of the book that has its sku.

Law: a row's key comes from the file and its line (`common/delivery.py`), so a file that arrives
twice adds its copies once. A sku the shop does not have is named, and no operation: it may come.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from catalog.bookfile import BadFile, Mapped, opened, readable, unpacked
from catalog.loading import Tally
from catalog.messenger import Messenger
from common import delivery
from common.bundle import WRITES_MAX, Recorded
from common.csvrows import BadRow
from common.delivery import Received
from common.errors import Problem

DELIVERY_BYTES_MAX = 32 * 1024 * 1024


@dataclass
class Receiving:
    """One run over a delivery."""

    messenger: Messenger
    named: Callable[[str], None]
    tally: Tally = field(init=False)
    _ids: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.tally = Tally(Counter({"rows received": 0, "copies": 0}), self.named)

    def run(self, items: Iterable[Received | BadRow], tick: Callable[[], None]) -> None:
        """Add the copies and name the bad rows, `tick()` after each message.

        Raises `BadFile` or `Undelivered`; the tally then says what was received before.
        """
        known = self._known(items)
        while found := list(islice(known, WRITES_MAX)):
            operations = [
                {"key": row.key, "kind": "restock", "body": row.restock(book_id)}
                for row, book_id in found
            ]
            outcomes = self.messenger.run_each(operations)
            for (row, _), outcome in zip(found, outcomes, strict=True):
                if refusal := _refusal(outcome):
                    self.tally.count_bad(BadRow(row.line, refusal))
                else:
                    self.tally.done.update({"rows received": 1, "copies": row.quantity})
            tick()

    def _known(self, items: Iterable[Received | BadRow]) -> Iterator[tuple[Received, int]]:
        """Yield each row with the id of its book; name the others."""
        for item in items:
            if isinstance(item, BadRow):
                self.tally.count_bad(item)
            elif (book_id := self._id_of(item.sku)) is None:
                self.tally.count_bad(delivery.unknown(item))
            else:
                yield item, book_id

    def _id_of(self, sku: str) -> int | None:
        if sku not in self._ids:
            found = self.messenger.ask("/books", {"sku": sku})["items"]
            if not found:
                return None
            self._ids[sku] = int(found[0]["id"])
        return self._ids[sku]


def rows(source: BinaryIO, mapped: Mapped) -> Iterator[Received | BadRow]:
    """Yield the rows of a delivery, which is read twice: its digest comes first.

    The digest is that of the file unpacked: packed again it has other bytes. Raises `BadFile`.
    """
    if not source.seekable():
        raise BadFile("a delivery is read twice: it must be a file, not a pipe")
    with readable():
        source.seek(0)
        data = unpacked(source).read(DELIVERY_BYTES_MAX + 1)
        if len(data) > DELIVERY_BYTES_MAX:
            raise BadFile(f"a delivery has at most {DELIVERY_BYTES_MAX // 2**20} MiB")
        source.seek(0)
        sheet = opened(source, mapped)
        yield from delivery.received(sheet.rows, sheet.names, hashlib.sha256(data).hexdigest())


def _refusal(outcome: Recorded | Problem) -> str:
    """Return why a row was not received, or the empty string."""
    if isinstance(outcome, Problem):
        return outcome.detail
    return str(outcome.answer.get("detail", "refused")) if outcome.status >= 300 else ""
