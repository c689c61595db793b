"""The pages to look around: welcome, topics, one topic, what a search finds, one book.

Law: everything on them was read through `Reads`, by its rules; nothing is kept here.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from common import fields
from common.errors import Problem
from frontend import incoming
from frontend.reads import Answer, Reads
from frontend.shop.showing import show

PAGE_BOOKS = 24  # whole rows of two, three, four or six
ROW_BOOKS = 6
ROWS = 3
TOPICS_SHOWN = 18
TOPICS_ON_A_PAGE = 200
DOTS = (".", "..")


class Shelves:
    """The views that only look."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def register(self, shop: Blueprint) -> None:
        """Give the shop its pages."""
        shop.get("/")(self.welcome)
        shop.get("/all-topics")(self.all_topics)
        shop.get("/topic/<topic:topic>")(self.topic)
        shop.get("/find")(self.find)
        shop.get("/book/<book>")(self.book)

    def welcome(self) -> Response:
        """Show the biggest topics, and books from some of them."""
        topics = self._topics()
        biggest = sorted(topics, key=lambda item: -item["books"])[:TOPICS_SHOWN]
        shown: set[int] = set()
        rows = [self._row(item["topic"], shown) for item in biggest[:ROWS]]
        return show(
            "welcome.html",
            topics=biggest, all_topics=len(topics), rows=[row for row in rows if row["books"]],
        )  # fmt: skip

    def _row(self, topic: str, shown: set[int]) -> dict[str, Any]:
        """Return a few books of a topic that no row before has shown."""
        answer = self._reads.topic(fields.topic_key(topic), PAGE_BOOKS, None)
        fresh = [book for book in _document(answer)["items"] if book["id"] not in shown]
        shown.update(book["id"] for book in fresh[:ROW_BOOKS])
        return {"topic": topic, "books": fresh[:ROW_BOOKS]}

    def all_topics(self) -> Response:
        """Show every topic by name, so many at a time."""
        topics = sorted(self._topics(), key=lambda item: fields.topic_key(item["topic"]))
        pages = [topics[n : n + TOPICS_ON_A_PAGE] for n in range(0, len(topics), TOPICS_ON_A_PAGE)]
        number = fields.parse_id(request.args.get("page", "1")) or 0
        if not 1 <= number <= max(1, len(pages)):
            raise Problem("not-found", "the list of topics has no such page")
        on_page = pages[number - 1] if pages else []
        parts = [(n, page[0]["topic"], page[-1]["topic"]) for n, page in enumerate(pages, 1)]
        return show(
            "topics.html", topics=on_page, total=len(topics), page_number=number, parts=parts
        )

    def topic(self, topic: str) -> Response:
        """Show one page of a topic's books."""
        spelled = fields.text("topic", topic, fields.TOPIC_CHARS_MAX)
        after = _cursor()
        answer = self._reads.topic(fields.topic_key(spelled), PAGE_BOOKS, after)
        found = _document(answer)
        if not found["total"]:
            raise Problem("not-found", "there are no books of this topic")
        following = found["next"] and f"{topic_url(spelled)}?{urlencode({'after': found['next']})}"
        response = show(
            "topic.html", found=found, topic=found["topic"], following=following, later=after,
            first=topic_url(spelled), answer=answer,
        )  # fmt: skip
        return _labelled(response, answer)

    def find(self) -> Response:
        """Show one page of what a search finds."""
        asked = request.args.get("q", "").strip()
        if not asked:
            return show("find.html", asked="", found=None)
        text = fields.text("q", asked, fields.TEXT_QUERY_CHARS_MAX)
        after = _cursor()
        found = _document(self._reads.books(text, PAGE_BOOKS, after))
        following = found["next"] and "/find?" + urlencode({"q": text, "after": found["next"]})
        first = "/find?" + urlencode({"q": text})
        return show(
            "find.html", asked=text, found=found, following=following, later=after, first=first
        )

    def book(self, book: str) -> Response:
        """Show one book."""
        answer = self._reads.book(incoming.book_id(book))
        found = _document(answer)
        neighbours = self._neighbours(found)
        shown = show("book.html", book=found, answer=answer, neighbours=neighbours)
        return _labelled(shown, answer)

    def _neighbours(self, book: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a few books of the same topic; none when nobody can say: the page is about one."""
        try:
            row = self._row(book["topics"][0], {book["id"]})
        except (Problem, IndexError):
            return []
        return list(row["books"])

    def _topics(self) -> list[dict[str, Any]]:
        topics: list[dict[str, Any]] = _document(self._reads.topics())["items"]
        return topics


def topic_url(topic: str) -> str:
    """Return the address of a topic's page."""
    # A blank more makes no other topic, and no browser takes it for a step up the path.
    return f"/topic/{'%20' if topic in DOTS else ''}{quote(topic, safe='')}"


def _document(answer: Answer) -> Any:
    return json.loads(answer.page.body)


def _cursor() -> str | None:
    after = request.args.get("after")
    if after is not None and not (after.isascii() and 0 < len(after) <= incoming.CURSOR_CHARS_MAX):
        raise fields.invalid("after", "not a place in this list")
    return after


def _labelled(response: Response, answer: Answer) -> Response:
    """Say in a page's headers who answered what is on it, and whether from the cache."""
    for name in ("Cache-Status", "X-Served-By"):
        response.headers[name] = answer.headers()[name]
    return response
