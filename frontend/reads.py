"""Answers reads: from the cache, else by one fetch for all who miss on a key at the same time.

Law: a waiting reader takes another's fetch only if its fill was kept, which it finds out by looking
into the cache again, under the cache's own rules; else the fetch may be older than its request.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common import wsgi
from common.clock import Clock
from common.peer import Response
from common.tasks import Event, Tasks
from common.tracer import Tracer
from frontend.cache import Cache, Key, book_key, page_key
from frontend.gateway import READ_ATTEMPT_S, READ_WHOLE_S, Group


@dataclass(frozen=True)
class Page:
    """A catalog's answer, byte for byte, with its tag."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class Answer:
    """A page, the node that answered, and whether that was the cache."""

    page: Page
    node: str
    hit: bool = False

    def headers(self) -> dict[str, str]:
        """Return what goes with the page, whether its body is sent or not."""
        labels = {
            # Others may keep it but must ask again, or they would show what a write made stale.
            "Cache-Control": "no-cache",
            "Cache-Status": "bazar; hit" if self.hit else "bazar; fwd=miss",
            "X-Served-By": self.node,
        }
        return labels | {"ETag": self.page.etag} if self.page.etag else labels

    # As they go over the wire, made once: a hit is answered with one of them again and again.

    @cached_property
    def to_get(self) -> wsgi.Answer:
        """The answer to GET."""
        body = self.page.body
        described = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return wsgi.answer_of(200, (described | self.headers()).items(), body)

    @cached_property
    def to_head(self) -> wsgi.Answer:
        """The answer to HEAD."""
        return wsgi.Answer(200, self.to_get.headers, b"")

    @cached_property
    def unchanged(self) -> wsgi.Answer:
        """The answer to who has the page already."""
        return wsgi.answer_of(304, self.headers().items(), b"")


class Reads:
    """The reads of the catalog; `name` is this frontend's, in whose name `cache` answers."""

    def __init__(
        self,
        name: str,
        catalogs: Group,
        cache: Cache[Answer],
        *,
        clock: Clock,
        tasks: Tasks,
        lock: AbstractContextManager[object],
        tracer: Tracer,
    ) -> None:
        self._name = name
        self._tracer = tracer
        self._catalogs = catalogs
        self._cache = cache
        self._clock = clock
        self._tasks = tasks
        self._lock = lock
        self._flights: dict[Key, Event] = {}

    def book(self, book_id: int) -> Answer:
        """Return a book; raises `not-found` or `unavailable`, as all reads do."""
        with self._tracer.span("look into the cache"):
            hit = self._cache.book(book_id)
        return hit or self._miss(book_key(book_id), f"/books/{book_id}", {})

    def topic(self, topic: str, limit: int, after: str | None) -> Answer:
        """Return one page of a topic; raises `invalid-request` for a bad cursor."""
        with self._tracer.span("look into the cache"):
            hit = self._cache.topic_page(topic, limit, after)
        query = {"topic": topic} | _paging(limit, after)
        return hit or self._miss(page_key(topic, limit, after), "/search", query)

    def books(self, text: str | None, limit: int, after: str | None) -> Answer:
        """Return one page of the books that hold `text`, or of all; never cached."""
        wanted = {} if text is None else {"q": text}
        return self._fetch("/books", wanted | _paging(limit, after), self._until())[0]

    def topics(self) -> Answer:
        """Return every topic with its number of books; never cached."""
        return self._fetch("/topics", {}, self._until())[0]

    def _miss(self, key: Key, path: str, query: Mapping[str, Any]) -> Answer:
        until = self._until()
        if not self._cache.alive():  # nothing could be kept, so nobody may wait for another's fetch
            return self._fetch(path, query, until)[0]
        under_way = self._take_off(key)
        if under_way is None:
            try:
                return self._fetch_and_fill(key, path, query, until)
            finally:
                self._land(key)
        # At most one attempt's time, so that enough is left for two attempts of its own.
        with self._tracer.span("wait for another's fetch"):
            under_way.wait(min(READ_ATTEMPT_S, max(0.0, until - self._clock.now())))
        return self._cache.peek(key) or self._fetch_and_fill(key, path, query, until)

    def _take_off(self, key: Key) -> Event | None:
        """Return the flag of the fetch under way; None: the caller is to make it, and to land."""
        with self._lock:
            under_way = self._flights.get(key)
            if under_way is None:
                self._flights[key] = self._tasks.event()
            return under_way

    def _land(self, key: Key) -> None:
        with self._lock:
            landed = self._flights.pop(key)
        landed.set()

    def _fetch_and_fill(
        self, key: Key, path: str, query: Mapping[str, Any], until: float
    ) -> Answer:
        ticket = self._cache.ticket()
        answer, response = self._fetch(path, query, until)
        epoch, as_of = _number(response, "Bazar-Epoch"), _number(response, "Bazar-As-Of")
        if epoch is not None and as_of is not None:
            hit = Answer(answer.page, self._name, hit=True)
            with self._tracer.span("fill the cache"):
                self._cache.fill(ticket, key, hit, epoch=epoch, as_of=as_of)
        return answer

    def _fetch(self, path: str, query: Mapping[str, Any], until: float) -> tuple[Answer, Response]:
        answered = self._catalogs.read(path, query, until)
        response = answered.response
        return Answer(Page(response.body, response.header("ETag")), answered.node), response

    def _until(self) -> float:
        return self._clock.now() + READ_WHOLE_S


def _paging(limit: int, after: str | None) -> dict[str, Any]:
    return {"limit": limit} if after is None else {"limit": limit, "after": after}


def _number(response: Response, header: str) -> int | None:
    text = response.header(header)
    return int(text) if text.isascii() and text.isdecimal() else None
