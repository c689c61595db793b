"""Answers what the cache knows before Flask sees it: on the event loop, in microseconds.

Law: whatever is answered here is, to the byte, what the views of `api.py` would answer from the
same cache, but for the id of a trace. A target that is not plainly one of theirs, and a miss, are
left to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from common import fields
from common.errors import Problem
from common.service import Call
from common.trace import TRACEPARENT_HEADER
from common.tracer import Tracer
from common.wsgi import Answer as WireAnswer
from frontend.cache import Cache, Key, book_key, page_key
from frontend.incoming import CURSOR_CHARS_MAX, is_known
from frontend.metrics import Count
from frontend.reads import Answer
from frontend.traced import tell_of_a_hit, wants_to_be_traced

ASKED_BYTES_MAX = 1024  # longer ones are not worth remembering
ASKED_MAX = 4096
UNTOLD_TURNS = 64  # once enough hits have been told of, so many turns are not even looked at
SEARCH_ROUTE = "/search/<topic:topic>"

_BOOK = re.compile(rb"(/lookup/|/info/)([0-9]+)")
_SEARCH = re.compile(
    rb"/search/((?:[A-Za-z0-9_~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)"
    rb"(?:\?limit=([0-9]+)(?:&after=([A-Za-z0-9_-]+))?|\?after=([A-Za-z0-9_-]+))?"
)


class Wanted(NamedTuple):
    """What a target asks for, and the route that would answer it."""

    key: Key
    route: str


class Asked(NamedTuple):
    """A call, as far as its answer depends on it; `tags` is its If-None-Match."""

    key: Key
    is_get: bool
    tags: str  # empty: the client has none
    known: Count  # of answers to who has the page already
    unknown: Count
    target: str
    route: str


class Hits:
    """The hits of a cache; `count(route, method, status)` is where those are counted. A few of them
    are told of, so that who watches sees them among the requests.
    """

    def __init__(
        self, cache: Cache[Answer], count: Callable[[str, str, int], Count], tracer: Tracer
    ) -> None:
        self._cache = cache
        self._count = count
        self._tracer = tracer
        self._untold = 0
        self._asked = lru_cache(ASKED_MAX)(self._read)

    def answer(self, call: Call) -> WireAnswer | None:
        """Answer a call from the cache; None: it is a miss, or not for here."""
        asked = self.asked(call)
        return None if asked is None else self.answers((asked,))[0]

    def asked(self, call: Call) -> Asked | None:
        """Return what a call asks for; None: it is not for here."""
        if TRACEPARENT_HEADER in call.headers and wants_to_be_traced(call):
            return None  # it wants to be looked into
        condition = call.headers.get(b"if-none-match", b"")
        if len(call.target) + len(condition) > ASKED_BYTES_MAX:
            return None
        return self._asked(call.method, call.target, condition)

    def _read(self, method: str, target: bytes, condition: bytes) -> Asked | None:
        found = wanted(target)
        if found is None:
            return None
        known, unknown = (self._count(found.route, method, status) for status in (304, 200))
        tags, shown = condition.decode("latin-1"), target.decode("latin-1")
        return Asked(found.key, method == "GET", tags, known, unknown, shown, found.route)

    def answers(self, asked: Sequence[Asked]) -> list[WireAnswer | None]:
        """Answer several calls as `answer` would."""
        answers: list[WireAnswer | None] = []
        hits = self._cache.hits([one.key for one in asked])
        for one, hit in zip(asked, hits):  # noqa: B905 - `strict` costs as much as a look-up
            if hit is None:
                answers.append(None)
            elif one.tags and is_known(hit.page.etag, one.tags):
                one.known.value += 1
                answers.append(hit.unchanged)
            else:
                one.unknown.value += 1
                answers.append(hit.to_get if one.is_get else hit.to_head)
        self._untold -= 1
        if self._untold < 0:
            self._tell(asked[0], answers[0])
        return answers

    def _tell(self, asked: Asked, answer: WireAnswer | None) -> None:
        """Tell of a hit, if not enough have been told of."""
        if answer is None:
            return
        if self._tracer.may_note_a_hit():
            method = "GET" if asked.is_get else "HEAD"
            tell_of_a_hit(self._tracer, method, asked.route, asked.target, answer.status)
        else:
            self._untold = UNTOLD_TURNS


def wanted(target: bytes) -> Wanted | None:
    """Return what a target asks for; None when it is not in the plain form of a read we cache."""
    if found := _BOOK.fullmatch(target):
        number = fields.parse_id(found[2].decode())
        return None if number is None else Wanted(book_key(number), f"{found[1].decode()}<book>")
    if found := _SEARCH.fullmatch(target):
        return _searched(found[1], found[2], found[3] or found[4])
    return None


def _searched(topic: bytes, limit: bytes | None, after: bytes | None) -> Wanted | None:
    try:
        spelled = unquote_to_bytes(topic).decode()
        if not spelled.isprintable() or "/" in spelled or "." in spelled:
            return None
        line = fields.text("topic", spelled, fields.TOPIC_CHARS_MAX)
        items = fields.limit(None if limit is None else limit.decode())
    except (UnicodeDecodeError, Problem):
        return None
    if after is not None and len(after) > CURSOR_CHARS_MAX:
        return None
    cursor = None if after is None else after.decode()
    return Wanted(page_key(fields.topic_key(line), items, cursor), SEARCH_ROUTE)
