"""Reads a file of books: CSV, plain or gzipped, in our own layout or Project Gutenberg's.

Law: every row comes out once, in order, as a book that `common.fields.book` has checked, as a
`BadRow` that says why not, or as a `LeftOut`; memory does not grow with the file except for the
skus seen.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from catalog.layouts import MAPPABLE, Book, Given, layout_of
from common import fields
from common.csvrows import BadRow, CsvRows, Row
from common.delivery import column_names
from common.errors import Problem

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Mapped = Mapping[str, str]  # a column's name in the file -> the name that it has for us


class BadFile(Exception):
    """The file cannot be read as books at all, or not to its end."""


@dataclass(frozen=True)
class LeftOut:
    """A row that is in order and no book of a bookshop: a recording, a picture."""

    line: int


@dataclass(frozen=True)
class Sheet:
    """A file whose first row has been read: the names of its columns, and the rows to come."""

    names: list[str]
    rows: CsvRows


def mapping(text: str) -> dict[str, str]:
    """Read `title=Title,authors=Writer`: our fields and the headers they have in a file; a header
    with a comma is quoted as in CSV (`"authors=Last, First"`). Raises `BadFile`.
    """
    found: dict[str, str] = {}
    for pair in next(csv.reader([text], skipinitialspace=True), []):
        field, equals, header = (part.strip() for part in pair.partition("="))
        if not (field and equals and header):
            raise BadFile(f"--map: {pair!r} is not field=header")
        if field not in MAPPABLE:
            raise BadFile(f"--map: there is no field {field} (fields: {', '.join(MAPPABLE)})")
        if field in found.values():
            raise BadFile(f"--map: {field} is named twice")
        if header.lower() in found:
            raise BadFile(f"--map: the column {header} is named twice")
        found[header.lower()] = field
    return found


def opened(source: BinaryIO, mapped: Mapped | None = None) -> Sheet:
    """Read a file's first row; raise `BadFile` when it names no columns, or not those mapped."""
    with readable():
        rows = CsvRows(unpacked(source))
        return Sheet(_names(rows.header(), mapped or {}), rows)


def books(sheet: Sheet, given: Given | None = None) -> Iterator[Book | BadRow | LeftOut]:
    """Yield each row. Raises `BadFile`: before the first row when these are no books, later when
    the file breaks off.
    """
    with readable():
        yield from _books(sheet, given or Given())


def read_books(path: Path) -> list[Book]:
    """Return all books of a file that must be perfect; raise `BadFile` naming its bad rows."""
    found: list[Book] = []
    bad: list[str] = []
    with path.open("rb") as source:
        for item in books(opened(source)):
            if isinstance(item, BadRow):
                bad.append(f"line {item.line}: {item.reason}")
            elif not isinstance(item, LeftOut):
                found.append(item)
    if bad:
        raise BadFile(f"{path.name}: " + "; ".join(bad))
    return found


@contextmanager
def readable() -> Iterator[None]:
    """Raise `BadFile` for what goes wrong while a file is read."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"the gzip file is damaged: {error}") from error
    except OSError as error:
        raise BadFile(f"reading failed: {error.strerror or error}") from error


def unpacked(source: BinaryIO) -> BinaryIO:
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


def _books(sheet: Sheet, given: Given) -> Iterator[Book | BadRow | LeftOut]:
    layout = layout_of(sheet.names, given)
    if missing := layout.missing(sheet.names):
        found = repr(", ".join(sheet.names)[:200])
        raise BadFile(f"columns missing: {', '.join(missing)} (the first line has {found})")

    def book_of(cells: list[str]) -> Book | None:
        book = layout.book(dict(zip(sheet.names, cells, strict=True)), layout.given)
        return None if book is None else fields.book(book)

    def is_whole(cells: list[str]) -> bool:
        try:
            book_of(cells)
        except Problem:
            return False
        return True

    lines_of_skus: dict[str, int] = {}
    for row in sheet.rows.rest(len(sheet.names), is_whole):
        yield row if isinstance(row, BadRow) else _checked(row, book_of, lines_of_skus)


def _checked(
    row: Row, book_of: Callable[[list[str]], Book | None], lines_of_skus: dict[str, int]
) -> Book | BadRow | LeftOut:
    """Return the row's book, unless a field is wrong or an earlier row of the file has its sku."""
    try:
        book = book_of(row.cells)
    except Problem as problem:
        return BadRow(row.line, problem.detail)
    if book is None:
        return LeftOut(row.line)
    first = lines_of_skus.setdefault(book["sku"], row.line)
    if first != row.line:
        return BadRow(row.line, f"sku: {book['sku']} is already on line {first}")
    return book


def _names(header: Row | BadRow | None, mapped: Mapped) -> list[str]:
    """Return the columns' names, those mapped by our name; whose name that takes has none."""
    if header is None:
        raise BadFile("the file is empty")
    if isinstance(header, BadRow):
        raise BadFile(f"the first line should name the columns: {header.reason}")
    names = column_names(header.cells)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise BadFile(f"the first line names a column twice: {', '.join(twice)}")
    if missing := sorted(set(mapped) - set(names)):
        found = repr(", ".join(names)[:200])
        raise BadFile(f"--map: columns missing: {', '.join(missing)} (the first line has {found})")
    taken = set(mapped.values())
    return [mapped.get(name, "" if name in taken else name) for name in names]
