"""Answers what the cache knows before Flask sees it: on the event loop, in microseconds.

Law: whatever is answered here is, to the byte, what the views of `api.py` would answer from the
same cache. A target that is not plainly one of theirs, and a miss, are left to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from common import fields
from common.errors import Problem
from common.service import Call
from common.wsgi import Answer as WireAnswer
from frontend.cache import Cache, Key, book_key, page_key
from frontend.incoming import CURSOR_CHARS_MAX, is_known
from frontend.reads import Answer

TARGET_BYTES_MAX = 1024  # longer ones are not worth remembering
TARGETS_MAX = 4096
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


class Hits:
    """The hits of a cache; `count(route, method, status)` is told of each."""

    def __init__(self, cache: Cache[Answer], count: Callable[[str, str, int], None]) -> None:
        self._cache = cache
        self._count = count
        self._wanted = lru_cache(TARGETS_MAX)(wanted)

    def answer(self, call: Call) -> WireAnswer | None:
        """Answer a call from the cache; None: it is a miss, or not for here."""
        if len(call.target) > TARGET_BYTES_MAX:
            return None
        asked = self._wanted(call.target)
        if asked is None:
            return None
        hit = self._cache.hit(asked.key)
        if hit is None:
            return None
        condition = call.headers.get(b"if-none-match")
        if condition is not None and is_known(hit.page.etag, condition.decode("latin-1")):
            answer = hit.unchanged
        else:
            answer = hit.to_get if call.method == "GET" else hit.to_head
        self._count(asked.route, call.method, answer.status)
        return answer


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
