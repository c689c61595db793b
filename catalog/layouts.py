"""The kinds of files of books: which columns each must have, and how its cells make a book.

Law: a layout only moves and splits cells; whether the fields are well-formed says `common.fields`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common import fields

Book = dict[str, Any]
Cells = Mapping[str, str]

MAPPABLE = ("sku", "title", "authors", "topics", "topic", "price_cents", "price", "stock",
            "received")  # fmt: skip
UNSHELVED = "Other"

_WHOLE = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_AMOUNT = re.compile(r"(-?[0-9]{1,30})(?:[.,]([0-9]{1,2}))?", re.ASCII)
_LIFE_DATES = re.compile(r",\s*(\d{1,4}\??( BCE)?)?-(\d{1,4}\??( BCE)?)?$", re.ASCII)
_ROLE = re.compile(r"\s*\[[^\]]*\]$")
_SHELF_KIND = re.compile(r"^(Browsing|Category):\s*")


@dataclass(frozen=True)
class Given:
    """What every row gets that does not say it itself; None: the row must."""

    price_cents: int | None = None
    stock: int | None = None
    topic: str | None = None


@dataclass(frozen=True)
class Layout:
    """One kind of file. Each of `required` is one column, or one of several (`topics or topic`);
    `book(cells, given)` is None for a row that is no book.
    """

    required: tuple[tuple[str, ...], ...]
    book: Callable[[Cells, Given], Book | None]
    given: Given

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return what a header lacks."""
        has = {*names, *_columns(self.given)}
        return [
            f"{ways[0]} (or {' or '.join(ways[1:])})" if len(ways) > 1 else ways[0]
            for ways in self.required
            if has.isdisjoint(ways)
        ]


def layout_of(names: Sequence[str], given: Given) -> Layout:
    """Return the layout of a file by its columns, with what its rows get."""
    if "text#" not in names:
        return replace(BAZAR, given=given)
    own = GUTENBERG.given
    return replace(GUTENBERG, given=Given(
        own.price_cents if given.price_cents is None else given.price_cents,
        own.stock if given.stock is None else given.stock,
        given.topic or own.topic,
    ))  # fmt: skip


def _columns(given: Given) -> set[str]:
    columns = {"price_cents": given.price_cents, "stock": given.stock, "topics": given.topic}
    return {name for name, value in columns.items() if value is not None}


def _bazar_book(cells: Cells, given: Given) -> Book:
    topics = _parts(cells.get("topics", ""), "|") or _parts(cells.get("topic", ""), "|")
    return {
        "sku": cells["sku"],
        "title": cells["title"],
        "authors": _parts(cells["authors"], ";"),
        "topics": topics or ([given.topic] if given.topic else []),
        "price_cents": _price_cents(cells, given),
        "quantity": _whole("stock", cells.get("stock", ""), fields.STOCK_MAX, given.stock),
    }


def _gutenberg_book(cells: Cells, given: Given) -> Book | None:
    """Map `pg_catalog.csv` (described at www.gutenberg.org/ebooks/offline_catalogs.html).

    Its people carry life dates, and helpers a role: `Pusey, E. B., 1800-1882 [Translator]`. Its
    rooms are shelves with a kind, `Category: Poetry`; the others are what volunteers put together.
    """
    if cells.get("type", "Text").strip() != "Text":
        return None
    people = _parts(cells["authors"], ";")
    authors = [person for person in people if not _ROLE.search(person)] or people
    shelves = _parts(cells["bookshelves"], ";")
    rooms = [_SHELF_KIND.sub("", shelf) for shelf in shelves if _SHELF_KIND.match(shelf)]
    return {
        "sku": f"PG{cells['text#'].strip()}" if cells["text#"].strip() else "",
        "title": cells["title"],
        "authors": [_LIFE_DATES.sub("", _ROLE.sub("", author)) for author in authors],
        "topics": rooms or shelves or [given.topic],
        "price_cents": given.price_cents,
        "quantity": given.stock,
    }


BAZAR = Layout(
    (("sku",), ("title",), ("authors",), ("price_cents", "price"), ("stock",), ("topics", "topic")),
    _bazar_book,
    Given(),
)
GUTENBERG = Layout(
    (("text#",), ("title",), ("authors",), ("bookshelves",)),
    _gutenberg_book,
    Given(price_cents=999, stock=10, topic=UNSHELVED),
)


def _parts(cell: str, separator: str) -> list[str]:
    return [part for part in (piece.strip() for piece in cell.split(separator)) if part]


def _price_cents(cells: Cells, given: Given) -> int:
    amount = cells.get("price", "").strip()
    if not amount or cells.get("price_cents", "").strip():
        cell = cells.get("price_cents", "")
        return _whole("price_cents", cell, fields.PRICE_CENTS_MAX, given.price_cents)
    found = _AMOUNT.fullmatch(amount)
    if not found:
        raise fields.invalid("price", f"must be an amount like 12.99, this is {amount[:40]!r}")
    whole, part = found[1], (found[2] or "").ljust(2, "0")
    return fields.integer("price", int(whole + part), 0, fields.PRICE_CENTS_MAX)


def _whole(field: str, cell: str, high: int, given: int | None) -> int:
    number = cell.strip()
    if not number:
        if given is None:
            raise fields.invalid(field, "must not be empty")
        return given
    if not _WHOLE.fullmatch(number):
        raise fields.invalid(field, f"must be a whole number, this is {number[:40]!r}")
    return fields.integer(field, int(number), 0, high)
