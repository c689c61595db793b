"""The public calls: what they take, what they answer, no more."""

from __future__ import annotations

from flask import Flask, Response
from werkzeug.routing import BaseConverter

from common import fields
from common.clock import Clock
from common.errors import Problem
from common.web import json_body, query
from frontend import incoming
from frontend.gateway import READ_WHOLE_S, Group
from frontend.serving import Serving


class _Topic(BaseConverter):
    """A topic in a path: it may hold slashes, at its ends too, and line breaks (blanks)."""

    regex = "(?s:.+?)"
    part_isolating = False
    weight = 200


class Api:
    """The public calls as views."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def register(self, app: Flask) -> None:
        """Give an app the public calls."""
        app.url_map.converters["topic"] = _Topic
        app.after_request(incoming.return_key)
        app.get("/lookup/<book>")(self.look_up)
        app.get("/info/<book>")(self.look_up)
        app.get("/search/<topic:topic>")(self.search)
        app.get("/books")(self.books)
        app.get("/topics")(self.topics)
        app.get("/orders/<order_id>")(self.order)
        app.post("/purchase/<book>")(self.purchase)
        app.post("/orders")(self.basket)

    def look_up(self, book: str) -> Response:
        """Answer a book."""
        number = incoming.book_id(book)
        query(())
        return incoming.read_answer(self._serving.reads.book(number))

    def search(self, topic: str) -> Response:
        """Answer one page of a topic's books; a topic that nobody knows is an empty list."""
        spelled = fields.text("topic", topic, fields.TOPIC_CHARS_MAX)
        limit, after, _ = incoming.page_asked()
        # The key is what goes to the catalog: all spellings share one cached page, so one body.
        return incoming.read_answer(
            self._serving.reads.topic(fields.topic_key(spelled), limit, after)
        )

    def books(self) -> Response:
        """Answer one page of all books, or of those that `q` finds."""
        limit, after, asked = incoming.searched_page_asked()
        text = asked.get("q")
        if text is not None:
            text = fields.text("q", text, fields.TEXT_QUERY_CHARS_MAX)
        return incoming.read_answer(self._serving.reads.books(text, limit, after))

    def topics(self) -> Response:
        """Answer all topics."""
        query(())
        return incoming.read_answer(self._serving.reads.topics())

    def order(self, order_id: str) -> Response:
        """Answer an order; whoever has its id may see it."""
        query(())
        if not incoming.may_be_an_order_id(order_id):
            raise Problem("not-found", "there is no such order")
        return orders_answer(self._serving.orders, f"/orders/{order_id}", {}, self._serving.clock)

    def purchase(self, book: str) -> Response:
        """Sell copies of one book."""
        key = incoming.write_key(self._serving.random)
        number = incoming.book_id(book)
        query(())
        return self._sell(fields.purchase_lines(number, json_body(optional=True)), key)

    def basket(self) -> Response:
        """Sell a basket: all of it or nothing."""
        key = incoming.write_key(self._serving.random)
        query(())
        return self._sell(fields.basket_lines(json_body()), key)

    def _sell(self, lines: list[dict[str, int]], key: str) -> Response:
        sold = self._serving.purchases.sell(lines, key)
        headers = {"Location": incoming.location_of(sold.order_id)}
        return Response(sold.body, 201, headers, content_type="application/json")


def orders_answer(orders: Group, path: str, asked: dict[str, str], clock: Clock) -> Response:
    """Answer from an order server's log; "not found" only when an order server said so."""
    answered = orders.read(path, asked, clock.now() + READ_WHOLE_S)
    headers = {"X-Served-By": answered.node}
    return Response(answered.response.body, headers=headers, content_type="application/json")
