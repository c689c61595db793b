"""Reads a file of books: CSV, plain or gzipped, in our own layout or Project Gutenberg's.

Law: every row comes out once, in order, as a book that `common.fields.book` has checked or as a
`BadRow` that says why not; memory does not grow with the file except for the skus seen.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from common import fields
from common.csvrows import BadRow, CsvRows, Row
from common.errors import Problem

Book = dict[str, Any]
GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_WHOLE = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_LIFE_DATES = re.compile(r",\s*(\d{1,4}\??( BCE)?)?-(\d{1,4}\??( BCE)?)?$", re.ASCII)
_ROLE = re.compile(r"\s*\[[^\]]*\]$")
_SHELF_KIND = re.compile(r"^(Browsing|Category):\s*")


class BadFile(Exception):
    """The file cannot be read as books at all, or not to its end."""


@dataclass(frozen=True)
class _Layout:
    """One kind of file: the columns it must have, and how its cells make the fields of a book."""

    required: tuple[str, ...]
    fields: Callable[[Mapping[str, str]], Book]


def read(
    source: BinaryIO, *, price_cents: int = 999, quantity: int = 10
) -> Iterator[Book | BadRow]:
    """Yield each row of a file as a checked book or as a `BadRow`.

    Price and quantity are for Project Gutenberg's layout, which has none. Raises `BadFile`: before
    the first row when this is no such file, later when it breaks off.
    """
    try:
        yield from _books(
            CsvRows(_unpacked(source)), {"price_cents": price_cents, "quantity": quantity}
        )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"the gzip file is damaged: {error}") from error
    except OSError as error:
        raise BadFile(f"reading failed: {error.strerror or error}") from error


def read_books(path: Path) -> list[Book]:
    """Return all books of a file that must be perfect; raise `BadFile` naming its bad rows."""
    books: list[Book] = []
    bad: list[str] = []
    with path.open("rb") as source:
        for item in read(source):
            if isinstance(item, BadRow):
                bad.append(f"line {item.line}: {item.reason}")
            else:
                books.append(item)
    if bad:
        raise BadFile(f"{path.name}: " + "; ".join(bad))
    return books


def _unpacked(source: BinaryIO) -> BinaryIO:
    """Return the stream of lines inside a plain or gzipped file, told apart by the first bytes."""
    stream = (
        source
        if isinstance(source, io.BufferedReader)
        else io.BufferedReader(cast(io.RawIOBase, source))
    )
    magic = stream.peek(2)[:2]
    if magic in UTF16_MARKS:
        raise BadFile("the file is UTF-16: save it as UTF-8")
    if magic == GZIP_MAGIC:
        return io.BufferedReader(gzip.GzipFile(fileobj=stream), 256 * 1024)
    return stream


def _books(rows: CsvRows, extra: Book) -> Iterator[Book | BadRow]:
    names = _column_names(rows.header())
    layout = _layout_of(names)

    def book_of(cells: list[str]) -> Book:
        return fields.book(extra | layout.fields(dict(zip(names, cells, strict=True))))

    def is_whole(cells: list[str]) -> bool:
        try:
            return bool(book_of(cells))
        except Problem:
            return False

    lines_of_skus: dict[str, int] = {}
    for row in rows.rest(len(names), is_whole):
        yield row if isinstance(row, BadRow) else _checked(row, book_of, lines_of_skus)


def _checked(
    row: Row, book_of: Callable[[list[str]], Book], lines_of_skus: dict[str, int]
) -> Book | BadRow:
    """Return the row's book, unless a field is wrong or an earlier row of the file has its sku."""
    try:
        book = book_of(row.cells)
    except Problem as problem:
        return BadRow(row.line, problem.detail)
    first = lines_of_skus.setdefault(book["sku"], row.line)
    if first != row.line:
        return BadRow(row.line, f"sku: {book['sku']} is already on line {first}")
    return book


def _column_names(header: Row | BadRow | None) -> list[str]:
    if header is None:
        raise BadFile("the file is empty")
    if isinstance(header, BadRow):
        raise BadFile(f"the first line should name the columns: {header.reason}")
    names = [name.strip().lower() for name in header.cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise BadFile(f"the first line names a column twice: {', '.join(twice)}")
    return names


def _layout_of(names: list[str]) -> _Layout:
    layout = GUTENBERG if "text#" in names else BAZAR
    missing = [name for name in layout.required if name not in names]
    if layout is BAZAR and "topics" not in names and "topic" not in names:
        missing.append("topics (or topic)")
    if missing:
        found = repr(", ".join(names)[:200])
        raise BadFile(f"columns missing: {', '.join(missing)} (the first line has {found})")
    return layout


def _bazar_fields(cells: Mapping[str, str]) -> Book:
    return {
        "sku": cells["sku"],
        "title": cells["title"],
        "authors": _parts(cells["authors"], ";"),
        "topics": _parts(cells.get("topics", ""), "|") or _parts(cells.get("topic", ""), "|"),
        "price_cents": _whole("price_cents", cells["price_cents"], fields.PRICE_CENTS_MAX),
        "quantity": _whole("stock", cells["stock"], fields.STOCK_MAX),
    }


def _gutenberg_fields(cells: Mapping[str, str]) -> Book:
    """Map `pg_catalog.csv` (described at www.gutenberg.org/ebooks/offline_catalogs.html).

    Its people carry life dates, and helpers a role: `Pusey, E. B., 1800-1882 [Translator]`;
    its shelves may carry their kind: `Browsing: Poetry`.
    """
    people = _parts(cells["authors"], ";")
    authors = [person for person in people if not _ROLE.search(person)] or people
    shelves = [_SHELF_KIND.sub("", shelf) for shelf in _parts(cells["bookshelves"], ";")]
    return {
        "sku": f"PG{cells['text#'].strip()}" if cells["text#"].strip() else "",
        "title": cells["title"],
        "authors": [_LIFE_DATES.sub("", _ROLE.sub("", author)) for author in authors],
        "topics": shelves or _parts(cells["subjects"], ";"),
    }


BAZAR = _Layout(("sku", "title", "authors", "price_cents", "stock"), _bazar_fields)
GUTENBERG = _Layout(("text#", "title", "authors", "subjects", "bookshelves"), _gutenberg_fields)


def _parts(cell: str, separator: str) -> list[str]:
    return [part for part in (piece.strip() for piece in cell.split(separator)) if part]


def _whole(field: str, cell: str, high: int) -> int:
    number = cell.strip()
    if not number:
        raise fields.invalid(field, "must not be empty")
    if not _WHOLE.fullmatch(number):
        raise fields.invalid(field, f"must be a whole number, this is {number[:40]!r}")
    return fields.integer(field, int(number), 0, high)
