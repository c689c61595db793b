"""The reads that frontends ask for most, a book and a page of a topic: for the routes, and on the
event loop ahead of them.

Law: both ways check the same, in the same order, with the same code. What is refused, is not in the
plain form in which frontends ask, or would have to wait, is left to the routes: they say why.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote_plus

import apsw

from catalog import store
from catalog.disk import Halted
from catalog.model import book_key, topic_page_key
from catalog.node import Node, Reading
from common import fields
from common.auth import CLUSTER, Signer
from common.compact import compact
from common.cursor import read_cursor, write_cursor
from common.direct import Headers
from common.errors import Problem
from common.openspan import NOT_TRACED, AnySpan
from common.service import Call
from common.trace import TRACEPARENT_HEADER
from common.tracer import Tracer
from common.wsgi import Answer, answer_of

_BOOK = re.compile(rb"/books/([1-9][0-9]{0,18})")
_SEARCH = re.compile(
    rb"/search\?topic=((?:[A-Za-z0-9_.~+-]|%[0-9A-F]{2})*)"
    rb"&limit=([0-9]{1,4})(?:&after=([A-Za-z0-9_-]+))?"
)


def look_up(node: Node, book_id: int) -> Reading:
    """Read a book; raise `not-found`."""
    if book_id <= fields.ID_MAX:
        reading = node.read(book_key(book_id), lambda db: store.book(db, book_id))
        if reading.document is not None:
            return reading
    raise Problem("not-found", f"there is no book {book_id}")


def search(node: Node, spelled: str, limit: str | None, after: str | None) -> Reading:
    """Read one page of a topic; raise `invalid-request` for a bad cursor or limit."""
    topic, cluster = fields.topic_key(spelled), node.record.cluster
    row, items = read_cursor("search", cluster, after), fields.limit(limit)
    shown = " ".join(spelled.split())
    return node.read(topic_page_key(topic), lambda db: store.topic_page(
        db, topic, shown, items, row, lambda last: write_cursor("search", cluster, last)
    ))  # fmt: skip


def written(node: Node, reading: Reading) -> tuple[bytes, dict[str, str]]:
    """Return a reading's body, and the headers that say what it is true of."""
    body = compact(reading.document).encode()
    return body, {
        "ETag": f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
        "Bazar-Epoch": str(reading.epoch),
        "Bazar-As-Of": str(reading.as_of),
        "Bazar-Node": node.name,
    }


class Quick:
    """Answers signed reads without waiting: SQLite's readers wait for no writer (WAL)."""

    def __init__(self, node: Node, signer: Signer, tracer: Tracer) -> None:
        self._tracer = tracer
        self._node = node
        self._signer = signer

    def answer(self, call: Call) -> Answer | None:
        """Answer a call of this cluster's; None: ask the routes."""
        if call.method != "GET" or not call.target.startswith((b"/books/", b"/search?")):
            return None
        try:
            cluster, target = self._node.record.cluster, call.target.decode("latin-1")
            self._signer.check(Headers(call), call.method, target, b"", cluster)
            span: AnySpan = NOT_TRACED
            if TRACEPARENT_HEADER in call.headers:
                route = "/books/<int:book_id>" if call.target.startswith(b"/books/") else "/search"
                span = self._tracer.continued(f"GET {route}", Headers(call).get)
            reading = self._read(call.target)
        except (Problem, Halted, apsw.Error, UnicodeDecodeError):
            return None
        if reading is None:
            return None
        if span:  # that of a call which is left to the routes does not end here
            span.note("bazar.as_of", reading.as_of)
            span.end()
        body, labels = written(self._node, reading)
        described = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        kept = {"Cache-Control": "no-store", CLUSTER: cluster}
        return answer_of(200, (labels | described | kept).items(), body)

    def _read(self, target: bytes) -> Reading | None:
        if found := _BOOK.fullmatch(target):
            return look_up(self._node, int(found[1]))
        if found := _SEARCH.fullmatch(target):
            topic, limit, after = (
                None if part is None else part.decode() for part in found.groups()
            )
            return search(self._node, unquote_plus(topic or "", errors="strict"), limit, after)
        return None
