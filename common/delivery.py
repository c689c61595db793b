"""A delivery: a CSV file of copies received, rows `sku,received`, each of which is a restock.

Law: a row's idempotency key is made of the file's bytes and the row's line, so a file that arrives
twice, from the importer or through the control room, adds its copies once.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common import fields
from common.csvrows import BadRow, CsvRows, Row
from common.errors import Problem

COLUMNS = ("sku", "received")
REASON = "delivery"

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class Received:
    """A row: copies of a book that came in, and the key under which they are added."""

    line: int
    sku: str
    quantity: int
    key: str

    def restock(self, book_id: int) -> dict[str, Any]:
        """Return the body of the operation that adds these copies to a book found by its sku."""
        return {"book_id": book_id, "quantity": self.quantity, "reason": REASON}


def read(data: bytes) -> Iterator[Received | BadRow]:
    """Yield each row of a file's bytes; raise `invalid-request` when they are no delivery."""
    rows = CsvRows(io.BytesIO(data))
    header = rows.header()
    names = column_names(header.cells) if isinstance(header, Row) else []
    if not set(COLUMNS) <= set(names):
        raise Problem("invalid-request", f"the first line must name {' and '.join(COLUMNS)}")
    yield from received(rows, names, hashlib.sha256(data).hexdigest())


def received(rows: CsvRows, names: Sequence[str], digest: str) -> Iterator[Received | BadRow]:
    """Yield the rows after the header; `digest` is the file's own SHA-256 in hex."""
    at = [names.index(name) for name in COLUMNS]
    for row in rows.rest(len(names), lambda cells: False):
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            sku, count = (row.cells[index] for index in at)
            key = f"delivery-{digest[:16]}-{row.line}"
            yield Received(row.line, _sku(sku), _count(count), key)
        except Problem as problem:
            yield BadRow(row.line, problem.detail)


def unknown(row: Received) -> BadRow:
    """Return what is said of a row whose book the shop does not have."""
    return BadRow(row.line, f"sku: there is no book {row.sku}")


def column_names(cells: Sequence[str]) -> list[str]:
    """Return the names in a header as they are compared."""
    return [cell.strip().lower() for cell in cells]


def _sku(cell: str) -> str:
    return fields.text("sku", cell, fields.SKU_CHARS_MAX)


def _count(cell: str) -> int:
    number = cell.strip()
    if not _COUNT.fullmatch(number):
        raise fields.invalid("received", f"must be a whole number, this is {number[:40]!r}")
    return fields.integer("received", int(number), 1, fields.QUANTITY_MAX)
