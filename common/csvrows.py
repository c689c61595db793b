"""Rows of a CSV file that may be broken, each with the number of its line; constant memory.

Law: one broken row costs itself and nothing else. A quoted field may run over several lines, so a
quote that is never closed could swallow the file. It is given up, and the lines after its first are
read again by themselves, as soon as one of these shows: text after a closing quote, a whole row
inside the field, a wrong number of columns, the end of the file, or `FIELD_LINES_MAX` lines.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

LINE_BYTES_MAX = 256 * 1024
FIELD_LINES_MAX = 200
UTF8_BOM = b"\xef\xbb\xbf"
TOO_LONG = f"the line is longer than {LINE_BYTES_MAX // 1024} KiB"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be loaded: its first line in the file, counted from 1, and why."""

    line: int
    reason: str


class Row(NamedTuple):
    """A well-formed row: its first line in the file and its cells."""

    line: int
    cells: list[str]


class _Line(NamedTuple):
    number: int
    text: str
    fault: str  # why no row with this line can be loaded, or ""


class CsvRows:
    """Reads one file, row by row; the first row says how many columns the others have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._given_back: deque[_Line] = deque()
        self._lines_read = 0

    def header(self) -> Row | BadRow | None:
        """Return the file's first row, None when there is none."""
        return (
            self._row(columns=None, is_whole=lambda cells: False)
            if self._skip_blank_lines()
            else None
        )

    def rest(self, columns: int, is_whole: Callable[[list[str]], bool]) -> Iterator[Row | BadRow]:
        """Yield the other rows; `is_whole(cells)` tells whether cells by themselves are a row."""
        while self._skip_blank_lines():
            yield self._row(columns, is_whole)

    def _row(self, columns: int | None, is_whole: Callable[[list[str]], bool]) -> Row | BadRow:
        """Read one row; unless it is well-formed, give back what it took beyond its first line."""
        taken: list[_Line] = []
        reason = ""
        cells: list[str] = []
        try:
            cells = next(csv.reader(self._take(taken, columns, is_whole), strict=True))
        except csv.Error as error:
            reason = _reason(error, len(taken))
        if not reason and columns is not None and len(cells) != columns:
            reason = f"{columns} columns expected, this row has {len(cells)}"
        if reason:
            self._given_back.extendleft(reversed(taken[1:]))
        reason = taken[0].fault or reason or next((line.fault for line in taken if line.fault), "")
        return BadRow(taken[0].number, reason) if reason else Row(taken[0].number, cells)

    def _take(
        self, taken: list[_Line], columns: int | None, is_whole: Callable[[list[str]], bool]
    ) -> Iterator[str]:
        """Yield line after line while the csv module asks for more, within a field's bounds."""
        while (line := self._next_line()) is not None:
            if taken and (len(taken) == FIELD_LINES_MAX or _stands_alone(line, columns, is_whole)):
                self._given_back.appendleft(line)
                return
            taken.append(line)
            yield line.text
            if (
                line.fault == TOO_LONG
            ):  # its rest is thrown away, so nobody knows where its quotes end
                return

    def _skip_blank_lines(self) -> bool:
        """Go to the next line with anything in it; return whether there is one."""
        while (line := self._next_line()) is not None:
            if line.text.strip():
                self._given_back.appendleft(line)
                return True
        return False

    def _next_line(self) -> _Line | None:
        if self._given_back:
            return self._given_back.popleft()
        raw = self._stream.readline(LINE_BYTES_MAX)
        if not raw:
            return None
        self._lines_read += 1
        if self._lines_read == 1:
            raw = raw.removeprefix(UTF8_BOM)
        if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
            return self._too_long(raw)
        return _decoded(self._lines_read, raw)

    def _too_long(self, raw: bytes) -> _Line:
        chunk = raw
        while chunk and not chunk.endswith(b"\n"):
            chunk = self._stream.readline(LINE_BYTES_MAX)
        return _Line(self._lines_read, "-", TOO_LONG)


def _decoded(number: int, raw: bytes) -> _Line:
    fault = "holds a NUL byte" if b"\0" in raw else ""
    try:
        return _Line(number, raw.decode(), fault)
    except UnicodeDecodeError as error:
        byte = f"0x{raw[error.start]:02x}"
        fault = fault or f"not UTF-8: {byte} at byte {error.start + 1} of line {number}"
        # Decoded all the same: its quotes say where the row ends.
        return _Line(number, raw.decode("utf-8", "surrogateescape"), fault)


def _stands_alone(line: _Line, columns: int | None, is_whole: Callable[[list[str]], bool]) -> bool:
    """Tell whether a line inside a quoted field is a row itself: then the quote is not closed."""
    if line.fault or line.text.count(",") < (columns or 0) - 1:
        return False
    try:
        cells = next(csv.reader([line.text], strict=True))
    except csv.Error:
        return False
    return len(cells) == columns and is_whole(cells)


def _reason(error: csv.Error, lines: int) -> str:
    """Say in a person's words what the csv module found."""
    text = str(error)
    if lines > 1 or text == "unexpected end of data":
        return "a quote opened in this row is not closed"
    if "expected after" in text:
        return "text after a closing quote: one is missing, or one inside the field is not doubled"
    return "a carriage return outside quotes" if text.startswith("new-line") else text
